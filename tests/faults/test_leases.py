"""R3, R13: who is stopped loses its runs and notices; who is only slow, or misled, keeps them."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.servers import absent
from tests.waiting import until

from .parts import Web, alive, library
from .stage import RETRIED, Stage, judge, stage


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two web processes, either of which may take a run."""
    with stage(tmp_path_factory.mktemp("pair") / "record", webs=2, files=[RETRIED]) as place:
        yield place


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def held(place: Stage, gate: Path, name: str = "code") -> tuple[str, psutil.Process]:
    """A run that goes on until the gate opens, and its process."""
    run_id = place.start(name, lines=1, pause=0.1, gate=str(gate))
    place.began(run_id)
    return run_id, place.child(run_id)


def pause(place: Stage, owner: Web) -> None:
    """Stop it where it does not write: on SQLite nobody could, until it goes on."""
    until(lambda: pauses_outside_of_writes(place, owner))


def pauses_outside_of_writes(place: Stage, owner: Web) -> bool:
    owner.pause()
    path = place.site.data / "db.sqlite3"
    with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            owner.resume()
            return False
        database.execute("ROLLBACK")
    return True


def test_r3_a_stopped_executor_loses_its_run_and_writes_nothing_when_it_comes_back(
    pair: Stage, gate: Path
):
    run_id, child = held(pair, gate)
    owner = pair.owner(run_id)
    [other] = [place for place, web in enumerate(pair.webs) if web is not owner]
    pause(pair, owner)
    try:
        assert pair.ended(run_id, web=other)["state"] == "lost"
        assert alive(child)
    finally:
        owner.resume()
    until(lambda: not alive(child))
    until(lambda: f"run {run_id}: LeaseLost; its lease is given up" in owner.said())
    judge({run_id: pair.rows()[run_id]}, pair.recorded_of(run_id))


@pytest.mark.faults
def test_r13_an_executor_that_only_slept_keeps_the_run_that_nobody_took(tmp_path: Path, gate: Path):
    with stage(tmp_path / "record", files=[RETRIED]) as place:
        run_id, _ = held(place, gate, "again")
        pause(place, place.webs[0])
        sleeping(place.webs[0], seconds=6)
        place.webs[0].resume()
        gate.touch()
        run = place.ended(run_id)
        assert (run["state"], run["attempt"]) == ("succeeded", 1)
        judge(place.rows(), place.recorded())


def sleeping(web: Web, *, seconds: float) -> None:
    """Let the time pass in which a stopped process is stopped."""
    try:
        os.waitid(os.P_PID, web.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        with pytest.raises(psutil.TimeoutExpired):
            psutil.Process(web.pid).wait(seconds)
    finally:
        assert psutil.Process(web.pid).status() == psutil.STATUS_STOPPED


@pytest.mark.faults
@pytest.mark.parametrize("hours", [1, -1])
def test_r13_a_clock_that_steps_neither_reaps_nor_times_out(tmp_path: Path, gate: Path, hours: int):
    """The clock of every process, and so SQLite's, steps while a run goes on."""
    preload = library("libfaketimeMT.so.1")
    if preload is None:
        absent("faketime", "the Debian package faketime is not installed")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    misled = {
        "LD_PRELOAD": preload,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with stage(tmp_path / "record", webs=2, environment=misled) as place:
        run_id, _ = held(place, gate)
        clock.write_text(f"{hours * 3600:+d}")
        beats = place.site.execute(SEEN)
        until(lambda: all(a != b for a, b in zip(beats, place.site.execute(SEEN), strict=True)))
        until(lambda: place.recorded().count("\n") > 60)  # six seconds of a lease of two
        gate.touch()
        assert place.ended(run_id)["state"] == "succeeded"
        judge(place.rows(), place.recorded())


SEEN = """
from djsci.models import Executor
answer = [str(seen) for seen in Executor.objects.order_by("pid").values_list("seen", flat=True)]
"""


def test_r3_a_retried_run_of_a_stopped_executor_starts_once_more(pair: Stage, gate: Path):
    run_id, child = held(pair, gate, "again")
    owner = pair.owner(run_id)
    pause(pair, owner)
    until(lambda: pair.recorded().count(f"{run_id} start") == 2)
    owner.resume()
    until(lambda: not alive(child))
    gate.touch()
    run: Any = pair.ended(run_id)
    assert (run["state"], run["attempt"]) == ("succeeded", 2)
    judge({run_id: pair.rows()[run_id]}, pair.recorded_of(run_id))
