"""A site of real processes, and the oracle: what handlers wrote of themselves, held to the rows."""

import asyncio
import os
import random
import re
import secrets
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests import live
from tests.waiting import until

from .parts import Part, Web, Worker, alive

# Each line is one write, so that many processes may share the file. A line is printed first: what
# is in the record and whose run did not vanish must be in the log.
CODE = """
import os, time
import djsci

def djsci_handler(request, record: str, lines: int = 3, pause: float = 0.0, gate: str = ""):
    run, text = djsci.run["id"], os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(text, f"{run} start\\n{run} pid {os.getpid()}\\n".encode())
    number = 0
    while number < lines or (gate and not os.path.exists(gate)):
        print(run, number, flush=True)
        os.write(text, f"{run} {number}\\n".encode())
        number += 1
        time.sleep(pause)
    os.write(text, f"{run} done\\n".encode())
    return number
"""
DJSCI = {
    "ISOLATION": "process",  # handlers write to the test's folder
    "LEASE": 2,
    "HEARTBEAT": 0.5,
    "GRACE": 0.5,
    "TIMEOUT": 60,
    "QUEUE_PER_USER": 2000,
    "QUEUE": 3000,
    "RUNNING": 8,
}
RETRIED = {"name": "again", "settings": {"retries": 1}}
INTERVALS = {"ring_again": 2.0, "database_retry": 20.0}
FINAL = {"succeeded", "failed", "timed_out", "cancelled", "crashed", "lost", "denied"}
ROWS = """
import json
from djsci.models import LogRow, Run
COLUMNS = ("pk", "state", "reason", "abandoned", "starts", "retries", "head", "result")
logs = {}
for run, data in LogRow.objects.order_by("run", "last").values_list("run", "data"):
    logs.setdefault(run, []).extend(json.loads(line) for line in data.split("\\n"))
answer = [
    {**run, "events": logs.get(run["pk"], [])}
    for run in Run.objects.values(*COLUMNS)
]
"""


