"""Which runs are rung, by whom a bell is given back, and what a broker that hangs can hold up."""

import asyncio
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import celery
import pytest
from celery import _state
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from djsci import conf, runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import Executor, PrivateFile, Run, Tally
from djsci.runs import claims, dispatch, executor, load, log, rings
from djsci.runs.bells import Celery
from djsci.runs.dispatch import Bell, Dispatcher
from tests.conftest import MakeFile
from tests.waiting import until

HERE = {"host": "elsewhere", "pid": 1, "process_started": 1, "queues": ["default"]}


class Tower(Dispatcher):
    """Keeps what it is asked to ring."""

    is_local = False

    def __init__(self) -> None:
        self.rung: list[Bell] = []

    def ring(self, bells: Sequence[Bell]) -> None:
        self.rung.extend(bells)


Start = Callable[..., Awaitable[str]]


@pytest.fixture
def start(make_file: MakeFile, caller: Caller, settings: Any) -> Iterator[Start]:
    """Start a run that nobody executes; what was rung is in `tower()`."""
    executor.stop()
    settings.DJSCI = {"DISPATCHER": "tests.runs.test_rings.Tower"}
    made: list[PrivateFile] = []
    tower().clear()

    async def start(*, by: Caller = caller) -> str:
        if not made:
            code = "def djsci_handler(request): return 1"
            made.append(await in_database(make_file, code, access="authenticated"))
        return (await runs.start(made[0].pk, caller=by, trigger="api")).run_id

    yield start
    Run.objects.all().delete()


def tower() -> list[Bell]:
    found = dispatch.current()
    assert isinstance(found, Tower)
    return found.rung


def bells(run_ids: Sequence[str]) -> list[Bell]:
    return [Bell(run_id, "default") for run_id in run_ids]


def claim(run_id: str, *, queue: str = "default") -> Any:
    return claims.claim_one(uuid.uuid4(), run_id, slots=0, queues=[queue])


def end(run_id: str, lease: int = 1) -> None:
    columns = {"state": "succeeded", "lease_until": None}
    assert log.take_over(run_id, lease=lease, events=[], columns=columns)


async def test_only_startable_runs_are_rung_and_the_next_at_an_end(start: Start, settings: Any):
    settings.DJSCI |= {"RUNNING_PER_USER": 2}
    first, second, third, fourth = [await start() for _ in range(4)]
    assert tower() == bells([first, second])
    assert await in_database(rings.after_end) == []
    assert (await in_database(claim, first)).lease == 1
    assert await in_database(rings.after_end) == []
    await in_database(end, first)
    assert await in_database(rings.after_end) == bells([third])
    await in_database(end, second, 0)
    assert await in_database(rings.after_end) == bells([fourth])


async def test_who_refuses_a_bell_for_a_limit_gives_it_back(start: Start, settings: Any):
    first, second = [await start() for _ in range(2)]
    settings.DJSCI |= {"RUNNING_PER_FILE": 1}
    assert await in_database(claim, second, queue="other") is None
    assert await in_database(rung, second)
    assert await in_database(claim, first)
    assert await in_database(claim, second) is None
    assert not await in_database(rung, second)
    assert await in_database(claim, first) is None  # it runs
    assert await in_database(rings.after_end) == []
    await in_database(end, first)
    assert await in_database(rings.after_end) == bells([second])


def rung(run_id: str) -> bool:
    return Run.objects.get(pk=run_id).rung_at is not None


async def test_x2_lost_bells_are_rung_again_beside_free_slots_only(
    start: Start, django_user_model: Any, monkeypatch: pytest.MonkeyPatch
):
    mine = [await start() for _ in range(4)]
    bob = await in_database(django_user_model.objects.create_user, "bob")
    his = await start(by=Caller(user=bob, token=None, via="cookie", scopes=None))

    def prepare() -> None:
        long_ago = log.from_now(-conf.intervals.ring_again - 1)
        Run.objects.filter(state="queued").update(rung_at=long_ago)
        make = Executor.objects.create
        make(id=uuid.uuid4(), slots=3, busy=1, seen=Now(), **HERE)
        make(id=uuid.uuid4(), slots=9, busy=9, seen=Now(), **HERE)
        make(id=uuid.uuid4(), slots=9, seen=Now(), is_draining=True, **HERE)
        make(id=uuid.uuid4(), slots=9, seen=log.from_now(-3600), **HERE)
        make(id=uuid.uuid4(), slots=9, seen=Now(), **{**HERE, "queues": ["other"]})

    await in_database(prepare)
    assert await in_database(claim, mine[0])
    assert await in_database(rings.again) == bells([his, mine[1]])
    assert await in_database(rings.again) == []  # two bells are on their way to two slots
    assert await in_database(claim, his)
    assert await in_database(rings.again) == bells([mine[2]])
    await in_database(Executor.objects.all().update, busy=9)
    monkeypatch.setattr(conf.intervals, "ring_again", 0)
    assert await in_database(rings.again) == []


