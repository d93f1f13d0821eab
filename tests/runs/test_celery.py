"""Real Celery workers over real brokers: what Celery users expect, and what a bell may not do."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celery
import httpx
import pytest

from tests import live, servers

# Handlers may write to the test's folder: they say that they ran, and wait to be let go.
CODE = """
import os, time
from pathlib import Path
import djsci

def djsci_handler(request, folder: str, gate: bool = False, pause: float = 0):
    run, here = djsci.run["id"], Path(folder)
    with open(here / "starts", "a") as starts:
        starts.write(run + "\\n")
    print("began", flush=True)
    while gate and not (here / "open").exists():
        time.sleep(0.01)
    time.sleep(pause)
    with open(here / "starts", "a") as starts:
        starts.write("-" + run + "\\n")
    return [run, dict(os.environ)]
"""
FINAL = ("succeeded", "failed", "timed_out", "cancelled", "crashed", "lost", "denied")
DJSCI = {"ISOLATION": "process", "LEASE": 1.5, "HEARTBEAT": 0.5, "GRACE": 0.5}
INTERVALS = {"ring_again": 2.0}


@dataclass
class Place:
    """A site, its broker, and a queue of its own there, which one worker serves."""

    site: live.Site
    broker: str
    queue: str
    headers: dict[str, str]
    worker: live.Worker

    def start(self, name: str = "code", **parameters: Any) -> str:
        """Queue a run; its id. The 202 comes whatever the broker does."""
        answer = httpx.post(
            f"{self.site.url}/djsci/api/v1/files/{name}/runs/",
            headers=self.headers,
            json={"parameters": parameters},
            timeout=20,
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def get(self, run_id: str, what: str = "", **query: Any) -> Any:
        """A run as the API shows it, or its `events/`."""
        path = f"{self.site.url}/djsci/api/v1/runs/{run_id}/{what}"
        answer = httpx.get(path, headers=self.headers, params=query, timeout=40)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, run_id: str) -> dict[str, Any]:
        """The run once it has ended, with all its events, of which `end` is the last and only."""
        run = until(lambda: (run := self.get(run_id))["state"] in FINAL and run)
        run["events"] = self.get(run_id, "events/")["events"]
        ends = [event["seq"] for event in run["events"] if event["type"] == "end"]
        assert ends == [len(run["events"])]
        return dict(run)

    def cancel(self, run_id: str) -> None:
        path = f"{self.site.url}/djsci/api/v1/runs/{run_id}/cancel/"
        assert httpx.post(path, headers=self.headers, timeout=20).status_code in (200, 202)

    def bell(self, run_id: str) -> None:
        """A bell that this test sends; who can reach the broker can."""
        with celery.Celery(broker=self.broker, set_as_current=False, fixups=[]) as app:
            app.send_task("djsci.run", args=[run_id], queue=f"djsci.{self.queue}")

    def orphan(self, run_id: str, *, seconds: float) -> None:
        """Have a queued run claimed by an executor on another host that is dead from now on."""
        self.site.execute(ORPHAN.format(run=run_id, seconds=seconds))


ORPHAN = """
import uuid
from django.db.models import F
from django.db.models.functions import Now
from djsci.models import Executor, Run
from djsci.runs import log
dead = Executor.objects.create(
    id=uuid.uuid4(), host="elsewhere", pid=1, process_started=1, slots=1, seen=log.from_now(-60)
)
answer = Run.objects.filter(pk="{run}", state="queued").update(
    state="running", lease=F("lease") + 1, starts=F("starts") + 1, executor=dead,
    lease_until=log.from_now({seconds}), deadline=log.from_now(60),
)
assert answer == 1
"""


def until(is_true: Callable[[], Any], *, seconds: float = 40) -> Any:
    """What `is_true` gives once it is true; an error after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := is_true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not so within {seconds} s")


def files_of(queue: str) -> list[dict[str, Any]]:
    """The same code, as files of different settings."""
    made = {
        "code": {"queue": queue},
        "two": {"queue": queue, "concurrency": 2},
        "again": {"queue": queue, "retries": 1},
        "held": {"queue": "nobodys"},
        "held_again": {"queue": "nobodys", "retries": 1},
    }
    return [
        {"name": name, "owner": "ada", "files": {"h.py": CODE}, "settings": settings}
        for name, settings in made.items()
    ]


