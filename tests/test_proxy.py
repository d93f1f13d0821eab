"""deploy/Caddyfile in front of a real server: bodies, streams, sockets, a server that is away."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import websockets

from tests import live
from tests.faults.stage import Stage, judge, stage
from tests.servers import absent
from tests.test_compose import ROOT
from tests.waiting import until

GATE = """
import pathlib, time

def djsci_handler(request, gate: str = ""):
    yield request.META.get("REMOTE_ADDR")
    while gate and not pathlib.Path(gate).exists():
        time.sleep(0.02)
    yield "through"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[live.Site, live.Seeded]]:
    options = {"DJSCI": {"TRUSTED_PROXIES": ["127.0.0.1"], "ISOLATION": "process"}}
    with live.server("uvicorn", settings=options) as site:
        user = {"name": "ada", "superuser": True}
        files = [{"name": "gate", "owner": "ada", "files": {"g.py": GATE}}]
        yield site, site.seed({"users": [user], "files": files})


@pytest.fixture(scope="module")
def proxied(
    made: tuple[live.Site, live.Seeded], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The proxy's address; of its two servers one is never there."""
    servers = f"127.0.0.1:{free_port()}", made[0].url.removeprefix("http://")
    with caddy(*servers, folder=tmp_path_factory.mktemp("caddy")) as url:
        yield url


@contextlib.contextmanager
def caddy(*servers: str, folder: Path) -> Iterator[str]:
    """A proxy in front of two servers."""
    if not shutil.which("caddy"):
        absent("caddy", "caddy is not installed")
    port = free_port()
    text = (ROOT / "deploy/Caddyfile").read_text(encoding="utf-8")
    for old, new in (
        ("web1:8000 web2:8000", " ".join(servers)),
        ("http_port 8080", f"http_port {port}"),
        ("https_port 8443", f"https_port {free_port()}"),
        ("http://:8081", f"http://127.0.0.1:{free_port()}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(text, encoding="utf-8")
    homes = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen(
            ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
            env={**os.environ, **homes, "DJSCI_SITE": f"http://127.0.0.1:{port}", "DJSCI_TLS": ""},
            stdout=said,
            stderr=said,
        )
    try:
        yield answering(f"http://127.0.0.1:{port}", folder / "log")
    finally:
        process.terminate()
        process.wait(30)


def answering(url: str, log: Path) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=30) as client:
        for _ in range(20):
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{url}/djsci/health/live").status_code == 200:
                    return url
    raise AssertionError(log.read_text())


@pytest.mark.faults
def test_answers_pass_though_one_server_is_away(proxied: str, made: tuple[live.Site, live.Seeded]):
    headers = {**made[1].bearer("ada"), "X-Forwarded-For": "203.0.113.9"}
    for method in ("GET", "POST") * 4:
        path = f"{proxied}/djsci/call/gate/"
        answer = httpx.request(method, path, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()) == (200, ["127.0.0.1", "through"])


@pytest.mark.faults
def test_a_body_over_the_cap_is_refused(proxied: str, made: tuple[live.Site, live.Seeded]):
    body = b"x" * ((21 << 20) + 1)
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # it need not be read to its end
        path = f"{proxied}/djsci/call/gate/"
        answer = httpx.post(path, headers=made[1].bearer("ada"), content=body, timeout=60)
        assert answer.status_code == 413


@pytest.mark.faults
def test_a_stream_is_not_held_back(
    proxied: str, made: tuple[live.Site, live.Seeded], tmp_path: Path
):
    gate = tmp_path / "gate"
    headers = {**made[1].bearer("ada"), "Accept": "application/x-ndjson"}
    path = f"{proxied}/djsci/call/gate/?gate={gate}"
    with httpx.stream("GET", path, headers=headers, timeout=60) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            if event["type"] == "chunk" and event["value"] == "127.0.0.1":
                gate.touch()  # the first part was seen before the second one was made
        assert event["state"] == "succeeded"


@pytest.mark.faults
async def test_a_socket_is_upgraded(proxied: str, made: tuple[live.Site, live.Seeded]):
    url = "ws" + proxied.removeprefix("http") + "/djsci/ws/call/gate/"
    seen: list[str] = []
    async with asyncio.timeout(60):
        async with websockets.connect(url, additional_headers=made[1].bearer("ada")) as to_run:
            await to_run.send(json.dumps({"type": "start", "parameters": {}}))
            async for frame in to_run:
                seen.append(json.loads(frame)["type"])
    assert seen[0] == "hello"
    assert "started" in seen
    assert seen[-1] == "events"


@contextlib.contextmanager
def pair(tmp_path: Path, *options: str) -> Iterator[tuple[Stage, str]]:
    """Two servers of one site, and the address of the proxy in front of them."""
    with stage(tmp_path / "record", kind="uvicorn", webs=2) as place:
        for web in place.webs if options else ():
            web.kill()
            web.command += options
            web.start()
            web.wait_ready()
        servers = [web.url.removeprefix("http://") for web in place.webs]
        with caddy(*servers, folder=tmp_path) as url:
            yield place, url


def call(place: Stage, url: str, method: str, **parameters: str) -> httpx.Response:
    asked = {"record": str(place.record), **parameters}
    how = {"params": asked} if method == "GET" else {"data": asked}
    path = f"{url}/djsci/call/code/"
    return httpx.request(method, path, headers=place.headers, timeout=60, **how)  # type: ignore[arg-type]


def newest(place: Stage, known: Set[str]) -> str:
    """The run that was not known, once its handler has begun."""
    run_id: str = until(lambda: next(iter(place.rows().keys() - known), None))
    place.began(run_id)
    return run_id


@pytest.mark.faults
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_whose_server_is_killed_does_not_run_a_second_time(tmp_path: Path, method: str):
    with pair(tmp_path) as (place, url), ThreadPoolExecutor(1) as pool:
        for _ in range(8):  # connections that were used before, at both
            assert call(place, url, method, lines="1").status_code == 200
        known = set(place.rows())
        asked = pool.submit(call, place, url, method, gate=str(tmp_path / "gate"), pause="0.05")
        run_id = newest(place, known)
        place.owner(run_id).kill()
        try:
            assert asked.result(30).status_code == 502
            assert set(place.rows()) == known | {run_id}
        finally:
            (tmp_path / "gate").touch()


@pytest.mark.faults
def test_calls_pass_a_server_that_was_just_killed_and_run_once(tmp_path: Path):
    with pair(tmp_path) as (place, url):
        place.webs[0].kill()
        # Sooner than the proxy asks whether it is well.
        got = [call(place, url, "GET", lines="1").status_code for _ in range(8)]
        posted = [call(place, url, "POST", lines="1").status_code for _ in range(8)]
        assert set(got) == {200}
        assert set(posted) <= {200, 502}  # Caddy up to 2.11.1 loses a body whose server refuses
        assert len(place.rows()) == (got + posted).count(200)


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_a_rolling_restart_behind_the_proxy_fails_no_call(tmp_path: Path):
    over = threading.Event()

    def ask(place: Stage, url: str, method: str) -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(call(place, url, method, lines="2", pause="0.05").status_code)
        return statuses

    with pair(tmp_path, "--lame-duck", "5") as (place, url), ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, place, url, method) for method in ("GET", "POST") * 2]
        try:
            for web in place.webs:
                assert web.kill(signal.SIGTERM) == 0, web.said()[-2000:]
                web.log.unlink()
                web.start()
                until(lambda web=web: "succeeded after" in web.said())
        finally:
            over.set()
        statuses = [status for one in asking for status in one.result(60)]
        assert set(statuses) == {200}
        rows = place.rows()
        assert len(rows) == len(statuses)
        judge(rows, place.recorded())
