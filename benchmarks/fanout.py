"""What one more viewer of a run costs: the server's processor time for each event and viewer.

The run executes in one process, and its viewers are at another, as behind a proxy; of that one the
loop's thread is looked at, which feeds them all. What executing costs is in no figure. Beside it a
bare fan-out on the same server, an application that does nothing but send the same events to its
sockets: a message an event, as most who build one do, or in frames like ours, which is the least
that there can be. All are looked at with 1 viewer and with 11; the difference is what 10 cost.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
from websockets.asyncio.client import ClientConnection, connect

from tests import live, servers

from . import environments
from .rounds import Found, Reading, Way, left_out

EVENTS, RATE, WINDOW = 600, 200.0, 0.05
FEW, MANY = 1, 11
WORK = f"an event to one of {MANY - FEW} viewers, CPU"
OURS = "djsci on uvicorn"
BARE = "bare WebSocket fan-out on uvicorn, a message an event"
FRAMED = "bare WebSocket fan-out on uvicorn, the same frames"
READY, AFTER = 2.0, 1.0  # seconds: for all viewers to have come, before the end

SAYS = f"""
import time, djsci

def djsci_handler(request):
    time.sleep({READY})
    begun = time.monotonic()
    for number in range({EVENTS}):
        djsci.log(f"{{number}} of what somebody reads", number=number)
        if number % 5 == 4:
            time.sleep(max(0, begun + number / {RATE} - time.monotonic()))
    time.sleep({AFTER})
"""
Viewing = Callable[[int], Awaitable[float]]


async def ways(stack: AsyncExitStack, found: Found) -> list[Way]:
    """Ours and the bare ones."""
    blocking = stack.enter_context(ExitStack())
    made: dict[str, Viewing] = {}
    with left_out(found, WORK):
        made = await asyncio.to_thread(_views, blocking)
    return [_way(name, view) for name, view in made.items()]


def _views(stack: ExitStack) -> dict[str, Viewing]:
    return {
        OURS: _ours(stack),
        FRAMED: _bare(stack, size=round(RATE * WINDOW)),
        BARE: _bare(stack, size=1),
    }


def _way(name: str, view: Viewing) -> Way:
    async def once() -> Reading:
        few, many = await view(FEW), await view(MANY)
        return Reading(seconds=max(0.0, many - few) / (EVENTS * (MANY - FEW)))

    return Way(name=name, work=WORK, once=once, is_quick=False)


def _ours(stack: ExitStack) -> Viewing:
    valkey = stack.enter_context(servers.valkey_url())
    data = Path(tempfile.mkdtemp(prefix="djsci-bench-"))
    stack.callback(shutil.rmtree, data, ignore_errors=True)
    runs = stack.enter_context(live.server("uvicorn", data=data, redis=valkey))
    shows = stack.enter_context(live.server("uvicorn", data=data, redis=valkey))
    file = {"name": "says", "owner": "bench", "files": {"says.py": SAYS}}
    made = runs.seed({"users": [{"name": "bench", "superuser": True}], "files": [file]})
    server = psutil.Process(shows.process.pid)
    client = httpx.AsyncClient(base_url=runs.url, headers=made.bearer("bench"), timeout=60)

    async def view(viewers: int) -> float:
        started = (await client.post("/djsci/api/v1/files/says/runs/")).raise_for_status().json()
        url = f"{shows.socket_url}/djsci/ws/runs/{started['id']}/"
        return await _viewed(url, made.bearer("bench"), server, viewers)

    return view


def _bare(stack: ExitStack, *, size: int) -> Viewing:
    port, folder = environments.free_port(), Path(tempfile.mkdtemp(prefix="djsci-bench-"))
    asked = {"EVENTS": EVENTS, "RATE": RATE, "SIZE": size, "READY": READY}
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
    """Seconds of the server's loop from before the first event to after the last."""
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(url, additional_headers=headers))
            for _ in range(viewers)
        ]
        for socket in sockets:
            await socket.recv()
        await asyncio.sleep(READY / 2)
        before = _spent(server)
        counts = await asyncio.gather(*map(_read, sockets))
        spent = _spent(server) - before
    if set(counts) != {EVENTS}:
        raise RuntimeError(f"{min(counts)} of {EVENTS} events came")
    return spent


def _spent(server: psutil.Process) -> float:
    """Of its loop's thread, which is where all viewers are, as the scheduler counts it."""
    return int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[0]) / 1e9


async def _read(socket: ClientConnection) -> int:
    """How many events came, to the last one; frames are looked at only for what they hold."""
    count = 0
    while count < EVENTS:
        frame = json.loads(await socket.recv())
        count += sum(event["type"] == "log" for event in frame.get("events", ()))
    return count
