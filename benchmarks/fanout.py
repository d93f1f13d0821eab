"""What one more viewer of a run costs: the server's processor time for each event and viewer.

Beside it a bare fan-out on the same server: the same events, in as many frames, sent to sockets
by an application that does nothing else. Both are looked at with 1 viewer and with 11, and the
difference is what 10 viewers cost; what a run itself costs is in neither.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
from websockets.asyncio.client import ClientConnection, connect

from tests import live

from . import environments
from .rounds import Found, Reading, Way, reason, say

EVENTS, RATE, WINDOW = 600, 100.0, 0.05
FEW, MANY = 1, 11
WORK = f"an event to one of {MANY - FEW} viewers, CPU"
OURS, BARE = "djsci on uvicorn", "bare WebSocket fan-out on uvicorn"
READY, AFTER = 1.0, 0.2  # seconds: for all viewers to come, for the last frames to have gone

SAYS = f"""
import time, djsci

def djsci_handler(request):
    time.sleep({READY})
    begun = time.monotonic()
    for number in range({EVENTS}):
        djsci.log(f"{{number}} of what somebody reads", number=number)
        if number % 5 == 4:
            time.sleep(max(0, begun + number / {RATE} - time.monotonic()))
    time.sleep({5 * AFTER})
"""
Viewing = Callable[[int], Awaitable[float]]


async def ways(stack: AsyncExitStack, found: Found) -> list[Way]:
    """Ours and the bare one."""
    blocking = stack.enter_context(ExitStack())
    try:
        made = [await asyncio.to_thread(make, blocking) for make in (_ours, _bare)]
    except Exception as error:
        found.left_out[WORK] = reason(error)
        say(f"{WORK}: left out: {reason(error)}")
        return []
    return [_way(name, view) for name, view in zip((OURS, BARE), made, strict=True)]


def _way(name: str, view: Viewing) -> Way:
    async def once() -> Reading:
        few, many = await view(FEW), await view(MANY)
        return Reading(seconds=max(0.0, many - few) / (EVENTS * (MANY - FEW)))

    return Way(name=name, work=WORK, once=once, is_quick=False)


def _ours(stack: ExitStack) -> Viewing:
    site = stack.enter_context(live.server("uvicorn"))
    file = {"name": "says", "owner": "bench", "files": {"says.py": SAYS}}
    made = site.seed({"users": [{"name": "bench", "superuser": True}], "files": [file]})
    server = psutil.Process(site.process.pid)
    client = httpx.AsyncClient(base_url=site.url, headers=made.bearer("bench"), timeout=60)

    async def view(viewers: int) -> float:
        started = (await client.post("/djsci/api/v1/files/says/runs/")).raise_for_status().json()
        url = f"{site.socket_url}/djsci/ws/runs/{started['id']}/"
        return await _viewed(url, made.bearer("bench"), server, viewers)

    return view


def _bare(stack: ExitStack) -> Viewing:
    port, folder = environments.free_port(), Path(tempfile.mkdtemp(prefix="djsci-bench-"))
    asked = {"EVENTS": EVENTS, "RATE": RATE, "WINDOW": WINDOW}
    command = [
        *("env", *(f"{name}={value}" for name, value in asked.items())),
        *(sys.executable, "-m", "uvicorn", "fanout:application", "--port", str(port)),
        *("--app-dir", str(environments.PROGRAMS), "--no-access-log", "--lifespan", "off"),
        *("--ws-per-message-deflate", "false"),
    ]
    stack.enter_context(environments.server(command, port=port, folder=folder))
    server = next(
        process
        for process in psutil.Process(os.getpid()).children(recursive=True)
        if f"{port}" in process.cmdline()
    )
    url = f"ws://127.0.0.1:{port}/"
    return lambda viewers: _viewed(url, {}, server, viewers)


async def _viewed(
    url: str, headers: Mapping[str, str], server: psutil.Process, viewers: int
) -> float:
    """Seconds of the server's processor from when all viewers are there to the last event."""
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(url, additional_headers=headers))
            for _ in range(viewers)
        ]
        for socket in sockets:
            await socket.recv()
        before = _spent(server)
        counts = await asyncio.gather(*map(_read, sockets))
        spent = _spent(server) - before
    if set(counts) != {EVENTS}:
        raise RuntimeError(f"{min(counts)} of {EVENTS} events came")
    return spent


def _spent(server: psutil.Process) -> float:
    """Of all its threads, in nanoseconds as the scheduler counts them."""
    threads = Path(f"/proc/{server.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


async def _read(socket: ClientConnection) -> int:
    """How many events came, to the last one; frames are looked at only for what they hold."""
    count = 0
    while count < EVENTS:
        frame = json.loads(await socket.recv())
        count += sum(event["type"] == "log" for event in frame.get("events", ()))
    return count
