"""Real Celery workers over real brokers: what Celery users expect, and what a bell may not do."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import httpx
import pytest

from tests import live, servers
from tests.waiting import until
from tests.workers import (
    DJSCI,
    FILE,
    INTERVALS,
    MOVE,
    Place,
    lines,
    most_at_once,
    place_of,
    starts,
)


@pytest.fixture(scope="module", params=["valkey", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with place_of(request.param) as made:
        yield made


@pytest.fixture
def alone(place: Place) -> Place:
    """The place of one broker: what follows does not depend on it."""
    if place.broker.startswith("amqp"):
        pytest.skip("tried with the other broker")
    return place


def test_output_of_a_worker_reaches_a_follower_of_a_web_process_as_it_is_printed(
    place: Place, tmp_path: Path
):
    run_id = place.start(folder=str(tmp_path), gate=True)
    path = f"{place.site.url}/djsci/api/v1/runs/{run_id}/events/"
    headers = {**place.headers, "Accept": "application/x-ndjson"}
    seen = []
    with httpx.stream("GET", path, headers=headers, timeout=40) as answer:
        for line in answer.iter_lines():
            seen.append(json.loads(line))
            if seen[-1]["type"] == "stream":
                assert run_id in json.dumps(active(place))
                (tmp_path / "open").touch()  # until now the run waits
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["state"] == "succeeded"
    said = [event["text"] for event in seen if event["type"] == "stream"]
    assert said == ["began\n"]
    [result] = [event["value"] for event in seen if event["type"] == "result"]
    assert not {"DJSCI_BROKER", "DATABASE_URL", "REDIS_URL"} & result[1].keys()


def active(place: Place) -> Any:
    """What `celery inspect active` shows of the place's worker."""
    with celery.Celery(broker=place.broker, set_as_current=False, fixups=[]) as app:
        name = f"{place.queue}@{os.uname().nodename}"
        return app.control.inspect(destination=[name], timeout=10, limit=1).active()


def test_a_workers_log_is_the_projects_one_object_a_line(alone: Place, tmp_path: Path):
    run_id = alone.start(folder=str(tmp_path))
    alone.ended(run_id)
    log = alone.worker.log
    line = until(lambda: next((one for one in log.read_text().splitlines() if run_id in one), None))
    said = json.loads(line)
    assert (said["logger"], said["run"], said["lease"]) == ("djsci.runs", run_id, 1)
    assert said["executor"]
    said = json.loads(next(one for one in log.read_text().splitlines() if " ready." in one))
    assert (said["logger"], said["level"]) == ("celery.apps.worker", "info")


def test_x1_bells_that_come_while_a_dead_owner_holds_the_lease_are_not_the_only_ones(
    place: Place, tmp_path: Path
):
    """RabbitMQ redelivers a dead worker's bell at once; the refused claim eats it."""
    lost, again = (place.start(name, folder=str(tmp_path)) for name in ("held", "held_again"))
    for run_id in (lost, again):
        place.orphan(run_id, seconds=2)
        place.site.execute(MOVE.format(run=run_id, queue=place.queue))
        for _ in range(10):
            place.bell(run_id)
    run = place.ended(lost)
    assert (run["state"], run["attempt"]) == ("lost", 1)
    run = place.ended(again)
    assert (run["state"], run["attempt"]) == ("succeeded", 2)
    assert lines(tmp_path) == [again, f"-{again}"]


def test_r16_runs_whose_bells_are_doubled_start_once(alone: Place, tmp_path: Path):
    runs = [alone.start(folder=str(tmp_path)) for _ in range(8)]
    for run_id in runs:
        for _ in range(5):
            alone.bell(run_id)
    for run_id in runs:
        run = alone.ended(run_id)
        assert (run["state"], run["attempt"], run["result"][0]) == ("succeeded", 1, run_id)
        assert starts(tmp_path, run_id) == 1


def test_x4_a_limit_holds_across_workers_and_who_was_held_back_starts_at_an_end(
    place: Place, tmp_path: Path
):
    with live.worker(place.site, queues=f"djsci.{place.queue}", name="second") as second:
        runs = [place.start("two", folder=str(tmp_path), gate=True) for _ in range(8)]
        until(lambda: len(lines(tmp_path)) == 2)
        place.site.execute(RUNG)
        for run_id in runs:
            place.bell(run_id)
        until(lambda: place.site.execute(REFUSED) == 6)
        (tmp_path / "open").touch()
        assert {place.ended(run_id)["state"] for run_id in runs} == {"succeeded"}
        assert second.stop() == 0
    assert most_at_once(tmp_path) == 2


RUNG = """
from django.db.models.functions import Now
from djsci.models import Run
Run.objects.filter(state="queued", file__name="two").update(rung_at=Now())
"""
REFUSED = """
from djsci.models import Run
answer = Run.objects.filter(state="queued", file__name="two", rung_at=None).count()
"""


def test_a_running_run_is_cancelled_by_its_row_and_a_queued_one_never_starts(
    alone: Place, tmp_path: Path
):
    queued = alone.start("held", folder=str(tmp_path))
    alone.cancel(queued)
    alone.site.execute(MOVE.format(run=queued, queue=alone.queue))
    alone.bell(queued)
    assert alone.ended(queued)["state"] == "cancelled"
    running = alone.start(folder=str(tmp_path), gate=True)
    until(lambda: lines(tmp_path))
    alone.cancel(running)
    run = alone.ended(running)
    assert (run["state"], run["attempt"]) == ("cancelled", 1)
    assert lines(tmp_path) == [running]


def held(place: Place, folder: Path, name: str = "held") -> str:
    """A gated run that a second worker, of the queue `nobodys`, has begun."""
    run_id = place.start(name, folder=str(folder), gate=True)
    until(lambda: starts(folder, run_id))
    return run_id