@dataclass
class Stage:
    """A site with its web processes and workers; `record` is what handlers write to."""

    site: live.Site
    webs: list[Web]
    workers: list[Worker]
    headers: dict[str, str]
    record: Path

    @property
    def url(self) -> str:
        return self.webs[0].url

    @property
    def parts(self) -> list[Part]:
        return [*self.webs, *self.workers]

    def start(self, name: str = "code", **parameters: Any) -> str:
        """Queue a run; its id."""
        answer = self.post(name, **parameters)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def post(self, name: str = "code", **parameters: Any) -> httpx.Response:
        path = f"{self.url}/djsci/api/v1/files/{name}/runs/"
        said = {"parameters": {"record": str(self.record), **parameters}}
        return httpx.post(path, headers=self.headers, json=said, timeout=30)

    def get(self, run_id: str, what: str = "", web: int = 0) -> Any:
        """A run as the API shows it, or its `events/`; asked again while it says 503."""
        path = f"{self.webs[web].url}/djsci/api/v1/runs/{run_id}/{what}"

        def asked() -> httpx.Response | None:
            answer = httpx.get(path, headers=self.headers, timeout=30)
            return answer if answer.status_code != 503 else None

        answer: httpx.Response = until(asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def cancel(self, run_id: str) -> int:
        path = f"{self.url}/djsci/api/v1/runs/{run_id}/cancel/"
        return httpx.post(path, headers=self.headers, timeout=30).status_code

    def ended(self, run_id: str, *, seconds: float = 60, web: int = 0) -> dict[str, Any]:
        """The run, once it is final."""
        return dict(
            until(
                lambda: (run := self.get(run_id, web=web))["state"] in FINAL and run,
                seconds=seconds,
            )
        )

    def began(self, run_id: str) -> None:
        """Wait until the handler of this run wrote its first line."""
        until(lambda: f"{run_id} 0\n" in self.recorded())

    def child(self, run_id: str) -> psutil.Process:
        """The process that executes this run's handler, as it wrote."""
        [pid] = re.findall(rf"^{run_id} pid (\d+)$", self.recorded(), re.MULTILINE)
        return psutil.Process(int(pid))

    def owner(self, run_id: str) -> Part:
        """The process that executes this run."""
        pid = self.site.execute(OWNER.format(run=run_id))
        return next(part for part in self.parts if part.pid == pid)

    def recorded(self) -> str:
        return self.record.read_text() if self.record.exists() else ""

    def recorded_of(self, run_id: str) -> str:
        lines = self.recorded().splitlines(keepends=True)
        return "".join(line for line in lines if line.startswith(run_id))

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every run with its events, straight from the database."""
        return {row["pk"]: row for row in self.site.execute(ROWS)}

    async def submit(
        self, count: int, *, name: str = "code", at_once: int = 8, first: int = 0, **parameters: Any
    ) -> list[str]:
        """Queue so many runs, each asked for until a web process takes it; their ids."""
        path = f"/djsci/api/v1/files/{name}/runs/"
        said = {"parameters": {"record": str(self.record), **parameters}}
        turns = asyncio.Semaphore(at_once)

        async def one(number: int) -> str:
            key = {"Idempotency-Key": f"key-{number}"}
            async with turns:
                for attempt in range(200):
                    url = self.webs[(number + attempt) % len(self.webs)].url
                    try:
                        answer = await http.post(url + path, json=said, headers=key)
                    except httpx.HTTPError:
                        await asyncio.sleep(0.1)
                        continue
                    if answer.status_code in (200, 202):
                        return str(answer.json()["id"])
                    assert answer.status_code in (429, 503), answer.text
                    await asyncio.sleep(0.1)
            raise AssertionError("no web process took it")

        async with httpx.AsyncClient(headers=self.headers, timeout=30) as http:
            return list(await asyncio.gather(*map(one, range(first, first + count))))

    def all_ended(self, *, seconds: float) -> dict[str, dict[str, Any]]:
        """Every run, once none is open any more."""
        until(lambda: not self.site.execute(OPEN), seconds=seconds)
        return self.rows()


OWNER = """
from djsci.models import Run
answer = Run.objects.values_list("executor__pid", flat=True).get(pk="{run}")
"""
OPEN = """
from djsci.core.events import LIVE
from djsci.models import Run
answer = Run.objects.filter(state__in=LIVE).count()
"""


def judge(rows: Mapping[str, dict[str, Any]], record: str) -> None:
    """The promises of every run: one end, one start unless retried, its lines once, in order."""
    said: defaultdict[str, list[str]] = defaultdict(list)
    for line in record.splitlines():
        run_id, _, what = line.partition(" ")
        said[run_id].append(what)
    assert set(said) <= set(rows)
    for run_id, run in rows.items():
        events = run["events"]
        assert [event["seq"] for event in events] == list(range(1, run["head"] + 1)), run_id
        assert [event["type"] for event in events].count("end") == 1, run_id
        assert (events[-1]["type"], events[-1]["state"]) == ("end", run["state"]), run_id
        begun = said[run_id].count("start")
        assert begun <= run["starts"] <= run["retries"] + 1, run_id
        if run["starts"] == 1 and said[run_id]:
            judge_lines(run_id, run, said[run_id])


def judge_lines(run_id: str, run: Mapping[str, Any], said: Sequence[str]) -> None:
    """What a run printed is in its log: all of it, or of a vanished one the beginning."""
    printed = "".join(event["text"] for event in run["events"] if event["type"] == "stream")
    numbers = [what for what in said if what.isdigit()]
    whole = "".join(f"{run_id} {number}\n" for number in numbers)
    if run["state"] == "succeeded":
        assert printed == whole, run_id
        assert run["result"] == str(len(numbers)), run_id
        assert said[-1] == "done", run_id
    elif run["state"] == "lost" or run["abandoned"]:
        assert (whole + f"{run_id} {len(numbers)}\n").startswith(printed), run_id
    else:  # a line may be printed, and its writer killed before it is in the record
        ends = (whole, whole + f"{run_id} {len(numbers)}\n")
        assert printed in ends, (run_id, run["state"], run["reason"], printed[-80:])


def new_seed() -> int:
    """A seed that the report of a failure shows; `DJSCI_CHAOS` replays its choices."""
    seed = int(os.environ.get("DJSCI_CHAOS") or secrets.randbits(32))
    print(f"DJSCI_CHAOS={seed}")
    return seed


class Chaos(threading.Thread):
    """Kills or stops one process of a stage every so often, and starts it again."""

    def __init__(self, stage: Stage, *, pause: tuple[float, float]):
        super().__init__(name="chaos", daemon=True)
        self.stage = stage
        self.done: list[str] = []
        self._pause = pause
        self._chance = random.Random(new_seed())
        self._over = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> "Chaos":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(60)
        if self._failure is not None:
            raise self._failure

    def run(self) -> None:
        try:
            while not self._over.wait(self._chance.uniform(*self._pause)):
                self._act(self._chance.choice(self.stage.parts))
        except BaseException as failure:
            self._failure = failure

    def _act(self, part: Part) -> None:
        what = self._chance.choice(["kill", "child", "child", "stop"])
        self.done.append(f"{what} {part.name}")
        if what == "kill":
            part.kill()
            part.start()
        elif what == "child":
            self._kill_one(part.tree())
        else:
            part.pause()
            self._over.wait(self._chance.uniform(0.5, 2 * DJSCI["LEASE"]))  # type: ignore[operator]
            part.resume()

    def _kill_one(self, processes: list[psutil.Process]) -> None:
        victims = [process for process in processes if alive(process)]
        if victims:
            try:
                self._chance.choice(victims).kill()
            except psutil.NoSuchProcess:
                return


@contextmanager
def stage(
    record: Path,
    *,
    kind: str = "daphne",
    webs: int = 1,
    workers: int = 0,
    slots: int = 4,
    files: Sequence[Mapping[str, Any]] = (),
    djsci: Mapping[str, Any] | None = None,
    intervals: Mapping[str, float] | None = None,
    environment: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Iterator[Stage]:
    """A site of so many web processes and Celery workers on one database, all ready.

    `options` are those of `live.server`; with workers its `environment` names the broker.
    """
    with ExitStack() as stack:
        # What a killed process leaves there, its next start removes; a test ends with a killed one.
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="djsci-", dir="/tmp"))
        site = stack.enter_context(
            live.server(
                "uvicorn" if kind == "uvicorn" else "daphne",
                settings={**(settings or {}), "DJSCI": {**DJSCI, **(djsci or {})}},
                intervals=INTERVALS if intervals is None else intervals,
                environment={"TMPDIR": temporary, **(environment or {})},
                **options,
            )
        )
        site.stop()  # it made the database; those that serve have fixed ports
        made = site.seed({"users": [{"name": "ada", "superuser": True}], "files": seeded(files)})
        staged = Stage(
            site,
            [Web(site, kind, f"web-{number}") for number in range(webs)],
            [Worker(site, f"worker-{number}", slots=slots) for number in range(workers)],
            made.bearer("ada"),
            record,
        )
        stack.callback(show, staged)
        for part in staged.parts:
            part.start()
            stack.callback(part.close)
        for ready in (*staged.webs, *staged.workers):
            ready.wait_ready()
        yield staged


def seeded(files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`code`, and what else a test wants."""
    wanted = [{"name": "code"}, *files]
    return [{"owner": "ada", "files": {"code.py": CODE}, **file} for file in wanted]


def show(staged: Stage) -> None:
    """What the parts said, for the report of a test that fails."""
    for part in staged.parts:
        if part.log.exists():
            print(f"--- {part.name} said:\n{part.said()[-3000:]}")
