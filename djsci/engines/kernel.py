"""The kernel engine: notebooks and Python files in single-use Jupyter kernels."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import ClassVar

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from djsci.core import events
from djsci.core.errors import IsolationUnavailable, SourceInvalid
from djsci.core.events import End, Event
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest
from djsci.isolation import fonts, probe, users
from djsci.isolation.limits import Limits as Bounds

from . import elsewhere, tree
from .base import Engine, Limits, Stock, Stop
from .execution import Execution
from .ground import Ground
from .pool import NATIVE, Pool
from .unit import StartFailed, Unit

logger = logging.getLogger(__name__)
WATCH = 0.2  # seconds between two looks at the memory


class KernelEngine(Engine):
    """Stock Jupyter kernels, started ahead; each serves one run and is killed."""

    name: ClassVar[str] = "kernel"

    def __init__(
        self,
        *,
        size: int = 2,
        recycle: float = 3600,
        preload: Sequence[str] = (),
        root: str | None = None,
        isolation: str = "process",
        pids: int = Bounds().pids,
        uids: tuple[int, int] = users.RANGE,
    ) -> None:
        ground = Ground(isolation=isolation, pids=pids, uids=uids)
        self.pool = Pool(size=size, recycle=recycle, preload=preload, root=root, ground=ground)
        self._running: set[Execution] = set()
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises `IsolationUnavailable` when the level does not hold here."""
        if self.pool.ground.isolation == elsewhere.ELSEWHERE:
            self.pool.open()
            return
        reason = await asyncio.to_thread(probe.probe, self.pool.ground.isolation)
        if reason is not None:
            logger.error("No run starts: %s", reason)
            raise IsolationUnavailable
        if self.pool.ground.isolation != "process":
            await asyncio.to_thread(fonts.offered)
        self.pool.open()

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        await self.pool.close()

    def stock(self) -> Stock:
        return Stock(ready=self.pool.ready, wanted=self.pool.size, busy=len(self.pool.busy))

    async def check(self) -> str | None:
        try:
            unit = await self.pool.take(NATIVE)
        except (StartFailed, OSError) as error:
            return str(error)
        await self.pool.give_back(unit)
        return None

    @staticmethod
    def kernelspecs() -> frozenset[str]:
        """The names of the kernels that are installed here."""
        return frozenset(KernelSpecManager().find_kernel_specs()) | {NATIVE}

    @staticmethod
    def provisioner(source: Source) -> str:
        """Who starts a source's kernel, where its kernelspec names somebody else; else nothing."""
        return elsewhere.provisioner(_kernelspec(source))

    async def execute(
        self, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> AsyncGenerator[Event, None]:
        try:
            unit = await self._take(_kernelspec(source), stop)
        except (StartFailed, OSError) as error:
            yield End(state="crashed", elapsed=0.0, reason=f"the kernel did not start: {error}")
            return
        if unit is None:
            yield End(state="cancelled", elapsed=0.0)
            return
        run = Execution(unit, source, request, limits=limits, stop=stop)
        is_gone: bool | None = None
        try:
            self._running.add(run)
            self._look_after()
            await run.outbox.put(events.Status(state="running"))
            run.start()
            while (event := await run.outbox.get()) is not None:
                yield event
            is_gone = await self._release(run)
            for event in run.end(is_gone=is_gone):
                yield event
        finally:
            if is_gone is None:
                await self._release(run)

    async def _release(self, run: Execution) -> bool:
        """Kill the run's tree at once, then give everything back, whatever is cancelled."""
        self._running.discard(run)
        run.unit.kill()

        async def release() -> bool:
            await run.close()
            return await self.pool.give_back(run.unit)

        task = asyncio.ensure_future(release())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def _take(self, kernelspec: str, stop: Stop) -> Unit | None:
        """A unit; None when the run is asked to stop before there is one."""
        taking = asyncio.ensure_future(self.pool.take(kernelspec))
        asked = asyncio.ensure_future(stop.asked())
        unit: Unit | None = None
        try:
            await asyncio.wait({taking, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_asked:
                unit = await taking
        finally:
            asked.cancel()
            if unit is None:
                taking.cancel()
                with contextlib.suppress(asyncio.CancelledError, StartFailed):
                    await self.pool.give_back(await taking)
        return unit

    def _look_after(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_memory())

    async def _watch_memory(self) -> None:
        while self._running:
            await asyncio.sleep(WATCH)
            processes = await self.pool.aside(tree.snapshot)
            for run in list(self._running):
                look = partial(tree.is_over, run.unit.pid, processes, run.limits.memory)
                if await self.pool.aside(look):
                    run.is_over_memory = True
                    run.unit.kill()


def _kernelspec(source: Source) -> str:
    """The kernelspec that runs a source. Any Python's, when missing here, is the native one."""
    name = source.kernel or NATIVE
    if name == NATIVE or source.kind == "py":
        return NATIVE
    try:
        KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel as error:
        if source.language == "python":
            return NATIVE
        raise SourceInvalid(f"The notebook's kernel {name!r} is not installed here.") from error
    return name