def test_r14_warm_shutdown_lets_runs_end_and_takes_no_new_ones(alone: Place, tmp_path: Path):
    with live.worker(alone.site, queues="djsci.nobodys", name="warm") as worker:
        run_id = held(alone, tmp_path)
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in worker.said())
        late = alone.start("held", folder=str(tmp_path))
        (tmp_path / "open").touch()
        assert worker.process.wait(40) == 0
        assert alone.ended(run_id)["state"] == "succeeded"
        assert alone.get(late)["state"] == "queued"
    alone.cancel(late)


ONCE, TWICE = [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]
CTRL_C = [signal.SIGINT, signal.SIGINT]


@pytest.mark.parametrize(
    ("signals", "status"),
    [(ONCE, 0), (TWICE, 0), pytest.param(CTRL_C, 1, marks=pytest.mark.faults)],
    ids=["once", "twice", "ctrl-c"],
)
def test_r14_after_the_drain_a_run_is_cancelled_or_queued_again(
    alone: Place, tmp_path: Path, signals: list[int], status: int
):
    """One signal and half a second of DRAIN, or two signals in a hundred seconds of it."""
    patience = {"DJSCI_OPTIONS": json.dumps({"DRAIN": 0.5 if signals == ONCE else 100})}
    with live.worker(
        alone.site,
        queues="djsci.nobodys",
        name=f"drained-{len(signals)}",
        environment=patience,
    ) as worker:
        cancelled = held(alone, tmp_path)
        again = held(alone, tmp_path, "held_again")
        for number in signals:  # which are one, if they come together
            worker.process.send_signal(number)
            until(lambda: "draining" in worker.said())
        assert worker.process.wait(50) == status
    run = alone.ended(cancelled)
    assert (run["state"], run["reason"]) == ("cancelled", "shutdown")
    run = alone.get(again)
    assert (run["state"], run["attempt"]) == ("queued", 1)
    (tmp_path / "open").touch()
    assert djsci_run(alone, again).wait(40) == 0
    run = alone.ended(again)
    assert (run["state"], run["attempt"]) == ("succeeded", 2)


def djsci_run(place: Place, run_id: str) -> "subprocess.Popen[bytes]":
    """`manage.py djsci_run`, begun."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "djsci_run", run_id],
        cwd=live.ROOT,
        env=place.site.environment,
        stdout=subprocess.DEVNULL,
    )


def test_djsci_run_says_by_its_exit_status_what_became_of_the_run(alone: Place, tmp_path: Path):
    failing = alone.start("held", folder="/nowhere")
    ended = alone.start("held", folder=str(tmp_path))
    alone.cancel(ended)
    lost = alone.start("held", folder=str(tmp_path), gate=True)
    stopped = alone.start("held_again", folder=str(tmp_path), gate=True)
    runs = {name: djsci_run(alone, name) for name in (failing, ended, lost, stopped)}
    until(lambda: starts(tmp_path, lost))
    alone.site.execute(TAKEN_OVER.format(run=lost))
    until(lambda: starts(tmp_path, stopped))
    for _ in range(2):  # the second one skips the waiting
        runs[stopped].send_signal(signal.SIGTERM)
        until(lambda: alone.site.execute(DRAINING.format(run=stopped)))
    exits = {name: process.wait(40) for name, process in runs.items()}
    assert exits == {failing: 0, ended: 75, lost: 70, stopped: 75}
    assert alone.ended(failing)["state"] == "failed"
    assert alone.get(stopped)["state"] == "queued"
    alone.cancel(stopped)


TAKEN_OVER = """
from djsci.runs import log
from djsci.core.events import End
end = End(state="lost", reason="a test took it")
assert log.take_over("{run}", lease=1, events=[end], columns=log.end_columns(end))
"""
DRAINING = """
from djsci.models import Run
mine = Run.objects.get(pk="{run}").executor
answer = mine is None or mine.is_draining
"""


def test_a_worker_with_another_pool_is_refused_with_what_to_do(alone: Place):
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "asgi_project", "worker", "-Q", "djsci.default"],
        cwd=live.ROOT,
        env=alone.site.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 64
    assert "pool prefork" in done.stderr
    assert "-P threads -c 4 -Q djsci.default" in done.stderr


def broker_of(site: live.Site) -> tuple[int, str, str]:
    """What `ready` says, and what it says of the broker."""
    answer = httpx.get(f"{site.url}/djsci/health/ready", timeout=20)
    return answer.status_code, answer.json()["status"], answer.json()["checks"]["broker"]


def test_x3_calls_are_taken_while_the_broker_is_away_and_start_when_it_is_back(tmp_path: Path):
    port = servers.free_port()
    with live.server(
        "uvicorn",
        settings={"DJSCI": DJSCI},
        intervals=INTERVALS,
        environment={"DJSCI_BROKER": f"redis://127.0.0.1:{port}/0"},
    ) as site:
        made = site.seed({"users": [{"name": "ada"}], "files": [FILE]})
        place = Place(site, "", "default", made.bearer("ada"), None, {})  # type: ignore[arg-type]
        run_id = place.start(folder=str(tmp_path))
        until(lambda: "bells were lost" in site.said())
        assert broker_of(site) == (200, "degraded", "failed")
        figures = httpx.get(f"{site.url}/djsci/metrics", timeout=20).text
        assert 'djsci_rings_failed_total{to="broker"} 0' not in figures
        with servers.valkey_url(port), live.worker(site) as worker:
            assert place.ended(run_id)["state"] == "succeeded"
            until(lambda: broker_of(site)[2] == "ok")
            assert worker.stop() == 0
