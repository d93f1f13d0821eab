"""djsci's engines alone: no database, no HTTP; from the call to `End`, its tree gone."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing

from djsci.core import sources
from djsci.core.events import End, Status
from djsci.engines.base import Engine, Limits, Stop
from djsci.engines.fork import ForkEngine, SpawnEngine
from djsci.engines.kernel import KernelEngine
from djsci.engines.thread import ThreadEngine
from djsci.engines.warm import WarmEngine
from djsci.guest.requests import HandlerRequest

from .rounds import Found, Reading, Way, reason, say
from .workloads import NOTEBOOK, PANDAS, PLOTS, PY, Work

PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")  # the setting POOL's default
SIZE = 1  # units that are kept ready: each way is called once, then waits
READY = 60.0  # seconds that a pool may take until it is full
WALLS = ("landlock", "bwrap")
ALL = (PY, PANDAS, NOTEBOOK, PLOTS)
TIMES = 20  # calls of the thread engine in one reading


async def ways(stack: AsyncExitStack, found: Found, *, is_quick: bool) -> list[Way]:
    """The engines, opened; `stack` closes them. What this build lacks is left out, by name."""
    pooled = await opened(stack, ForkEngine(size=SIZE, preload=PRELOAD))
    demand = await opened(stack, ForkEngine(size=0, preload=PRELOAD))
    warm = await opened(stack, WarmEngine(preload=PRELOAD))
    kernel = await opened(stack, KernelEngine(size=SIZE, preload=PRELOAD))
    thread = await opened(stack, ThreadEngine(4))
    of_kernel = (NOTEBOOK, PLOTS) if is_quick else ALL
    made = [
        *(_way("djsci fork, pooled", work, pooled) for work in ALL),
        *(_way("djsci fork, on demand", work, demand) for work in ALL),
        *(_way("djsci fork, warm", work, warm) for work in (PY, PANDAS)),
        *(_way("djsci kernel, pooled", work, kernel) for work in of_kernel),
        *(_way("djsci thread", work, thread, times=TIMES) for work in (PY, PANDAS)),
    ]
    if not is_quick:
        spawn = await opened(stack, SpawnEngine(size=0))
        made.append(_way("djsci spawn, on demand", PY, spawn))
    made += await _walled(stack, found, works=(PY,) if is_quick else (PY, PANDAS))
    if not is_quick:
        made += await _walled_kernels(stack, found)
    return made


async def _walled(stack: AsyncExitStack, found: Found, *, works: Sequence[Work]) -> list[Way]:
    made = []
    for level in WALLS:
        for size, how in ((SIZE, "pooled"), (0, "on demand")):
            name = f"djsci fork, {how}, {level}"
            engine = ForkEngine(size=size, preload=PRELOAD, isolation=level)
            try:
                await opened(stack, engine)
                if refusal := await engine.check():
                    raise RuntimeError(refusal)
            except Exception as error:
                found.left_out[name] = reason(error)
            else:
                made += [_way(name, work, engine) for work in works]
                continue
            say(f"{name}: left out: {found.left_out[name]}")
    return made


async def _walled_kernels(stack: AsyncExitStack, found: Found) -> list[Way]:
    """Kernels from nothing, so that the wall's own cost is in the reading."""
    made = []
    for level in ("process", *WALLS):
        name = f"djsci kernel, cold, {level}"
        try:
            engine = await opened(stack, KernelEngine(size=0, isolation=level))
        except Exception as error:
            found.left_out[name] = reason(error)
            say(f"{name}: left out: {found.left_out[name]}")
        else:
            made.append(_way(name, NOTEBOOK, engine))
    return made


async def opened(stack: AsyncExitStack, engine: Engine) -> Engine:
    """The engine, open until the stack is closed."""
    stack.push_async_callback(engine.close)  # first: one that fails to open may have started much
    await engine.open()
    return engine


def _way(name: str, work: Work, engine: Engine, *, times: int = 1) -> Way:
    source = work.source()

    async def once() -> Reading:
        return mean([await run(engine, source) for _ in range(times)])

    async def before() -> None:
        await full(engine)

    return Way(name=name, work=work.name, once=once, before=before)


def mean(readings: Sequence[Reading]) -> Reading:
    """Several short readings as one."""
    count = len(readings)
    return Reading(
        seconds=sum(one.seconds for one in readings) / count,
        first=sum(one.first or 0.0 for one in readings) / count,
    )


async def run(engine: Engine, source: sources.Source) -> Reading:
    """One run to its `End`, and when its first output came."""
    first: float | None = None
    begun = time.perf_counter()
    events = engine.execute(source, HandlerRequest(), limits=Limits(), stop=Stop())
    async with aclosing(events):
        async for event in events:
            if first is None and not isinstance(event, Status):
                first = time.perf_counter() - begun
            if isinstance(event, End) and event.state != "succeeded":
                raise RuntimeError(f"the run ended {event.state}: {event.reason}")
    return Reading(seconds=time.perf_counter() - begun, first=first)


async def full(engine: Engine, *, size: int | None = None) -> None:
    """Wait until the units that are kept ready are ready."""
    until = time.monotonic() + READY
    while (missing := _missing(engine, size)) > 0:
        if time.monotonic() > until:
            raise TimeoutError(f"{missing} units of {engine.name} are not ready in {READY:g} s")
        await asyncio.sleep(0.02)


def _missing(engine: Engine, size: int | None) -> int:
    if isinstance(engine, ForkEngine):
        return (engine.supply.size if size is None else size) - engine.ready
    if isinstance(engine, KernelEngine):
        return (engine.pool.size if size is None else size) - engine.pool.ready
    return 0
