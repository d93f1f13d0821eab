"""Queues that are full, brokers that hang or forget, and many claimers at once."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests import live, servers
from tests.waiting import until
from tests.workers import (
    DJSCI,
    FILE,
    INTERVALS,
    Place,
    lines,
    most_at_once,
    place_of,
    starts,
)

from .relay import relay_to

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]
BROKERS = ("valkey", "rabbitmq")
RUNS = 200


@pytest.fixture(scope="module", params=BROKERS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place_of(request.param) as made:
        yield made


def test_x2_a_bell_never_waits_behind_a_run_beside_an_idle_worker(place: Place, tmp_path: Path):
    with live.worker(place.site, slots=1, queues=f"djsci.{place.queue}", name="idle"):
        runs = [place.start(folder=str(tmp_path), gate=True) for _ in range(5)]
        until(lambda: len(lines(tmp_path)) == 5)
        (tmp_path / "open").touch()
        assert {place.ended(run_id)["state"] for run_id in runs} == {"succeeded"}


def test_x2_runs_that_wait_for_busy_workers_are_not_rung_twice(place: Place, tmp_path: Path):
    first = [place.start(folder=str(tmp_path), gate=True) for _ in range(4)]
    until(lambda: len(lines(tmp_path)) == 4)
    waiting = [place.start(folder=str(tmp_path), gate=True) for _ in range(100)]
    until(lambda: place.waiting() >= 100)
    until(lambda: place.site.execute(OLD), seconds=60)
    beats = set()
    while len(beats) < 10:  # five sweeps of each process, or more
        beats.add(place.site.execute(SEEN))
        assert place.waiting() == 100
    (tmp_path / "open").touch()
    for run_id in first + waiting:
        assert place.ended(run_id)["state"] == "succeeded"
        assert starts(tmp_path, run_id) == 1
    assert place.waiting() == 0


OLD = """
from djsci import conf
from djsci.models import Run
from djsci.runs import log
answer = not Run.objects.filter(
    state="queued", rung_at__gte=log.from_now(-conf.intervals.ring_again)
).exists()
"""
SEEN = """
from djsci.models import Executor
answer = str(Executor.objects.order_by("seen").last().seen)
"""


def test_x4_many_claimers_never_pass_a_files_limit(place: Place, tmp_path: Path):
    with ExitStack() as stack:
        for name in ("second", "third"):
            stack.enter_context(live.worker(place.site, queues=f"djsci.{place.queue}", name=name))
        runs = [place.start("two", folder=str(tmp_path), pause=0.1) for _ in range(RUNS)]
        for run_id in runs:
            place.bell(run_id)
        for run_id in runs:
            until(lambda: starts(tmp_path, f"-{run_id}"), seconds=200)  # noqa: B023
            assert place.ended(run_id)["attempt"] == 1
        assert most_at_once(tmp_path) == 2


@pytest.mark.parametrize("kind", BROKERS)
def test_x5_who_comes_last_with_one_run_does_not_wait_for_fifty_of_another(
    kind: str, tmp_path: Path
):
    with place_of(kind, slots=2, RUNNING_PER_USER=2) as place:
        mine = [place.start(folder=str(tmp_path), gate=True) for _ in range(50)]
        until(lambda: len(lines(tmp_path)) == 2)
        his = place.start(folder=str(tmp_path), by=place.bob)
        (tmp_path / "open").touch()
        until(lambda: starts(tmp_path, his))
        began = [line for line in lines(tmp_path) if not line.startswith("-")]
        assert began.index(his) <= 4  # two that ran, two after them
        for run_id in mine:
            assert place.ended(run_id)["state"] == "succeeded"


@pytest.mark.parametrize("is_emptied", [False, True], ids=["stopped", "emptied"])
def test_x3_a_broker_that_hangs_and_comes_back_starts_all(tmp_path: Path, is_emptied: bool):
    port = servers.free_port()
    broker = f"redis://127.0.0.1:{port}/0"
    with (
        servers.valkey_url(port),
        live.server(
            "uvicorn",
            settings={"DJSCI": DJSCI},
            intervals=INTERVALS,
            environment={"DJSCI_BROKER": broker},
        ) as site,
        live.worker(site) as worker,
        ExitStack() as stack,
    ):
        made = site.seed({"users": [{"name": "ada"}], "files": [FILE]})
        place = Place(site, broker, "default", made.bearer("ada"), worker, {})
        running = place.start(folder=str(tmp_path), gate=True)
        until(lambda: lines(tmp_path))
        valkey = listening_on(port)
        valkey.send_signal(signal.SIGSTOP)
        waiting = [place.start(folder=str(tmp_path), gate=True) for _ in range(5)]
        cancelled = waiting.pop()
        place.cancel(cancelled)
        assert place.ended(cancelled)["state"] == "cancelled"
        until(lambda: "bells were lost" in site.said())
        ready = httpx.get(f"{site.url}/djsci/health/ready", timeout=20)
        assert (ready.status_code, ready.json()["checks"]["broker"]) == (200, "failed")
        (tmp_path / "open").touch()
        assert place.ended(running)["state"] == "succeeded"
        if is_emptied:
            valkey.kill()
            valkey.wait(10)
            stack.enter_context(servers.valkey_url(port))
        else:
            valkey.send_signal(signal.SIGCONT)
        for run_id in waiting:
            run = place.ended(run_id)
            assert (run["state"], run["attempt"]) == ("succeeded", 1)
        assert worker.stop() == 0


def test_x3_a_rabbitmq_that_hangs_and_drops_every_connection_starts_all(tmp_path: Path):
    url = urlsplit(servers.rabbitmq_url())
    with ExitStack() as stack:
        relay = stack.enter_context(relay_to(url.port or 5672))
        near = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{relay.port}")
        place = stack.enter_context(place_of("rabbitmq", broker=near.geturl()))
        running = place.start(folder=str(tmp_path), gate=True)
        until(lambda: lines(tmp_path))
        relay.hold()
        waiting = [place.start(folder=str(tmp_path), gate=True) for _ in range(5)]
        cancelled = waiting.pop()
        place.cancel(cancelled)
        assert place.ended(cancelled)["state"] == "cancelled"
        until(lambda: "bells were lost" in place.site.said())
        (tmp_path / "open").touch()
        assert place.ended(running)["state"] == "succeeded"
        relay.cut()
        for run_id in waiting:
            run = place.ended(run_id)
            assert (run["state"], run["attempt"]) == ("succeeded", 1)
            assert starts(tmp_path, run_id) == 1
        assert place.worker.stop() == 0


def test_x3_a_drained_worker_leaves_a_broker_that_hangs(tmp_path: Path):
    port = servers.free_port()
    broker = f"redis://127.0.0.1:{port}/0"
    with (
        servers.valkey_url(port),
        live.server(
            "uvicorn",
            settings={"DJSCI": {**DJSCI, "DRAIN": 1}},
            intervals={"leave": 1},
            environment={"DJSCI_BROKER": broker},
        ) as site,
        live.worker(site) as worker,
    ):
        made = site.seed({"users": [{"name": "ada"}], "files": [FILE]})
        place = Place(site, broker, "default", made.bearer("ada"), worker, {})
        run_id = place.start(folder=str(tmp_path), gate=True)
        until(lambda: lines(tmp_path))
        listening_on(port).send_signal(signal.SIGSTOP)
        try:
            assert worker.stop() == 0
        finally:
            listening_on(port).send_signal(signal.SIGCONT)
        assert place.ended(run_id)["reason"] == "shutdown"


def listening_on(port: int) -> psutil.Process:
    """The Valkey that this test started there."""
    [found] = [
        child
        for child in psutil.Process().children()
        if f"127.0.0.1:{port}" in " ".join(child.cmdline())  # Valkey names itself so
    ]
    return found
