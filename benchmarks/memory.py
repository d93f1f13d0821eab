"""Memory of what waits for a run: of workers and kernels their own (USS), of their server all."""

from contextlib import AsyncExitStack
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from djsci.engines.base import Engine
from djsci.engines.fork import ForkEngine
from djsci.engines.kernel import KernelEngine

from .engines import PRELOAD, full
from .rounds import quiet

FEW, MANY = 1, 3
MIB = 1 << 20


async def idle() -> dict[str, float]:
    """MiB: what one more idle worker makes its own, by difference; what stands behind it; kernels.

    The server and its front share pages with the workers, so theirs is counted proportionally.
    """
    few = await _held(ForkEngine(size=FEW, preload=PRELOAD), FEW)
    many = await _held(ForkEngine(size=MANY, preload=PRELOAD), MANY)
    worker = (many.own - few.own) / (MANY - FEW)
    loaded = await _held(KernelEngine(size=1, preload=PRELOAD), 1)
    plain = await _held(KernelEngine(size=1), 1)
    return {
        "fork worker, idle": round(worker, 1),
        "fork server, with pandas and pyplot": round(few.shared - worker, 1),
        "kernel, idle, with pandas and pyplot": round(loaded.own, 1),
        "kernel, idle": round(plain.own, 1),
    }


class Held(NamedTuple):
    """MiB of an engine's processes: their own (USS), and with their part of what they share."""

    own: float
    shared: float


async def _held(engine: Engine, size: int) -> Held:
    """What all processes of a full engine hold."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    async with AsyncExitStack() as stack:
        await engine.open()
        stack.push_async_callback(engine.close)
        await full(engine, size=size)
        await quiet()
        every = psutil.Process().children(recursive=True)
        infos = [one.memory_full_info() for one in every if one.pid not in before]
        return Held(sum(info.uss for info in infos) / MIB, sum(info.pss for info in infos) / MIB)
