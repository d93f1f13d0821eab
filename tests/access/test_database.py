"""The pools' threads: which connections they keep, and when they give them up."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import OperationalError, connection, connections

from djsci.access import database
from djsci.access.database import close_connections, in_database
from djsci.core.errors import NotFound
from djsci.models import PrivateFile
from djsci.runs import executor
from tests import live


def held() -> Any:
    """The driver's connection of this thread, after a query."""
    PrivateFile.objects.exists()
    return connection.connection


def is_open() -> bool:
    return connection.connection is not None


@pytest.fixture
async def thread(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One thread of a pool, and no other: what it keeps is what the next call finds."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="djsci-db")
    monkeypatch.setattr(database, "DB_POOL", pool)
    yield pool
    close_connections()
    assert not pool.submit(is_open).result()
    pool.shutdown()


@pytest.fixture
def sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("other databases keep connections in their own pool")


async def test_a_thread_keeps_its_connection_from_call_to_call(sqlite: None, thread: Any):
    await in_database(held)  # the thread's first look knows of no file yet
    assert await in_database(held) is await in_database(held)


async def test_other_databases_get_their_connection_back_after_each_call(thread: Any):
    if connection.vendor == "sqlite":
        pytest.skip("it is kept")
    await in_database(held)
    assert not await asyncio.wrap_future(thread.submit(is_open))


async def test_a_kept_connection_sees_what_others_commit(sqlite: None, thread: Any, user: Any):
    assert await in_database(PrivateFile.objects.count) == 0
    await asyncio.to_thread(_make_and_close, user)
    assert await in_database(PrivateFile.objects.count) == 1


def _make_and_close(user: Any) -> None:
    PrivateFile.objects.create(name="one", owner=user)
    connections.close_all()


async def test_an_error_closes_the_connection(sqlite: None, thread: Any):
    def break_off() -> None:
        held()
        raise NotFound  # its traceback may keep a query open, with what it saw

    def fail_unseen() -> None:
        try:
            connection.cursor().execute("SELECT nothing FROM nowhere")
        except OperationalError:
            return

    for failing in (break_off, fail_unseen):
        await in_database(held)
        with suppress(NotFound):
            await in_database(failing)
        assert not await asyncio.wrap_future(thread.submit(is_open)), failing


async def test_a_connection_that_was_changed_is_closed(sqlite: None, thread: Any):
    await in_database(connection_without_autocommit)
    assert not await asyncio.wrap_future(thread.submit(is_open))
    assert await in_database(lambda: held() and connection.autocommit)


def connection_without_autocommit() -> None:
    connection.set_autocommit(False)


async def test_a_replaced_database_file_is_opened_anew(sqlite: None, thread: Any, user: Any):
    await asyncio.to_thread(executor.stop)  # it has connections of its own
    path = Path(str(connection.settings_dict["NAME"]))
    names = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
    before = [name.with_name(f"kept-{name.name}") for name in names]
    await in_database(held)
    first = await in_database(held)
    await asyncio.to_thread(connections.close_all)
    try:
        for name, kept in zip(names, before, strict=True):
            if name.exists():
                shutil.copy(name, kept)
                name.rename(name.with_name(f"old-{name.name}"))
                kept.rename(name)
        assert await in_database(held) is not first
        assert await in_database(lambda: len(connection.introspection.table_names())) > 5
    finally:
        await asyncio.wrap_future(thread.submit(connections.close_all))
        for name in names:
            old = name.with_name(f"old-{name.name}")
            if old.exists():
                old.replace(name)


async def test_each_thread_of_a_pool_closes_its_own(transactional_db: None):
    together = threading.Barrier(database.DB_POOL._max_workers)

    def hold() -> None:
        held()
        together.wait(20)

    await asyncio.gather(*(in_database(hold) for _ in range(database.DB_POOL._max_workers)))
    await asyncio.to_thread(close_connections)
    together.reset()

    def look() -> bool:
        together.wait(20)
        return is_open()

    looks = [
        asyncio.wrap_future(database.DB_POOL.submit(look))
        for _ in range(database.DB_POOL._max_workers)
    ]
    assert not any(await asyncio.gather(*looks))


FORKING = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore")
import django
django.setup()
from django.db import connection
from djsci.access import database

def held():
    connection.ensure_connection()
    return os.getpid()

def ask():
    return asyncio.run(database.in_database(held))

ask()
pools = database.DB_POOL, database.FILES_POOL
child = os.fork()
if child == 0:
    fresh = database.DB_POOL not in pools and database.FILES_POOL not in pools
    is_well = fresh and ask() == os.getpid()
    database.close_connections()
    os._exit(0 if is_well else 1)
status = os.waitpid(child, 0)[1]
sys.exit(0 if status == 0 and ask() == os.getpid() else 1)
"""


async def test_a_forked_process_opens_connections_of_its_own(tmp_path: Path):
    with live.server("uvicorn") as site:  # it made a database
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", FORKING],
            cwd=live.ROOT,
            env=site.environment,
            capture_output=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_a_server_that_stops_leaves_its_database_whole(kind: Any, tmp_path: Path):
    with live.server(kind, data=tmp_path / "data") as site:
        made = await asyncio.to_thread(site.seed, {"users": [{"name": "ada"}]})
        async with httpx.AsyncClient(base_url=site.url, headers=made.bearer("ada")) as client:
            asked = [client.get("/djsci/api/v1/files/") for _ in range(12)]
            assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
        assert await asyncio.to_thread(site.stop) == 0
        with closing(sqlite3.connect(site.data / "db.sqlite3")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            names = database.execute("SELECT username FROM auth_user").fetchall()
            assert ("ada",) in names
