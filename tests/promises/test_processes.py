"""Processes that die, and processes that share a database."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests import live, servers
from tests.client import Follower
from tests.waiting import until

SLOW = """
import time
def djsci_handler(request):
    print("began", flush=True)
    time.sleep(50)
"""
STEPS = """
import time
def djsci_handler(request):
    for step in range(20):
        print("step", step, flush=True)
        time.sleep(0.1)
    return "done"
"""
STORED = """
from djsci.models import Run
from djsci.runs import log
run = Run.objects.get(pk="{run}")
answer = [run.state, run.reason, log.read(run.pk, after=0).lines]
"""


def start(site: live.Site, headers: dict[str, str], name: str) -> str:
    answer = httpx.post(
        f"{site.url}/djsci/api/v1/files/{name}/runs/", headers=headers, json={}, timeout=30
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def printed(site: live.Site, headers: dict[str, str], run_id: str) -> str:
    path = f"{site.url}/djsci/api/v1/runs/{run_id}/events/"
    events = httpx.get(path, headers=headers, timeout=30).json()["events"]
    return "".join(event["text"] for event in events if event["type"] == "stream")


@pytest.mark.parametrize("kind", [pytest.param("daphne", marks=pytest.mark.faults), "uvicorn"])
def test_a_run_of_a_killed_server_is_lost_at_the_next_start(kind: Any, tmp_path: Path, ada: Any):
    data = tmp_path / "data"
    with live.server(kind, data=data) as first:
        made = first.seed(
            {"users": [ada], "files": [{"name": "slow", "owner": "ada", "files": {"s.py": SLOW}}]}
        )
        headers = made.bearer("ada")
        run_id = start(first, headers, "slow")
        until(lambda: "began" in printed(first, headers, run_id))
        children = psutil.Process(first.process.pid).children(recursive=True)
        assert children
        first.stop(signal.SIGKILL)
    until(lambda: not any(alive(child) for child in children), seconds=10)
    with live.server(kind, data=data) as second:
        path = f"{second.url}/djsci/api/v1/runs/{run_id}/"

        def ended() -> Any:
            run = httpx.get(path, headers=headers, timeout=30).json()
            return run if run["ended"] else None

        run = until(ended, seconds=10)
        assert run["state"] == "lost"
        assert printed(second, headers, run_id) == "began\n"


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def test_the_layer_rings_for_followers_in_another_process(tmp_path: Path, ada: Any):
    """Nobody polls here for half a minute: what arrives in time came by the bell."""
    rarely = {"poll": 30.0, "poll_remote": 30.0}
    data = tmp_path / "data"
    with (
        servers.valkey_url() as redis,
        live.server("uvicorn", data=data, redis=redis, intervals=rarely) as first,
        live.server(
            "daphne",
            data=data,
            redis=redis,
            intervals=rarely,
            settings={"DJSCI": {"QUEUES": ["elsewhere"]}},
        ) as second,
    ):
        made = first.seed(
            {"users": [ada], "files": [{"name": "steps", "owner": "ada", "files": {"s.py": STEPS}}]}
        )
        run_id = await asyncio.to_thread(start, first, made.bearer("ada"), "steps")
        run = Follower(url=second.url, headers=made.bearer("ada"), timeout=20)
        await run.follow(run_id)
        assert run.text() == "".join(f"step {step}\n" for step in range(20))
        assert run.result == "done"


@pytest.mark.faults
async def test_without_a_layer_another_process_is_followed_by_polling(tmp_path: Path, ada: Any):
    data = tmp_path / "data"
    with (
        live.server("daphne", data=data) as first,
        live.server("uvicorn", data=data, settings={"DJSCI": {"QUEUES": ["elsewhere"]}}) as second,
    ):
        made = first.seed(
            {"users": [ada], "files": [{"name": "steps", "owner": "ada", "files": {"s.py": STEPS}}]}
        )
        run_id = await asyncio.to_thread(start, second, made.bearer("ada"), "steps")
        run = Follower(url=second.url, headers=made.bearer("ada"), timeout=30)
        await run.follow(run_id)
        assert run.text() == "".join(f"step {step}\n" for step in range(20))


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_drained_server_ends_its_runs_truthfully(kind: Any, ada: Any):
    with live.server(kind, settings={"DJSCI": {"DRAIN": 1, "GRACE": 0.5}}) as site:
        made = site.seed(
            {"users": [ada], "files": [{"name": "slow", "owner": "ada", "files": {"s.py": SLOW}}]}
        )
        headers = made.bearer("ada")
        run_id = start(site, headers, "slow")
        until(lambda: "began" in printed(site, headers, run_id))
        assert site.stop() == 0
        state, reason, log = site.execute(STORED.format(run=run_id))
    assert (state, reason) == ("cancelled", "shutdown")
    events = [json.loads(line) for line in log]
    assert "".join(event["text"] for event in events if event["type"] == "stream") == "began\n"
    assert [event["type"] for event in events].count("end") == 1
