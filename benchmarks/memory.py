"""Memory that is a process's own (USS) of what waits for a run: workers, kernels, their server."""

from contextlib import AsyncExitStack

import psutil  # type: ignore[import-untyped]

from djsci.engines.base import Engine
from djsci.engines.fork import ForkEngine
from djsci.engines.kernel import KernelEngine

from .engines import PRELOAD, full
from .rounds import quiet

FEW, MANY = 1, 3
MIB = 1 << 20


async def idle() -> dict[str, float]:
    """MiB of one more idle unit, as the difference that `MANY` make; and of what stands behind."""
    few = await _held(ForkEngine(size=FEW, preload=PRELOAD), FEW)
    many = await _held(ForkEngine(size=MANY, preload=PRELOAD), MANY)
    worker = (many - few) / (MANY - FEW)
    kernel = await _held(KernelEngine(size=1, preload=PRELOAD), 1)
    bare = await _held(KernelEngine(size=1), 1)
    return {
        "fork worker, idle": round(worker, 1),
        "fork server, with pandas and pyplot": round(few - worker, 1),
        "kernel, idle, with pandas and pyplot": round(kernel, 1),
        "kernel, idle": round(bare, 1),
    }


async def _held(engine: Engine, size: int) -> float:
    """MiB of all processes that a full engine has."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    async with AsyncExitStack() as stack:
        await engine.open()
        stack.push_async_callback(engine.close)
        await full(engine, size=size)
        await quiet()
        held: float = sum(
            process.memory_full_info().uss / MIB
            for process in psutil.Process().children(recursive=True)
            if process.pid not in before
        )
        return held
