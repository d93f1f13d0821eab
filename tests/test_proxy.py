"""deploy/Caddyfile in front of a real server: bodies, streams, sockets, a server that is away."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets

from tests import live
from tests.servers import absent
from tests.test_compose import ROOT

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
    if not shutil.which("caddy"):
        absent("caddy", "caddy is not installed")
    folder, port = tmp_path_factory.mktemp("caddy"), free_port()
    text = (ROOT / "deploy/Caddyfile").read_text(encoding="utf-8")
    here = made[0].url.removeprefix("http://")
    for old, new in (
        ("web1:8000 web2:8000", f"127.0.0.1:{free_port()} {here}"),
        ("http_port 8080", f"http_port {port}"),
        ("https_port 8443", f"https_port {free_port()}"),
        ("http://:8081", f"http://127.0.0.1:{free_port()}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(text, encoding="utf-8")
    homes = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    with (folder / "log").open("wb") as said:
        caddy = subprocess.Popen(
            ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
            env={**os.environ, **homes, "DJSCI_SITE": f"http://127.0.0.1:{port}", "DJSCI_TLS": ""},
            stdout=said,
            stderr=said,
        )
    try:
        yield answering(f"http://127.0.0.1:{port}", folder / "log")
    finally:
        caddy.terminate()
        caddy.wait(30)


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
    for _ in range(4):
        answer = httpx.get(f"{proxied}/djsci/call/gate/", headers=headers, timeout=60)
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
