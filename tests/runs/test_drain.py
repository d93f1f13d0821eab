"""A drain waits for what was claimed as it began; what an executor claims, and when."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from djsci import conf, runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import Run
from djsci.runs import admit, claims, execute, executor
from djsci.runs.dispatch import Bell
from djsci.runs.local import Local
from tests.conftest import MakeFile
from tests.waiting import until


async def test_a_drain_during_a_claim_waits_for_the_claimed_run(
    make_file: MakeFile, caller: Caller, settings: Any
):
    if connection.vendor != "sqlite":
        pytest.skip("a lock that keeps everyone out is SQLite's")
    executor.stop()
    settings.DJSCI = {"HEARTBEAT": 60}
    file = await in_database(make_file, "def djsci_handler(request): return 1")
    mine = executor.start()
    path = str(connections["default"].settings_dict["NAME"])
    holder: Any = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        mine.is_draining = True
        assert await asyncio.to_thread(mine._in_hand.wait, 10)
        run = await runs_queued(file, caller)
        holder.execute("BEGIN IMMEDIATE")
        mine.is_draining = False
        mine.ring()
        assert await asyncio.to_thread(until, mine._claiming.locked)
        answers: list[bool] = []
        draining = threading.Thread(target=lambda: answers.append(mine.drain(20)))
        draining.start()
        await asyncio.to_thread(draining.join, 0.3)
        assert answers == []
    finally:
        holder.close()
    await asyncio.to_thread(draining.join, 30)
    assert answers == [True]
    assert (await runs.get(run)).is_final
    await asyncio.to_thread(executor.stop)


ENDLESS = """
import djsci, time
def djsci_handler(request):
    while not djsci.cancelled():
        time.sleep(0.01)
"""


async def test_what_was_being_claimed_as_the_waiting_was_over_is_stopped_too(
    make_file: MakeFile, caller: Caller, rare_ticks: None, settings: Any
):
    if connection.vendor != "sqlite":
        pytest.skip("a lock that keeps everyone out is SQLite's")
    mine = executor.start()
    file = await in_database(make_file, ENDLESS)
    settings.DJSCI = {"HEARTBEAT": 60, "DISPATCHER": "tests.runs.test_rings.Tower"}
    run = (await runs.start(file.pk, caller=caller, trigger="api")).run_id
    path = str(connections["default"].settings_dict["NAME"])
    holder: Any = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        holder.execute("BEGIN IMMEDIATE")
        mine.ring()
        assert await asyncio.to_thread(until, mine._claiming.locked)
        draining = asyncio.create_task(asyncio.to_thread(mine.drain, 0))
        assert await asyncio.to_thread(until, lambda: mine._is_stopping)
    finally:
        holder.close()
    assert await draining
    assert (await runs.get(run)).state == "cancelled"


@pytest.fixture
async def rare_ticks(transactional_db: None, settings: Any) -> AsyncIterator[None]:
    """An executor that claims at rings and ends only, as its next tick is half a minute away."""
    await asyncio.to_thread(executor.stop)
    settings.DJSCI = {"HEARTBEAT": 60}
    mine = executor.start()
    await asyncio.to_thread(until, lambda: not mine._are_left)
    yield
    await asyncio.to_thread(executor.stop)


SLOW = """
import time
def djsci_handler(request):
    time.sleep(0.3)
"""


async def test_a_run_that_a_limit_kept_back_is_claimed_at_the_end_that_frees_its_place(
    make_file: MakeFile, caller: Caller, rare_ticks: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conf.intervals, "next_claim", 3600)
    file = await in_database(make_file, SLOW, concurrency=1)
    started = [await runs.start(file.pk, caller=caller, trigger="api") for _ in range(3)]
    for item in started:
        view = await runs.finish(item.run_id, wait=20)
        assert view is not None
        assert view.state == "succeeded"


async def test_what_another_process_queued_is_looked_for_after_an_end(
    make_file: MakeFile, caller: Caller, rare_ticks: None
):
    file = await in_database(make_file, SLOW)
    mine = await runs.start(file.pk, caller=caller, trigger="api")
    view = None
    while view is None or view.state == "queued":
        view = await runs.get(mine.run_id)
    unrung = await runs_queued(file, caller)
    assert await runs.finish(mine.run_id, wait=20)
    assert await runs.finish(unrung, wait=20)


async def test_what_is_admitted_while_a_slot_is_free_is_taken_with_it(
    make_file: MakeFile, caller: Caller, rare_ticks: None, monkeypatch: pytest.MonkeyPatch
):
    rung: list[Bell] = []
    monkeypatch.setattr(Local, "ring", lambda self, bells: rung.extend(bells))
    file = await in_database(make_file, "def djsci_handler(request): return 1")
    for _ in range(2):
        started = await runs.start(file.pk, caller=caller, trigger="api")
        view = await runs.finish(started.run_id, wait=20)
        assert view is not None
        assert view.state == "succeeded"
        page = await runs.page(started.run_id, after=0)
        states = [json.loads(line)["state"] for line in page.lines if '"status"' in line]
        assert states == ["queued", "starting", "running"]
    assert rung == []


async def test_what_was_claimed_by_a_commit_that_nobody_heard_of_begins_all_the_same(
    make_file: MakeFile, caller: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.DJSCI = {"HEARTBEAT": 0.2, "LEASE": 5}
    mine = executor.start()
    file = await in_database(make_file, "def djsci_handler(request): return 1")
    unheard: list[claims.Claim] = []
    with monkeypatch.context() as lost:
        lost.setattr(mine, "begin", unheard.append)
        run = (await runs.start(file.pk, caller=caller, trigger="api")).run_id
        assert [claim.run_id for claim in unheard] == [run]
    view = await runs.finish(run, wait=20)
    assert view is not None
    assert view.state == "succeeded"
    found = await runs.get(run)
    assert (found.starts, found.lease) == (1, 1)
    mine.begin(unheard[0])  # the answer that came too late
    assert await asyncio.to_thread(mine._in_hand.wait, 10)
    assert (await runs.get(run)).head == found.head
    await asyncio.to_thread(executor.stop)


async def test_a_run_that_starts_slowly_is_begun_once(
    make_file: MakeFile,
    caller: Caller,
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    settings.DJSCI = {"HEARTBEAT": 0.2, "LEASE": 5, "ISOLATION": "process"}
    prepare = execute._prepare

    def slowly(run: Run) -> Any:
        time.sleep(1)  # several ticks see it `starting`
        return prepare(run)

    monkeypatch.setattr(execute, "_prepare", slowly)
    code = """
