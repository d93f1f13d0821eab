"""R1, R2: whoever is killed, stopped and started again, every run ends once and starts once."""

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.client import Follower
from tests.waiting import until

from .parts import valkey
from .stage import Chaos, judge, stage


@pytest.mark.timeout(240)
async def test_r1_r2_each_run_ends_once_and_starts_once_whoever_is_killed(tmp_path: Path):
    record = tmp_path / "record"
    with stage(record, webs=2) as place:
        with Chaos(place, pause=(0.3, 1.0)) as chaos:
            runs = await place.submit(60, at_once=4, lines=12, pause=0.1)
        rows = await asyncio.to_thread(place.all_ended, seconds=90)
    print(chaos.done, Counter(row["state"] for row in rows.values()))
    assert set(runs) == set(rows)
    assert len(runs) == len(set(runs)) == 60
    judge(rows, record.read_text())


@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("where", ["local on SQLite", "Celery, Valkey and PostgreSQL"])
async def test_r1_r2_a_thousand_runs_in_which_something_dies_every_other_second(
    tmp_path: Path, where: str
):
    record = tmp_path / "record"
    options: dict[str, Any] = {"webs": 2}
    with ExitStack() as stack:
        if where.startswith("Celery"):
            broker = stack.enter_context(servers.valkey_url())
            options |= {
                "kind": "uvicorn",
                "workers": 2,
                "database": servers.postgres_url(),
                "redis": broker,
                "environment": {"DJSCI_BROKER": broker},
            }
        place = stack.enter_context(stage(record, **options))
        with Chaos(place, pause=(1.0, 3.0)) as chaos:
            runs = await place.submit(1000, at_once=8, lines=8, pause=0.05)
            await asyncio.to_thread(until, lambda: drained(place), seconds=600)
        rows = await asyncio.to_thread(place.all_ended, seconds=60)
    print(where, Counter(what.split()[0] for what in chaos.done))
    print(Counter(row["state"] for row in rows.values()))
    assert set(runs) == set(rows)
    assert len(runs) == len(set(runs)) == 1000
    judge(rows, record.read_text())


def drained(place: Any) -> bool:
    """Whether nothing waits any more: chaos goes on until then."""
    return bool(place.site.execute(QUEUED) == 0)


QUEUED = """
from djsci.models import Run
answer = Run.objects.filter(state="queued").count()
"""


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_r9_ten_viewers_see_each_of_100_000_lines_once_while_redis_dies_twice(
    tmp_path: Path,
):
    with (
        valkey() as redis,
        stage(
            tmp_path / "record",
            kind="uvicorn",
            webs=2,
            workers=1,
            redis=redis.url,
            database=servers.postgres_url(),
            environment={"DJSCI_BROKER": redis.url},
            files=[{"name": "long", "files": {"long.py": LONG}}],
        ) as place,
    ):
        run_id = await asyncio.to_thread(place.start, "long", count=100_000)
        viewers = [
            Follower(url=place.webs[number % 2].url, headers=place.headers, timeout=400)
            for number in range(10)
        ]
        following = [asyncio.create_task(viewer.follow(run_id)) for viewer in viewers]
        for lines in (20_000, 60_000):
            while min(v.text().count("\n") for v in viewers) < lines:
                await asyncio.sleep(0.2)
                assert not any(task.done() for task in following)
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(redis.start)
        await asyncio.gather(*following)
    whole = "".join(f"line {number}\n" for number in range(100_000))
    for viewer in viewers:
        assert viewer.end
        assert viewer.end["state"] == "succeeded"
        assert viewer.text() == whole
        assert [event["seq"] for event in viewer.events] == list(range(1, viewer.last + 1))


LONG = """
import time
def djsci_handler(request, record: str, count: int):
    for number in range(count):
        print("line", number)
        if number % 1000 == 999:
            time.sleep(0.2)
"""
