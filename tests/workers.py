"""A site, its broker and a Celery worker, as three kinds of real processes; what a test asks them.

with place_of("valkey") as place:
    run = place.ended(place.start(folder=str(tmp_path)))
"""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celery
import httpx

from tests import live, servers
from tests.waiting import until

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
DJSCI = {
    **{"ISOLATION": "process", "LEASE": 10, "HEARTBEAT": 0.5, "GRACE": 0.5},
    **{"QUEUE_PER_USER": 500, "RUNNING": 50},
}
INTERVALS = {"ring_again": 2.0}


@dataclass
class Place:
    """A site, its broker, and a queue of its own there, which one worker serves."""

    site: live.Site
    broker: str
    queue: str
    headers: dict[str, str]
    worker: live.Worker
    bob: dict[str, str]  # headers of another user, who may run the file `code`

    def start(
        self, name: str = "code", *, by: dict[str, str] | None = None, **parameters: Any
    ) -> str:
        """Queue a run; its id. The 202 comes whatever the broker does."""
        answer = httpx.post(
            f"{self.site.url}/djsci/api/v1/files/{name}/runs/",
            headers=by or self.headers,
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

    def waiting(self) -> int:
        """How many bells the broker holds that no worker has taken."""
        with (
            celery.Celery(broker=self.broker, set_as_current=False, fixups=[]) as app,
            app.connection_for_read() as connection,
            connection.channel() as channel,
        ):
            try:
                found = channel.queue_declare(queue=f"djsci.{self.queue}", passive=True)
            except connection.channel_errors:  # Redis has no empty lists
                return 0
            return int(found.message_count)

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
        {
            **{"name": name, "owner": "ada", "files": {"h.py": CODE}},
            **{"settings": settings, "access": "authenticated"},
        }
        for name, settings in made.items()
    ]


@contextmanager
def place_of(broker_kind: str, *, slots: int = 4, broker: str = "", **more: Any) -> Iterator[Place]:
    """`valkey`: uvicorn, PostgreSQL, pub/sub; `rabbitmq`: Daphne and SQLite alone. One worker.

    `broker`: another way to that RabbitMQ.
    """
    queue = f"test-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        options: dict[str, Any] = {
            "settings": {"DJSCI": {**DJSCI, "QUEUES": [queue, "nobodys"], **more}},
            "intervals": INTERVALS,
        }
        if broker_kind == "valkey":
            broker = stack.enter_context(servers.valkey_url())
            options |= {"kind": "uvicorn", "database": servers.postgres_url(), "redis": broker}
            options["intervals"] = {**INTERVALS, "poll": 100, "poll_remote": 100}  # bells alone
        else:
            shared = servers.rabbitmq_url()
            broker = broker or shared
            options |= {"kind": "daphne"}
            stack.callback(forget, shared, f"djsci.{queue}")
        site = stack.enter_context(live.server(environment={"DJSCI_BROKER": broker}, **options))
        made = site.seed({"users": [{"name": "ada"}, {"name": "bob"}], "files": files_of(queue)})
        worker = stack.enter_context(
            live.worker(site, slots=slots, queues=f"djsci.{queue}", name=queue)
        )
        yield Place(site, broker, queue, made.bearer("ada"), worker, made.bearer("bob"))


def forget(broker: str, queue: str) -> None:
    """Take the queue from a broker that lives on."""
    with (
        celery.Celery(broker=broker, set_as_current=False, fixups=[]) as app,
        app.connection_for_write() as connection,
    ):
        app.amqp.queues[queue].bind(connection).delete()


def lines(folder: Path) -> list[str]:
    """The ids of the runs whose code began, and with a minus in front of those that ended."""
    file = folder / "starts"
    return file.read_text().split() if file.exists() else []


def starts(folder: Path, run_id: str) -> int:
    """How often the run's code began, by what the code itself wrote."""
    return lines(folder).count(run_id)


def most_at_once(folder: Path) -> int:
    """How many runs were inside at the same time, at most."""
    most = now = 0
    for line in lines(folder):
        now += -1 if line.startswith("-") else 1
        most = max(most, now)
    return most


MOVE = """
from djsci.models import Run
answer = Run.objects.filter(pk="{run}").update(queue="{queue}")
"""
FILE = {"name": "code", "owner": "ada", "files": {"h.py": CODE}}
