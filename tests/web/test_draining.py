"""A server stops while others execute: streams are cut, who waits is told of the run."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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


@pytest.mark.parametrize("web", ["daphne", "uvicorn"], indirect=True)
def test_who_waits_as_a_server_ends_is_told_which_run_goes_on(
    web: live.Site, executing: live.Site, ada: dict[str, str], tmp_path: Path
):
    run_id = start(web, ada, tmp_path)
    after = httpx.get(web.url + events_of(run_id), headers=ada, timeout=30).json()["after"]
    query = {"folder": str(tmp_path)}
    body = {"parameters": query}
    asked = [
        ("GET", "/djsci/call/held/", {"params": query}),
        ("GET", "/djsci/sync_py/held/", {"params": query}),
        (
            "POST",
            "/djsci/api/v1/files/held/runs/",
            {"json": body, "headers": {"Prefer": "wait=60"}},
        ),
        ("GET", events_of(run_id), {"params": {"after": after, "wait": 25}}),
    ]

    def ask(method: str, path: str, more: dict[str, Any]) -> httpx.Response:
        headers = {**ada, **more.pop("headers", {})}
        return httpx.request(method, web.url + path, headers=headers, timeout=40, **more)

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = [pool.submit(ask, *one) for one in asked]
        until(lambda: live_runs(executing) == 4)
        web.process.send_signal(signal.SIGTERM)
        called, classic, preferred, polled = (answer.result(40) for answer in answers)
    assert_ended_cleanly(web)
    assert classic.status_code == 503, classic.text
    assert classic.headers["Content-Type"] == "application/problem+json"
    assert "Retry-After" not in classic.headers  # libraries would call again
    assert classic.json()["type"] == "draining"
    for answer in (called, preferred):
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        assert answer.headers["Location"]
    assert (polled.status_code, polled.json()["ended"]) == (200, False)
    (tmp_path / "open").touch()
    for told in (called.json()["id"], classic.json()["run"], preferred.json()["id"]):
        path = f"{executing.url}/djsci/api/v1/runs/{told}/"
        until(
            lambda path=path: (
                httpx.get(path, headers=ada, timeout=30).json()["state"] == "succeeded"
            )
        )


def live_runs(site: live.Site) -> Any:
    code = "from djsci.models import Run\nanswer = Run.objects.filter(state='running').count()"
    return site.execute(code)


@pytest.mark.parametrize("kind", ["daphne", pytest.param("uvicorn", marks=pytest.mark.faults)])
def test_a_call_whose_run_the_drain_ends_is_answered_by_that_end(kind: Any, tmp_path: Path):
    settings = {"DJSCI": {"ISOLATION": "process", "DRAIN": 1, "GRACE": 0.5}}
    with live.server(kind, settings=settings) as site, ThreadPoolExecutor(1) as pool:
        ada = site.seed({"users": [{"name": "ada"}], "files": [FILE]}).bearer("ada")
        path = f"{site.url}/djsci/call/held/?folder={tmp_path}"
        asked = pool.submit(httpx.get, path, headers=ada, timeout=40)
        until((tmp_path / "began").exists)
        site.process.send_signal(signal.SIGTERM)
        answer = asked.result(40)
        assert (answer.status_code, answer.json()["type"]) == (409, "cancelled")
        assert_ended_cleanly(site)


def test_a_peer_that_reads_nothing_does_not_hold_up_the_end(tmp_path: Path):
    code = "def djsci_handler(request):\n    print('x' * 3_000_000)\n"
    file = {"name": "much", "owner": "ada", "files": {"much.py": code}}
    settings = {"DJSCI": {"ISOLATION": "process", "DRAIN": 1}}
    with live.server("uvicorn", settings=settings, intervals={"drain_jitter": 0.1}) as site:
        ada = site.seed({"users": [{"name": "ada"}], "files": [file]}).bearer("ada")
        assert httpx.get(f"{site.url}/djsci/call/much/", headers=ada, timeout=30).status_code == 200
        runs = f"{site.url}/djsci/api/v1/runs/"
        [run] = httpx.get(runs, headers=ada, timeout=30).json()["items"]
        place = urlsplit(site.url)
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect((place.hostname, place.port))
            head = "".join(f"{name}: {value}\r\n" for name, value in ada.items())
            ask = f"GET {events_of(run['id'])} HTTP/1.1\r\nHost: localhost\r\nAccept: {LINES}\r\n"
            peer.sendall(f"{ask}{head}\r\n".encode())
            assert peer.recv(16).startswith(b"HTTP/1.1 200")
            site.process.send_signal(signal.SIGTERM)
            assert site.process.wait(30) == 0
        assert "Traceback" not in site.said()
