"""The bare limits: the same code without anything around it."""

import asyncio
import contextlib
import io
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from .peers import Inside
from .rounds import Reading, Way, aside
from .workloads import PANDAS, PY, Work

TIMES = {PY.name: 100, PANDAS.name: 5}
FORKS = 5


def ways(stack: ExitStack, folder: Path) -> list[Way]:
    """exec + call and fork + exec + call in a bare process, run_in_executor in this one."""
    inside = Inside(Path(sys.executable), stack)
    pool = stack.enter_context(ThreadPoolExecutor(1))
    made = []
    for work in (PY, PANDAS):
        path = work.write(folder)
        made += [
            Way(name="bare exec + call", work=work.name, once=_inside(inside, "exec", path, work)),
            Way(name="bare fork", work=work.name, once=_inside(inside, "fork", path, work)),
            Way(name="bare run_in_executor", work=work.name, once=_in_executor(pool, work)),
        ]
    return made


def _inside(inside: Inside, how: str, path: Path, work: Work) -> Callable[[], Awaitable[Reading]]:
    times = FORKS if how == "fork" else TIMES[work.name]
    return lambda: aside(lambda: inside.run(how, path, times=times))


def _in_executor(pool: ThreadPoolExecutor, work: Work) -> Callable[[], Awaitable[Reading]]:
    def call() -> object:
        namespace: dict[str, object] = {"__name__": "bench"}
        exec(compile(work.content, work.entry, "exec"), namespace)  # noqa: S102
        return namespace["djsci_handler"](None)  # type: ignore[operator]

    async def once() -> Reading:
        loop, times = asyncio.get_running_loop(), TIMES[work.name]
        with contextlib.redirect_stdout(io.StringIO()):
            begun = time.perf_counter()
            for _ in range(times):
                await loop.run_in_executor(pool, call)
            return Reading(seconds=(time.perf_counter() - begun) / times)

    return once