@pytest.fixture(scope="module", params=["valkey", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """uvicorn, PostgreSQL and pub/sub beside Valkey; Daphne and SQLite alone beside RabbitMQ."""
    queue = f"test-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        options: dict[str, Any] = {
            "settings": {"DJSCI": {**DJSCI, "QUEUES": [queue, "nobodys"]}},
            "intervals": INTERVALS,
        }
        if request.param == "valkey":
            broker = stack.enter_context(servers.valkey_url())
            options |= {"kind": "uvicorn", "database": servers.postgres_url(), "redis": broker}
            options["intervals"] = {**INTERVALS, "poll": 100, "poll_remote": 100}  # bells alone
        else:
            broker = servers.rabbitmq_url()
            options |= {"kind": "daphne"}
            stack.callback(forget, broker, f"djsci.{queue}")
        site = stack.enter_context(live.server(environment={"DJSCI_BROKER": broker}, **options))
        made = site.seed({"users": [{"name": "ada"}], "files": files_of(queue)})
        worker = stack.enter_context(live.worker(site, queues=f"djsci.{queue}", name=queue))
        yield Place(site, broker, queue, made.bearer("ada"), worker)


def forget(broker: str, queue: str) -> None:
    """Take the queue from a broker that lives on."""
    with (
        celery.Celery(broker=broker, set_as_current=False, fixups=[]) as app,
        app.connection_for_write() as connection,
    ):
        app.amqp.queues[queue].bind(connection).delete()


def starts(folder: Path, run_id: str) -> int:
    """How often the run's code began, by what the code itself wrote."""
    return (folder / "starts").read_text().split().count(run_id)


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
    assert (tmp_path / "starts").read_text().split() == [again, f"-{again}"]


MOVE = """
from djsci.models import Run
answer = Run.objects.filter(pk="{run}").update(queue="{queue}")
"""


def test_r16_runs_whose_bells_are_doubled_start_once(place: Place, tmp_path: Path):
    runs = [place.start(folder=str(tmp_path)) for _ in range(8)]
    for run_id in runs:
        for _ in range(5):
            place.bell(run_id)
    for run_id in runs:
        run = place.ended(run_id)
        assert (run["state"], run["attempt"], run["result"][0]) == ("succeeded", 1, run_id)
        assert starts(tmp_path, run_id) == 1


def test_x4_a_limit_holds_across_workers_and_who_was_held_back_starts_at_an_end(
    place: Place, tmp_path: Path
):
    with live.worker(place.site, queues=f"djsci.{place.queue}", name="second") as second:
        runs = [place.start("two", folder=str(tmp_path), gate=True) for _ in range(8)]
        until(lambda: (tmp_path / "starts").exists())
        place.site.execute(RUNG)
        for run_id in runs:
            place.bell(run_id)
        until(lambda: place.site.execute(REFUSED) == 6)
        (tmp_path / "open").touch()
        assert {place.ended(run_id)["state"] for run_id in runs} == {"succeeded"}
        assert second.stop() == 0
    most = now = 0
    for line in (tmp_path / "starts").read_text().split():
        now += -1 if line.startswith("-") else 1
        most = max(most, now)
    assert most == 2


RUNG = """
from django.db.models.functions import Now
from djsci.models import Run
Run.objects.filter(state="queued").update(rung_at=Now())
"""
REFUSED = """
from djsci.models import Run
answer = Run.objects.filter(state="queued", rung_at=None).count()
"""


def test_a_running_run_is_cancelled_by_its_row_and_a_queued_one_never_starts(
    place: Place, tmp_path: Path
):
    queued = place.start("held", folder=str(tmp_path))
    place.cancel(queued)
    place.site.execute(MOVE.format(run=queued, queue=place.queue))
    place.bell(queued)
    assert place.ended(queued)["state"] == "cancelled"
    running = place.start(folder=str(tmp_path), gate=True)
    until(lambda: (tmp_path / "starts").exists())
    place.cancel(running)
    run = place.ended(running)
    assert (run["state"], run["attempt"]) == ("cancelled", 1)
    assert (tmp_path / "starts").read_text().split() == [running]


@pytest.fixture
def alone(place: Place) -> Place:
    """The place of one broker: what follows does not depend on it."""
    if place.broker.startswith("amqp"):
        pytest.skip("tried with the other broker")
    return place


def held(place: Place, folder: Path, name: str = "held") -> str:
    """A gated run that a second worker, of the queue `nobodys`, has begun."""
    run_id = place.start(name, folder=str(folder), gate=True)
    until(lambda: (folder / "starts").exists() and starts(folder, run_id))
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
    """One signal and half a second of DRAIN, or two signals in thirty seconds of it."""
    short = {"DJSCI_OPTIONS": json.dumps({"DRAIN": 0.5})}
    with live.worker(
        alone.site,
        queues="djsci.nobodys",
        name=f"drained-{len(signals)}",
        environment=short if signals == ONCE else {},
    ) as worker:
        cancelled = held(alone, tmp_path)
        again = held(alone, tmp_path, "held_again")
        for number in signals:  # which are one, if they come together
            worker.process.send_signal(number)
            until(lambda: "draining" in worker.said())
        assert worker.process.wait(25) == status
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
    until(lambda: (tmp_path / "starts").exists() and starts(tmp_path, lost))
    alone.site.execute(TAKEN_OVER.format(run=lost))
    until(lambda: starts(tmp_path, stopped))
    for _ in range(2):  # the second one skips the waiting
        runs[stopped].send_signal(signal.SIGTERM)
        until(lambda: alone.site.execute(DRAINING))
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
from djsci.models import Executor
answer = not Executor.objects.filter(queues=[], is_draining=False).exists()
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


def test_x3_calls_are_taken_while_the_broker_is_away_and_start_when_it_is_back(tmp_path: Path):
    port = servers.free_port()
    with live.server(
        "uvicorn",
        settings={"DJSCI": DJSCI},
        intervals=INTERVALS,
        environment={"DJSCI_BROKER": f"redis://127.0.0.1:{port}/0"},
    ) as site:
        made = site.seed({"users": [{"name": "ada"}], "files": [FILE]})
        place = Place(site, "", "default", made.bearer("ada"), None)  # type: ignore[arg-type]
        run_id = place.start(folder=str(tmp_path))
        until(lambda: "bells were lost" in site.said())
        with servers.valkey_url(port), live.worker(site) as worker:
            assert place.ended(run_id)["state"] == "succeeded"
            assert worker.stop() == 0


FILE = {"name": "code", "owner": "ada", "files": {"h.py": CODE}}
