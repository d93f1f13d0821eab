"""X2-X5: workers that are full or idle, a broker that is stopped or empty, users in a queue."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests import servers

from .parts import Valkey, until, valkey
from .stage import INTERVALS, Stage, judge, stage

pytestmark = pytest.mark.faults
LIMITED = {"RUNNING": None, "RUNNING_PER_USER": 2}


@pytest.fixture(scope="module")
def broker() -> Iterator[Valkey]:
    with valkey() as started:
        yield started


def celery(record: Path, broker: Valkey, **options: object) -> ExitStack:
    """uvicorn and workers of two slots each."""
    stack = ExitStack()
    given = {"workers": 2, "slots": 2, "kind": "uvicorn", **options}
    place = stage(
        record,
        database=servers.postgres_url(),
        environment={"DJSCI_BROKER": broker.url},
        **given,  # type: ignore[arg-type]
    )
    stack.place = stack.enter_context(place)  # type: ignore[attr-defined]
    return stack


def bells(broker: Valkey) -> int:
    """How many bells wait at the broker."""
    import redis

    with redis.Redis(port=broker.port) as client:
        return int(client.llen("djsci.default"))  # type: ignore[arg-type]


@pytest.mark.timeout(300)
def test_x2_an_idle_worker_takes_what_a_full_one_cannot_and_no_bell_is_rung_for_nothing(
    tmp_path: Path, broker: Valkey
):
    gate = tmp_path / "gate"
    with celery(tmp_path / "record", broker, djsci={"RUNNING": None}) as stack:
        place: Stage = stack.place  # type: ignore[attr-defined]
        first, second = place.workers
        second.kill()
        held = [place.start(lines=1, pause=0.05, gate=str(gate)) for _ in range(2)]
        for run_id in held:
            place.began(run_id)
        waiting = [place.start(lines=1) for _ in range(100)]
        most = 0
        end = time.monotonic() + 5 * INTERVALS["ring_again"] + 2
        while time.monotonic() < end:
            most = max(most, bells(broker))
            time.sleep(0.1)
        assert most <= 100
        second.start()
        second.wait_ready()
        for run_id in waiting:
            assert place.ended(run_id)["state"] == "succeeded"
        assert {place.get(run_id)["state"] for run_id in held} == {"running"}
        gate.touch()
        judge(place.all_ended(seconds=60), place.recorded())
        assert first.process is not None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stopped", "restarted empty"])
def test_x3_while_the_broker_is_away_calls_are_taken_and_start_when_it_is_back(
    tmp_path: Path, broker: Valkey, how: str
):
    with celery(tmp_path / "record", broker) as stack:
        place: Stage = stack.place  # type: ignore[attr-defined]
        assert place.ended(place.start())["state"] == "succeeded"
        if how == "stopped":
            broker.pause()
        else:
            broker.kill()
        try:
            runs = [place.start() for _ in range(5)]
            assert place.cancel(runs[0]) in (200, 202)
            assert place.get(runs[0])["state"] == "cancelled"
            ready = httpx.get(f"{place.url}/djsci/health/ready", timeout=30)
            assert ready.status_code == 200
        finally:
            if how == "stopped":
                broker.resume()
            else:
                broker.start()
                broker.wait_ready()
        states = [place.ended(run_id, seconds=60)["state"] for run_id in runs]
        assert states == ["cancelled", *["succeeded"] * 4]
        judge(place.rows(), place.recorded())


@pytest.mark.timeout(300)
def test_x4_x5_a_user_with_fifty_runs_keeps_nobody_waiting(tmp_path: Path, broker: Valkey):
    with celery(tmp_path / "record", broker, djsci=LIMITED) as stack:
        place: Stage = stack.place  # type: ignore[attr-defined]
        bob = place.site.seed(
            {
                "users": [{"name": "bob", "superuser": True}],
                "files": [],
            }
        ).bearer("bob")
        mine = [place.start(lines=3, pause=0.1) for _ in range(50)]
        place.began(mine[0])
        path = f"{place.url}/djsci/api/v1/files/code/runs/"
        said = {"parameters": {"record": str(place.record), "lines": 1}}
        answer = httpx.post(path, headers=bob, json=said, timeout=30)
        his = str(answer.json()["id"])
        before = place.recorded().count("start")
        until(lambda: f"{his} start" in place.recorded())
        order = [line.split()[0] for line in place.recorded().splitlines() if "start" in line]
        assert order.index(his) - before <= 3
        rows = place.all_ended(seconds=120)
        judge(rows, place.recorded())
        assert {row["state"] for row in rows.values()} == {"succeeded"}
        assert most_at_once(place.recorded(), set(mine)) == 2


def most_at_once(record: str, runs: set[str]) -> int:
    """How many of these runs were going on at one time, by what they wrote."""
    now = most = 0
    for line in record.splitlines():
        run_id, _, what = line.partition(" ")
        if run_id in runs:
            now += (what == "start") - (what == "done")
            most = max(most, now)
    return most


@pytest.mark.timeout(300)
async def test_x4_eight_claimers_never_start_more_than_the_limit(tmp_path: Path, broker: Valkey):
    limit = {"RUNNING": None, "RUNNING_PER_FILE": 4}
    with celery(tmp_path / "record", broker, workers=4, djsci=limit) as stack:
        place: Stage = stack.place  # type: ignore[attr-defined]
        runs = await place.submit(300, lines=1)
        rows = place.all_ended(seconds=240)
        judge(rows, place.recorded())
        assert {row["state"] for row in rows.values()} == {"succeeded"}
        assert most_at_once(place.recorded(), set(runs)) <= 4
        for worker in place.workers:
            assert worker.kill(signal.SIGTERM) == 0
