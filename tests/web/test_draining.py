"""A server stops while others execute: streams are cut."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import live
from tests.waiting import until

CODE = """
import time
from pathlib import Path

def djsci_handler(request, folder: str):
    print("began", flush=True)
    (Path(folder) / "began").touch()
    while not (Path(folder) / "open").exists():
        time.sleep(0.01)
    return "done"
"""
FILE = {"name": "held", "owner": "ada", "files": {"held.py": CODE}}
SSE, LINES = "text/event-stream", "application/x-ndjson"
ISOLATION = {"DJSCI": {"ISOLATION": "process"}}
ELSEWHERE = {"DJSCI": {"ISOLATION": "process", "QUEUES": ["elsewhere"], "DRAIN": 3}}


@pytest.fixture
def executing(tmp_path: Path) -> Iterator[live.Site]:
    """The server that executes all runs and outlives the other one."""
    with live.server("uvicorn", data=tmp_path / "data", settings=ISOLATION) as site:
        yield site


@pytest.fixture
def web(request: Any, executing: live.Site, tmp_path: Path) -> Iterator[live.Site]:
    """A server on the same database whose executor takes runs of another queue only."""
    soon = {"drain_jitter": 0.1}
    with live.server(
        request.param, data=tmp_path / "data", settings=ELSEWHERE, intervals=soon
    ) as site:
        yield site


@pytest.fixture
def ada(executing: live.Site, web: live.Site) -> dict[str, str]:
    return executing.seed({"users": [{"name": "ada"}], "files": [FILE]}).bearer("ada")


def start(site: live.Site, ada: dict[str, str], folder: Path) -> str:
    path = f"{site.url}/djsci/api/v1/files/held/runs/"
    body = {"parameters": {"folder": str(folder)}}
    answer = httpx.post(path, headers=ada, json=body, timeout=30)
    assert answer.status_code == 202, answer.text
    until((folder / "began").exists)
    return str(answer.json()["id"])


def events_of(run_id: str) -> str:
    return f"/djsci/api/v1/runs/{run_id}/events/"


def assert_ended_cleanly(site: live.Site) -> None:
    assert site.process.wait(30) == 0, site.said()
    assert "Traceback" not in site.said()
    assert "ERROR" not in site.said()


@pytest.mark.parametrize(
    ("web", "form"),
    [
        ("daphne", SSE),
        ("uvicorn", LINES),
        pytest.param("daphne", LINES, marks=pytest.mark.faults),
        pytest.param("uvicorn", SSE, marks=pytest.mark.faults),
    ],
    indirect=["web"],
)
def test_a_stream_is_cut_between_events_when_its_server_drains_and_goes_on_elsewhere(
    web: live.Site, executing: live.Site, ada: dict[str, str], tmp_path: Path, form: str
):
    run_id = start(web, ada, tmp_path)
    headers = {**ada, "Accept": form}
    begun = 0.0
    lines: list[str] = []
    with httpx.stream("GET", web.url + events_of(run_id), headers=headers, timeout=30) as answer:
        for line in answer.iter_lines():  # raises where the stream breaks
            lines.append(line)
            if "began" in line:
                begun = time.monotonic()
                web.process.send_signal(signal.SIGTERM)
    assert_ended_cleanly(web)
    assert time.monotonic() - begun < 20
    texts = [line.removeprefix("data: ") for line in lines if '"type"' in line]
    seen = [json.loads(text) for text in texts]
    if form == LINES:
        assert seen.pop() == {"type": "next", "after": seen[-1]["seq"]}
    (tmp_path / "open").touch()
    query = {"after": str(seen[-1]["seq"])}
    rest = httpx.get(
        executing.url + events_of(run_id),
        headers={**ada, "Accept": LINES},
        params=query,
        timeout=30,
    )
    seen += [json.loads(line) for line in rest.text.splitlines()]
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["state"] == "succeeded"