async def test_a_serving_process_beside_celery_sweeps_and_executes_nothing(
    start: Start, settings: Any
):
    settings.DJSCI |= {"HEARTBEAT": 0.1, "LEASE": 1}
    await in_database(Executor.objects.create, id=uuid.uuid4(), slots=1, seen=Now(), **HERE)
    mine = executor.start()
    mine.ring()
    run_id = await start()
    await in_database(rings.unring, [run_id])
    async with asyncio.timeout(20):
        while len(tower()) < 2:  # noqa: ASYNC110 - the second is the sweep's
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(mine.execute, run_id) == "refused"
    await asyncio.to_thread(executor.stop)
    run = await in_database(Run.objects.get, pk=run_id)
    assert (run.state, run.lease) == ("queued", 0)
    assert await in_database(Executor.objects.count) == 1


def test_a_worker_offers_no_more_slots_than_its_host_has(start: Start, settings: Any):
    mine = executor.start(executor.Role(executes=True, slots=8, queues=("default",)))
    assert mine.slots == 8
    settings.DJSCI |= {"RUNNING": 2}
    assert mine.slots == 2
    executor.stop()


async def test_a_refused_bell_is_not_rung_again_at_once(start: Start, settings: Any):
    """Else it would fly between a draining worker and the broker."""
    settings.DJSCI |= {"HEARTBEAT": 60, "LEASE": 180}
    mine = executor.start(executor.Role(executes=True, slots=1, queues=("default",)))
    swept = Tally.objects.filter(name="swept")
    assert await in_database(until, swept.exists)  # the next tick is half a minute away
    run_id = await start()
    mine.is_draining = True
    assert await asyncio.to_thread(mine.execute, run_id) == "refused"
    assert not await in_database(rung, run_id)
    await asyncio.to_thread(executor.stop)
    assert tower() == bells([run_id])


@pytest.fixture(params=["redis", "amqp"])
def silent_broker(request: pytest.FixtureRequest) -> Iterator[None]:
    """The Celery application's broker: it takes connections and never says a word."""
    before = _state.default_app
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"{request.param}://127.0.0.1:{listening.getsockname()[1]}"
        app = celery.Celery("silent", broker=url, set_as_current=False, fixups=[])
        app.set_default()
        yield
        app.close()
    _state.set_default_app(before)


async def test_a_broker_that_hangs_costs_bells_and_holds_nobody_up(
    start: Start, silent_broker: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(conf.intervals, "ring_budget", 0.2)
    waiting = [await start() for _ in range(3)]
    dispatcher = Celery()
    dispatcher.ring(bells(waiting))
    await asyncio.to_thread(dispatcher.close, 30)
    assert dispatcher.failures == 3
    assert not any([await in_database(rung, run_id) for run_id in waiting])


async def test_a_limit_is_counted_without_a_look_at_runs_that_have_ended(
    start: Start, settings: Any
):
    if connection.vendor != "sqlite":
        pytest.skip("the plan is SQLite's")
    settings.DJSCI |= {"RUNNING_PER_USER": 2}
    run_id = await start()

    def plan() -> str:
        run = Run.objects.select_related("file").get(pk=run_id)
        with transaction.atomic(), CaptureQueriesContext(connection) as said:
            assert rings.admitted(run)
        [counting] = [each["sql"] for each in said.captured_queries if "executor" in each["sql"]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {counting}")
            return "\n".join(str(row[-1]) for row in cursor.fetchall())

    looked_for = await in_database(plan)
    assert "(user_id=? AND state=?)" in looked_for
    assert "(file_id=? AND state=?)" in looked_for


async def test_who_lives_is_judged_by_the_databases_clock(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    await start()
    now = timezone.now()
    for hours in (-1, 1):
        monkeypatch.setattr(timezone, "now", lambda hours=hours: now + timedelta(hours=hours))
        await in_database(Executor.objects.create, id=uuid.uuid4(), slots=1, seen=Now(), **HERE)
        assert await in_database(load.living().count) == (1 if hours < 0 else 2)
    await in_database(Executor.objects.all().delete)
