"""What is promised of runs, seen from outside over real sockets."""

import asyncio
import hashlib
import json
import random
import threading
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.client import Follower
from tests.conftest import notebook
from tests.live import Site

from .conftest import ONE_CORNER

LINES = 100
OWN_LINES = """
import threading
from concurrent.futures import ThreadPoolExecutor

NAME = "{name}"

def say(marker, part, count):
    for number in range(count):
        print(NAME, marker, part, number)

def djsci_handler(request, marker: str):
    child = threading.Thread(target=say, args=(marker, "child", 30))
    child.start()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(say, marker, "pool", 30)
        say(marker, "main", 40)
    child.join()
    return [NAME, marker]
"""


def own_lines(name: str, marker: str) -> list[str]:
    parts = [("child", 30), ("pool", 30), ("main", 40)]
    return sorted(f"{name} {marker} {part} {n}" for part, count in parts for n in range(count))


@pytest.mark.slow
@pytest.mark.timeout(300)
@ONE_CORNER
@pytest.mark.parametrize("runs_each", [6, pytest.param(20, marks=pytest.mark.faults)])
async def test_runs_at_once_say_and_return_only_their_own(site: Site, ada: Any, runs_each: int):
    names = [f"own_{runs_each}_{number}" for number in range(10)]
    engines = dict(zip(names, ("kernel", "kernel", "fork", "fork", "fork"), strict=False))
    made = site.seed(
        {
            "users": [ada],
            "files": [
                {
                    "name": name,
                    "owner": "ada",
                    "files": {"own.py": OWN_LINES.replace("{name}", name)},
                    "settings": {"engine": engines.get(name, "thread")},
                    "trusted": name not in engines,
                }
                for name in names
            ],
        }
    )
    limits = httpx.Limits(max_connections=50)
    headers = made.bearer("ada")
    async with httpx.AsyncClient(headers=headers, timeout=240, limits=limits) as http:

        async def crossed(name: str, marker: str) -> int:
            runs = f"{site.url}/djsci/api/v1/files/{name}/runs/"
            started = await http.post(runs, json={"parameters": {"marker": marker}})
            assert started.status_code == 202, started.text
            run = Follower(url=site.url, timeout=240)
            while run.end is None:
                events = f"{site.url}{started.json()['links']['events']}"
                page = await http.get(events, params={"after": run.last, "wait": 20})
                assert page.status_code == 200, page.text
                run.take(page.json()["events"])
            assert (run.end["state"], run.result) == ("succeeded", [name, marker])
            lines = run.text("stdout").splitlines()
            assert len(lines) == LINES
            return len(set(lines) ^ set(own_lines(name, marker)))

        answers = await asyncio.gather(
            *(crossed(name, f"m{number}") for number in range(runs_each) for name in names)
        )
    assert len(answers) == 10 * runs_each
    assert sum(answers) == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("most", [30, pytest.param(100, marks=pytest.mark.faults)])
async def test_reconnects_lose_and_double_nothing(site: Site, ada: Any, most: int):
    code = """
import time
def djsci_handler(request, count: int):
    for number in range(count):
        print(f"line {number} äöü 漢字 🎈")
        if number % 500 == 0:
            time.sleep(0.05)
"""
    name = f"long_{most}"
    file = {"name": name, "owner": "ada", "files": {"long.py": code}}
    made = site.seed({"users": [ada], "files": [file]})
    run = Follower(url=site.url, headers=made.bearer("ada"), timeout=150)
    lines = 1000 * most
    async with httpx.AsyncClient(headers=made.bearer("ada"), timeout=60) as http:
        started = await http.post(
            f"{site.url}/djsci/api/v1/files/{name}/runs/", json={"parameters": {"count": lines}}
        )
    run_id = started.json()["id"]
    chance = random.Random(7)
    cuts = 0
    while run.end is None and cuts < most:
        async with run.connection(f"/djsci/ws/runs/{run_id}/?after={run.last}") as socket:
            try:
                for _ in range(chance.randint(1, 3)):
                    frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
                    run.take(frame.get("events", ()))
            except ConnectionClosed:
                continue
            socket.transport.abort()
            cuts += 1
    assert cuts == most
    await run.follow(run_id)
    printed = "".join(f"line {number} äöü 漢字 🎈\n" for number in range(lines))
    assert digest(run.text("stdout")) == digest(printed)
    assert [event["seq"] for event in run.events] == list(range(1, len(run.events) + 1))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Watch:
    """The most memory that a process had while it was watched, in bytes."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before = self._process.memory_info().rss
        self.most = self.before
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._is_over.wait(0.05):
            self.most = max(self.most, self._process.memory_info().rss)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("count", "width"),
    [(100_000, 200), pytest.param(1_000_000, 7, marks=pytest.mark.faults)],
    ids=["long lines", "a million lines"],
)
async def test_a_flood_is_cut_as_documented_in_little_memory(
    site: Site, ada: Any, count: int, width: int
):
    cells = notebook(
        "def djsci_handler(request, count: int, width: int):\n"
        "    for number in range(count):\n"
        "        print(f'this is line {number:0{width}d}')\n"
        "    return count\n"
    )
    name = f"flood_{count}"
    file = {"name": name, "owner": "ada", "files": {"f.ipynb": cells.decode()}}
    made = site.seed({"users": [ada], "files": [file]})
    warm = Follower(url=site.url, headers=made.bearer("ada"), timeout=150)
    await warm.call(name, {"count": count // 10, "width": width})
    run = Follower(url=site.url, headers=made.bearer("ada"), timeout=150)
    with Watch(site.process.pid) as watch:
        await run.call(name, {"count": count, "width": width})
    assert run.end
    assert (run.end["state"], run.result) == ("succeeded", count)
    assert watch.most - watch.before < 50 << 20
    [cut] = run.of_type("truncated")
    whole = "".join(f"this is line {number:0{width}d}\n" for number in range(count))
    place = run.events.index(cut)
    head = "".join(e["text"] for e in run.events[:place] if e["type"] == "stream")
    tail = "".join(e["text"] for e in run.events[place:] if e["type"] == "stream")
    assert whole.startswith(head)
    assert whole.endswith(tail)
    dropped = whole[len(head) : len(whole) - len(tail)]
    assert (cut["dropped_bytes"], cut["dropped_lines"]) == (len(dropped), dropped.count("\n"))
    assert len(head) + len(tail) == cut["limit"] == 10 << 20


async def test_a_plain_client_follows_a_run_with_nothing_but_json(site: Site, ada: Any):
    code = "def djsci_handler(request):\n    print('hi')\n    return {'a': 1}\n"
    made = site.seed(
        {"users": [ada], "files": [{"name": "plain", "owner": "ada", "files": {"p.py": code}}]}
    )
    run = Follower(url=site.url, headers=made.bearer("ada"))
    async with run.connection("/djsci/ws/call/plain/", subprotocols=None) as socket:
        assert json.loads(await socket.recv())["type"] == "hello"
        await socket.send('{"type": "start"}')
        assert json.loads(await socket.recv())["type"] == "started"
        while run.end is None:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
            run.take(frame["events"])
    assert (run.text("stdout"), run.result) == ("hi\n", {"a": 1})
