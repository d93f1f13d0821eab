"""R21, R22 and the bars of load: what runs take, they give back; how busy sites fare is printed."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests import servers

from .parts import Web, alive
from .stage import Stage, judge, stage

pytestmark = pytest.mark.faults
MIB = 1 << 20
# asyncio's own pool, in which Django logs what is refused, fills as soon as so many are at once.
ASIDE = {"threads": min(32, (os.cpu_count() or 1) + 4)}


def taken(web: Web, *, connections: Callable[[], int] = lambda: 0) -> dict[str, int]:
    """What a web process holds: descriptors, threads, children, zombies, MiB, connections."""
    process = psutil.Process(web.pid)
    tree = web.tree()
    return {
        "fds": process.num_fds(),
        "threads": process.num_threads(),
        "children": sum(map(alive, tree)),
        "zombies": sum(not alive(child) for child in tree),
        "folders": len(list(Path(web.environment["TMPDIR"]).rglob("*"))),
        "MiB": process.memory_info().rss // MIB,
        "connections": connections(),
    }


def settled(look: Callable[[], dict[str, int]]) -> dict[str, int]:
    """The least of each that is seen in ten seconds: what is only just given back counts not."""
    end = time.monotonic() + 10
    least = look()
    while time.monotonic() < end:
        least = {name: min(value, least[name]) for name, value in look().items()}
        time.sleep(0.2)
    return least


def gave_back(before: dict[str, int], after: dict[str, int]) -> None:
    print(before, after)
    assert after.pop("MiB") <= before.pop("MiB") + 20
    for name, count in after.items():
        assert count <= before[name] * 1.05 + 1 + ASIDE.get(name, 0), name
    assert after["zombies"] == 0


@pytest.mark.timeout(900)
async def test_r21_r22_two_thousand_runs_leave_what_a_hundred_left(tmp_path: Path):
    with stage(tmp_path / "record") as place:
        await place.submit(100, lines=1)
        await asyncio.to_thread(place.all_ended, seconds=60)
        before = await asyncio.to_thread(settled, lambda: taken(place.webs[0]))
        for child in place.webs[0].tree()[1:3]:  # idle workers: none that is dead is handed out
            child.kill()
        await place.submit(2000, first=100, lines=1)
        rows = await asyncio.to_thread(place.all_ended, seconds=300)
        after = await asyncio.to_thread(settled, lambda: taken(place.webs[0]))
    gave_back(before, after)
    assert {row["state"] for row in rows.values()} == {"succeeded"}
    judge(rows, place.recorded())


@pytest.mark.timeout(1800)
async def test_load_on_postgresql_gives_everything_back(tmp_path: Path):
    """`DJSCI_SOAK` minutes of it: two unless it says otherwise."""
    seconds = 60 * float(os.environ.get("DJSCI_SOAK", "2"))
    url = servers.postgres_url()
    with stage(tmp_path / "record", kind="uvicorn", database=url) as place:

        def look() -> dict[str, int]:
            return taken(place.webs[0], connections=lambda: connected(url))

        await place.submit(100, lines=20)
        await asyncio.to_thread(place.all_ended, seconds=60)
        before = await asyncio.to_thread(settled, look)
        count, until = 100, time.monotonic() + seconds
        while time.monotonic() < until:
            await place.submit(50, first=count, lines=20)
            count += 50
        rows = await asyncio.to_thread(place.all_ended, seconds=120)
        after = await asyncio.to_thread(settled, look)
        assert "deadlock" not in place.webs[0].said()
    print(f"{len(rows)} runs in {seconds:.0f} s")
    gave_back(before, after)
    assert {row["state"] for row in rows.values()} == {"succeeded"}


def connected(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection:
        [found] = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'djsci_live_%'"
        ).fetchall()
    return int(found[0])


@pytest.mark.timeout(600)
async def test_chatty_runs_beside_a_busy_host_project_on_one_sqlite(tmp_path: Path):
    with stage(tmp_path / "record", webs=1, djsci={"RUNNING": 50}) as place:
        host = Host(place, per_second=100)
        await asyncio.sleep(3)
        alone = host.figures()
        began = time.monotonic()
        await place.submit(50, at_once=50, lines=300, pause=0.01)
        rows = await asyncio.to_thread(place.all_ended, seconds=300)
        lines = 50 * 300 / (time.monotonic() - began)
        beside = host.figures()
        host.end()
        assert "locked" not in place.webs[0].said()
    print(f"host alone: {alone}; beside 50 runs of {lines:.0f} lines/s in all: {beside}")
    assert host.locked == 0
    assert {row["state"] for row in rows.values()} == {"succeeded"}
    judge(rows, place.recorded())


class Host(threading.Thread):
    """A project's own writes, so many a second, each a transaction of its own."""

    def __init__(self, place: Stage, *, per_second: int) -> None:
        super().__init__(name="host", daemon=True)
        self._path = place.site.data / "db.sqlite3"
        self._pause = 1 / per_second
        self._over = threading.Event()
        self._took: list[float] = []
        self._since = time.monotonic()
        self.locked = 0
        self.start()

    def run(self) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=5)) as database:
            database.execute("CREATE TABLE host (id INTEGER PRIMARY KEY, said TEXT)")
            due = time.monotonic()
            while not self._over.wait(max(0.0, due - time.monotonic())):
                due += self._pause
                began = time.monotonic()
                try:
                    database.execute("INSERT INTO host (said) VALUES ('x')")
                except sqlite3.OperationalError:
                    self.locked += 1
                self._took.append(time.monotonic() - began)

    def figures(self) -> str:
        """Writes a second since the last asking, and how long they took."""
        took, self._took = sorted(self._took), []
        since, self._since = time.monotonic() - self._since, time.monotonic()
        middle, late = took[len(took) // 2], took[int(len(took) * 0.99)]
        rate = len(took) / since
        return f"{rate:.0f}/s, p50 {middle * 1e3:.1f} ms, p99 {late * 1e3:.0f} ms"

    def end(self) -> None:
        self._over.set()
        self.join(30)
