"""From `print` to who reads: the delay of single lines, and how fast a flood comes, none lost."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, ExitStack, aclosing
from queue import Empty
from typing import Any

import httpx
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from djsci.core import events, sources
from djsci.engines.base import Engine, Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.engines.kernel import KernelEngine
from djsci.engines.thread import ThreadEngine
from djsci.guest.requests import HandlerRequest

from .engines import full, opened
from .rounds import Reading, Way, aside
from .sites import CALL, Site

PRINTS, PAUSE = 20, 0.03
FLOOD = 50_000
SILENCE = 10.0  # seconds without a message, then the rest is lost
DELAY_WORK = "print to reader, p50"
FLOOD_WORK = f"flood of {FLOOD:,} lines"
CLIENT_WORK = "print to HTTP client, p50"

# The clock of `perf_counter` is the machine's: a line's own text says when it was printed.
DELAYS = f"""
import time

def djsci_handler(request):
    for _ in range({PRINTS}):
        print(time.perf_counter())
        time.sleep({PAUSE})
"""
LINES = f"""
def djsci_handler(request):
    for number in range({FLOOD}):
        print("line", number, "of a flood that somebody reads")
"""
Pieces = Iterable[tuple[float, str]]


def delays(pieces: Pieces) -> list[float]:
    """What each line took from `print` to the reader, the quickest first."""
    found = [at - float(line) for at, text in pieces for line in text.split()]
    if len(found) != PRINTS:
        raise RuntimeError(f"{len(found)} of {PRINTS} lines came")
    return sorted(found)


def delay(pieces: Pieces) -> Reading:
    """The median of the lines' ways from `print` to the reader."""
    return Reading(seconds=statistics.median(delays(pieces)))


def flood(pieces: Pieces, begun: float) -> Reading:
    """Seconds from the start to the last line, and how many lines did not come."""
    count, last = 0, begun
    for at, text in pieces:
        count, last = count + text.count("\n"), at
    if not count:
        raise RuntimeError("no line came")
    return Reading(seconds=last - begun, lost=FLOOD - count)


def source(code: str) -> sources.Source:
    return sources.read("prints.py", {"prints.py": code.encode()})


async def ways(stack: AsyncExitStack) -> list[Way]:
    """Both works by a worker, a kernel, a thread, and a stock ipykernel."""
    made = [
        *_of_engine("djsci fork", await opened(stack, ForkEngine(size=1))),
        *_of_engine("djsci kernel", await opened(stack, KernelEngine(size=1))),
        *_of_engine("djsci thread", await opened(stack, ThreadEngine(2))),
    ]
    blocking = stack.enter_context(ExitStack())
    return [*made, *await asyncio.to_thread(_of_ipykernel, blocking)]


def _of_engine(name: str, engine: Engine) -> list[Way]:
    async def delays() -> Reading:
        return delay([piece async for piece in _pieces(engine, source(DELAYS))])

    async def floods() -> Reading:
        begun = time.perf_counter()
        return flood([piece async for piece in _pieces(engine, source(LINES))], begun)

    async def before() -> None:
        await full(engine)

    return [
        Way(name=name, work=DELAY_WORK, once=delays, before=before),
        Way(name=name, work=FLOOD_WORK, once=floods, before=before),
    ]


async def _pieces(engine: Engine, code: sources.Source) -> AsyncIterator[tuple[float, str]]:
    said = engine.execute(code, HandlerRequest(), limits=Limits(), stop=Stop())
    async with aclosing(said):
        async for event in said:
            match event:
                case events.Stream(text=text):
                    yield time.perf_counter(), text
                case events.End(state=state, reason=reason) if state != "succeeded":
                    raise RuntimeError(f"the run ended {state}: {reason}")


def _of_ipykernel(stack: ExitStack) -> list[Way]:
    """A stock kernel that is warm, by its own client."""
    manager, client = start_new_kernel(kernel_name="python3")
    stack.callback(manager.shutdown_kernel, now=True)
    stack.callback(client.stop_channels)

    def delays() -> Reading:
        return delay(_said(client, f"{DELAYS}\ndjsci_handler(None)"))

    def floods() -> Reading:
        begun = time.perf_counter()
        return flood(_said(client, f"{LINES}\ndjsci_handler(None)"), begun)

    made: tuple[tuple[str, Callable[[], Reading]], ...]
    made = ((DELAY_WORK, delays), (FLOOD_WORK, floods))
    return [
        Way(name="stock ipykernel", work=work, once=lambda run=run: aside(run))  # type: ignore[misc]
        for work, run in made
    ]


def _said(client: BlockingKernelClient, code: str) -> Pieces:
    sent = client.execute(code, store_history=False)
    found: list[tuple[float, str]] = []
    while True:
        try:
            message = client.get_iopub_msg(timeout=SILENCE)
        except Empty:
            return found
        if message["parent_header"].get("msg_id") != sent:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            found.append((time.perf_counter(), content["text"]))
        if content.get("execution_state") == "idle":
            return found


def files() -> list[dict[str, Any]]:
    """What a site needs for `client_ways`."""
    return [
        {
            "name": f"prints_{engine}",
            "owner": "bench",
            "files": {"prints.py": DELAYS},
            "settings": {"engine": engine},
        }
        for engine in ("fork", "kernel")
    ]


def client_ways(site: Site) -> list[Way]:
    """Lines of a run as a client reads them: NDJSON of `call/`."""
    return [_client_way(site, engine) for engine in ("fork", "kernel")]


def _client_way(site: Site, engine: str) -> Way:
    def run() -> Reading:
        headers = {"Accept": "application/x-ndjson"}
        path = CALL.format(f"prints_{engine}")
        with site.client.stream("GET", path, headers=headers) as answer:
            answer.raise_for_status()
            return delay(list(streamed(answer)))

    name = f"djsci {engine} on {site.server}"
    is_quick = site.server == "uvicorn"
    return Way(name=name, work=CLIENT_WORK, once=lambda: aside(run), is_quick=is_quick)


def streamed(answer: httpx.Response) -> Pieces:
    """The lines of an NDJSON answer, as they come."""
    for line in answer.iter_lines():
        event = json.loads(line) if line.strip() else {}
        if event.get("type") == "stream":
            yield time.perf_counter(), event["text"]