def djsci_handler(request, at: str):
    with open(at, "a") as file:
        file.write("x")
"""
    file = await in_database(make_file, code)
    executor.start()
    told = {"at": str(tmp_path / "starts")}
    started = await runs.start(file.pk, caller=caller, trigger="api", parameters=told)
    view = await runs.finish(started.run_id, wait=20)
    assert view is not None
    assert view.state == "succeeded"
    await asyncio.to_thread(executor.stop)
    assert (tmp_path / "starts").read_text() == "x"


async def test_a_lease_that_was_given_up_is_begun_by_nobody(
    make_file: MakeFile, caller: Caller, settings: Any
):
    settings.DJSCI = {"HEARTBEAT": 0.2, "LEASE": 5}
    mine = executor.start()
    file = await in_database(make_file, "def djsci_handler(request): return 1")
    run = await runs_queued(file, caller)
    lost = claims.Claim(run, 1, 0)
    mine._given_up.add(lost)
    held = {"state": "starting", "lease": 1, "executor": mine.id}
    await in_database(Run.objects.filter(pk=run).update, **held)
    await asyncio.sleep(1)  # several ticks
    assert (await runs.get(run)).lease == 1
    await in_database(Run.objects.filter(pk=run).update, state="queued", lease=0, executor=None)
    await asyncio.to_thread(executor.stop)


async def test_what_is_admitted_behind_others_has_its_turn(
    make_file: MakeFile, caller: Caller, rare_ticks: None, monkeypatch: pytest.MonkeyPatch
):
    rung: list[Bell] = []
    monkeypatch.setattr(Local, "ring", lambda self, bells: rung.extend(bells))
    file = await in_database(make_file, "def djsci_handler(request): return 1")
    first = await runs_queued(file, caller)
    second = (await runs.start(file.pk, caller=caller, trigger="api")).run_id
    assert [bell.run_id for bell in rung] == [second]
    assert {(await runs.get(run)).state for run in (first, second)} == {"queued"}
    executor.start().ring()
    assert await runs.finish(first, wait=20)
    assert await runs.finish(second, wait=20)


async def test_another_queues_run_is_left_to_its_executors(
    make_file: MakeFile, caller: Caller, rare_ticks: None
):
    file = await in_database(make_file, "def djsci_handler(request): return 1", queue="elsewhere")
    started = await runs.start(file.pk, caller=caller, trigger="api")
    assert (await runs.get(started.run_id)).state == "queued"


async def test_a_drain_waits_for_what_is_being_admitted(
    make_file: MakeFile, caller: Caller, rare_ticks: None, monkeypatch: pytest.MonkeyPatch
):
    reached, go = threading.Event(), threading.Event()
    look = admit._check_quotas

    def slowly(call: admit.Call) -> bool:
        reached.set()
        assert go.wait(20)
        return look(call)

    monkeypatch.setattr(admit, "_check_quotas", slowly)
    file = await in_database(make_file, "def djsci_handler(request): return 1")
    mine = executor.start()
    starting = asyncio.create_task(runs.start(file.pk, caller=caller, trigger="api"))
    assert await asyncio.to_thread(reached.wait, 20)
    draining = asyncio.create_task(asyncio.to_thread(mine.drain, 20))
    done, _ = await asyncio.wait({draining}, timeout=0.3)
    assert not done
    go.set()
    assert await draining
    assert (await runs.get((await starting).run_id)).state == "succeeded"


async def runs_queued(file: Any, caller: Caller) -> str:
    """A run that is queued while nobody takes it."""

    def make() -> str:
        run = Run.objects.create(
            file=file,
            version=file.version,
            user=caller.user,
            trigger="api",
            engine="thread",
            isolation="process",
            request="{}",
            timeout=60,
            memory=1,
            created=file.created,
        )
        return str(run.pk)

    return await in_database(make)
