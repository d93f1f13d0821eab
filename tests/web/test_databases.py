"""The surfaces and the database: transactions, connections, and what happens without it."""

import asyncio
import sqlite3
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from djsci import changes, uploads
from djsci.access.database import close_connections, in_database
from djsci.models import Run
from tests.conftest import MakeFile

from .conftest import problem_of

CODE = "def djsci_handler(request):\n    return 1\n"


async def test_requests_in_a_transaction_each_do_not_hold_ours(
    make_file: MakeFile, program, monkeypatch
):
    await in_database(make_file, CODE, name="one", engine="thread")
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    for path in ("sync_py/one/", "call/one/", "api/v1/files/", "health/ready", "nothing"):
        answer = await program.get(f"/djsci/{path}")
        assert answer.status_code == (404 if path == "nothing" else 200), answer.content


@pytest.mark.parametrize(
    "path",
    [
        "sync_py/a%00b/",
        "call/a%00b/c",
        "api/v1/files/a%00b/",
        "api/v1/files/one/source/a%00b",
        "api/v1/files/one/source/?version=%00",
        "api/v1/runs/a%00b/",
        "api/v1/runs/?file=%00",
        "api/v1/runs/?user=%00",
        "api/v1/runs/?cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwgIlx1MDAwMCJd",
    ],
)
async def test_what_no_database_holds_is_not_asked_for(make_file: MakeFile, program, path):
    await in_database(make_file, CODE, name="one")
    assert (await program.get(f"/djsci/{path}")).status_code in (400, 404)


async def test_a_database_that_is_away_is_no_capacity(make_file: MakeFile, program, monkeypatch):
    if connection.vendor != "sqlite":
        pytest.skip("a lock that keeps everyone out is SQLite's")
    await asyncio.to_thread(close_connections)
    monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "timeout", 0.2)
    await in_database(make_file, CODE, name="one", engine="thread")
    await program.get("/djsci/api/v1/runs/")  # the token's use is written once a minute
    path = str(connections["default"].settings_dict["NAME"])
    holder: Any = await asyncio.to_thread(
        sqlite3.connect, path, isolation_level=None, check_same_thread=False
    )
    try:
        await asyncio.to_thread(holder.execute, "BEGIN EXCLUSIVE")
        async with asyncio.timeout(30):
            answer = await program.post("/djsci/api/v1/files/one/runs/")
        told = problem_of(answer)
        assert (answer.status_code, told["type"]) == (503, "no_capacity")
        assert answer["Retry-After"]
        assert "locked" not in told["detail"]
    finally:
        await asyncio.to_thread(holder.close)
    assert not await Run.objects.aexists()
    assert (await program.get("/djsci/call/one/")).json() == 1
    await asyncio.to_thread(close_connections)  # the next ones wait as long as they should


async def test_every_transaction_begins_with_a_write(make_file: MakeFile, program, caller):
    """Else SQLite, with a host project's default settings, refuses the write that comes later."""
    if connection.vendor != "sqlite":
        pytest.skip("elsewhere a row or an advisory lock comes first")
    file = await in_database(make_file, CODE, name="one", engine="kernel")

    def host_puts_content() -> None:
        file.file.save("other.py", ContentFile(CODE.encode()))

    def change() -> None:
        host_puts_content()
        uploads.current_version(uploads.find("one"))
        uploads.replace(file, entry="a.py", files={"a.py": CODE.encode() * 2}, uploader=caller.user)
        changes.change_settings(file, {"timeout": 5}, caller)
        changes.rename(file, "two")
        changes.delete(file)

    def first_statements() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            change()
        said = [query["sql"] for query in captured.captured_queries]
        begun = [place for place, sql in enumerate(said) if sql.startswith("BEGIN")]
        return [said[place + 1].split()[0] for place in begun]

    said = await in_database(first_statements)
    assert len(said) >= 5
    assert set(said) <= {"UPDATE", "INSERT"}
