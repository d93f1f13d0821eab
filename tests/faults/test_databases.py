"""R10: the database is away, cut or locked; nothing is accepted, lost, doubled or left hanging."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.waiting import until

from .parts import Postgres, postgres
from .stage import INTERVALS, RETRIED, Stage, judge, stage

KILL_BACKENDS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname LIKE 'djsci_live_%' AND pid <> pg_backend_pid()
"""
SHORT = {**INTERVALS, "database_answer": 1.0, "unrenewed": 12.0}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as started:
        yield started


@pytest.fixture(scope="module")
def place(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    record = tmp_path_factory.mktemp("away") / "record"
    with stage(
        record, kind="uvicorn", database=server.url, intervals=SHORT, files=[RETRIED]
    ) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def refused(place: Stage) -> None:
    """A call is answered 503 with the time to come back, and makes no run."""
    answer = place.post()
    assert (answer.status_code, answer.json()["type"]) == (503, "no_capacity")
    assert answer.headers["Retry-After"]
    assert httpx.get(f"{place.url}/djsci/health/live", timeout=10).status_code == 200
    ready = httpx.get(f"{place.url}/djsci/health/ready", timeout=10)
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "failed")


@pytest.mark.faults
def test_r10_a_stopped_database_makes_no_run_and_a_running_one_goes_on(
    place: Stage, server: Postgres, gate: Path
):
    run_id = place.start(lines=1, pause=0.05, gate=str(gate))
    place.began(run_id)
    before = len(place.rows())
    server.pause()
    try:
        refused(place)
        gate.touch()
        until(lambda: f"{run_id} done" in place.recorded())
    finally:
        server.resume()
    run = place.ended(run_id)
    assert (run["state"], run["attempt"]) == ("succeeded", 1)
    rows = place.rows()
    assert len(rows) == before
    judge(rows, place.recorded())
    assert place.ended(place.start())["state"] == "succeeded"


@pytest.mark.faults
def test_r10_who_cannot_renew_for_long_kills_what_may_be_started_elsewhere(
    place: Stage, server: Postgres, gate: Path
):
    """A silent database holds up the tick; nobody may run what another could start again."""
    runs = [place.start(name, lines=1, pause=0.05, gate=str(gate)) for name in ("code", "again")]
    for run_id in runs:
        place.began(run_id)
    children = [place.child(run_id) for run_id in runs]
    server.pause()
    try:
        for child in children:
            until(lambda child=child: not child.is_running(), seconds=40)
    finally:
        server.resume()
    gate.touch()
    ended = [place.ended(run_id) for run_id in runs]
    assert [(run["state"], run["attempt"]) for run in ended] == [("lost", 1), ("succeeded", 2)]
    judge(place.rows(), place.recorded())


@pytest.mark.faults
def test_r10_backends_that_are_cut_in_their_appends_lose_and_double_nothing(
    place: Stage, server: Postgres
):
    runs = [place.start(lines=400, pause=0.01) for _ in range(4)]
    for run_id in runs:
        place.began(run_id)
    cut = 0
    while not all(f"{run_id} done" in place.recorded() for run_id in runs):
        cut += len(server.execute(KILL_BACKENDS))
        time.sleep(0.1)
    assert cut > 10
    assert {place.ended(run_id)["state"] for run_id in runs} == {"succeeded"}
    judge(place.rows(), place.recorded())


@pytest.mark.faults
def test_r10_a_database_that_restarts_costs_no_run(place: Stage, server: Postgres, gate: Path):
    run_id = place.start(lines=1, pause=0.02, gate=str(gate))
    place.began(run_id)
    for _ in range(2):
        server.restart()
        lines = place.recorded().count("\n")
        until(lambda seen=lines: place.recorded().count("\n") > seen + 50)
    gate.touch()
    assert place.ended(run_id)["state"] == "succeeded"
    judge(place.rows(), place.recorded())


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_r10_a_locked_sqlite_makes_no_run_and_a_running_one_flushes_in_order(
    tmp_path: Path, gate: Path
):
    with stage(tmp_path / "record") as made:
        run_id = made.start(lines=1, pause=0.05, gate=str(gate))
        made.began(run_id)
        path = made.site.data / "db.sqlite3"
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            refused_write(made)
            gate.touch()
            until(lambda: f"{run_id} done" in made.recorded())
            refused_write(made)
        assert made.ended(run_id)["state"] == "succeeded"
        rows = made.rows()
        assert list(rows) == [run_id]
        judge(rows, made.recorded())


def refused_write(place: Stage) -> None:
    """WAL lets readers read while one process holds the database; a call is a write."""
    answer = place.post()
    assert (answer.status_code, answer.json()["type"]) == (503, "no_capacity")
    assert answer.headers["Retry-After"]
    assert httpx.get(f"{place.url}/djsci/health/live", timeout=10).status_code == 200


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("each", [40, 200])
def test_r10_sixteen_writers_never_see_a_locked_database(tmp_path: Path, each: int):
    with stage(tmp_path / "record", webs=2) as made:
        began = time.monotonic()
        wrong: list[str] = []

        def write() -> None:
            for _ in range(each):
                answer = made.post(lines=1)
                if answer.status_code != 202:
                    wrong.append(answer.text)

        writers = [threading.Thread(target=write) for _ in range(16)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        rows = made.all_ended(seconds=300)
        print(f"{16 * each} runs in {time.monotonic() - began:.0f} s")
        assert wrong == []
        assert len(rows) == 16 * each
        assert {row["state"] for row in rows.values()} == {"succeeded"}
        judge(rows, made.recorded())
        assert not any("locked" in web.said() for web in made.webs)
