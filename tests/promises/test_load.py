"""Five hundred runs while whoever runs them is killed: each ends, and nothing of them is left."""

import asyncio
import random
from typing import Any

import httpx
import psutil
import pytest

from tests.live import Site

RUNS = 500
KILLS = 12
FINAL = {"succeeded", "crashed"}
CODE = """
import time
def djsci_handler(request, number: int):
    print("run", number)
    time.sleep(0.02)
    return number
"""


def forked(site: Site) -> list[psutil.Process]:
    """The fork server and all that it forked: they have its command line."""
    found = []
    for process in psutil.Process(site.process.pid).children(recursive=True):
        try:
            if any("djsci.guest.forkserver" in part for part in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_runs_end_and_nothing_is_left_whoever_is_killed(site: Site, ada: Any):
    made = site.seed(
        {"users": [ada], "files": [{"name": "many", "owner": "ada", "files": {"many.py": CODE}}]}
    )
    runs = f"{site.url}/djsci/api/v1/files/many/runs/"
    limits = httpx.Limits(max_connections=20)
    chance = random.Random(3)
    async with httpx.AsyncClient(headers=made.bearer("ada"), timeout=120, limits=limits) as http:

        async def start(number: int) -> str:
            answer = await http.post(runs, json={"parameters": {"number": number}})
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

        async def ended(run_id: str) -> dict[str, Any]:
            while True:
                run: dict[str, Any] = (
                    await http.get(f"{site.url}/djsci/api/v1/runs/{run_id}/")
                ).json()
                if run["ended"]:
                    return run
                await asyncio.sleep(0.5)

        async def kill() -> None:
            for _ in range(KILLS):
                await asyncio.sleep(0.7)
                if victims := forked(site):
                    with_luck = chance.choice(victims)
                    if with_luck.is_running():
                        with_luck.kill()

        killing = asyncio.create_task(kill())
        ids = await asyncio.gather(*(start(number) for number in range(RUNS)))
        await killing
        found = await asyncio.gather(*(ended(run_id) for run_id in ids))
        events = await http.get(f"{site.url}/djsci/api/v1/runs/{ids[0]}/events/")
    states = [run["state"] for run in found]
    assert set(states) <= FINAL
    assert states.count("succeeded") > RUNS // 2
    assert "crashed" in states
    assert [event["type"] for event in events.json()["events"]].count("end") == 1
    for number, run in enumerate(found):
        assert run["state"] == "crashed" or run["result"] == number
    async with asyncio.timeout(30):  # what stays is the fork server with its ready workers
        while len(forked(site)) > 8:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.1)
