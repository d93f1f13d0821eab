"""The fork engine: each run in a process of its own, forked with everything imported."""

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar

from djsci.core import events
from djsci.core.errors import IsolationUnavailable
from djsci.core.events import End, Event
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest
from djsci.isolation import container, evidence, probe, users
from djsci.isolation.limits import Limits as Bounds
from djsci.isolation.python import Python

from . import tree
from .base import Engine, Limits, Stock, Stop
from .conversation import Conversation
from .ground import Ground, Project
from .proxy import Proxy
from .supply import Supply
from .workers import StartFailed, Worker

logger = logging.getLogger(__name__)
WATCH = 0.2  # seconds between two looks at the memory
REFILL = 0.1  # seconds after a worker is taken until the next one is forked, unless a run ends


class ForkEngine(Engine):
    """Workers forked from one server at a level; each serves one run and is killed.

    `project`: runs have it, at level `process`. Where a level holds, but no wall can be built
    inside it, workers are spawned instead.
    """

    name: ClassVar[str] = "fork"
    spawns: ClassVar[bool] = False
    calls: ClassVar[int] = 1  # that one worker serves at once

    def __init__(
        self,
        *,
        size: int = 2,
        recycle: float = 3600,
        preload: Sequence[str] = (),
        root: str | None = None,
        isolation: str = "process",
        project: Project | None = None,
        python: Python | None = None,
        has_network: bool = False,
        pids: int = Bounds().pids,
        uids: tuple[int, int] = users.RANGE,
        **contained: Any,
    ) -> None:
        """`contained`: what a `Ground` says of containers."""
        ground = Ground(
            isolation=isolation,
            project=project,
            python=python,
            has_network=has_network,
            pids=pids,
            uids=uids,
            calls=self.calls,
            **contained,
        )
        self.supply = Supply(
            ground, size=size, recycle=recycle, preload=preload, root=root, spawns=self.spawns
        )
        self.proxy = Proxy()
        self._running: set[Conversation] = set()
        self._watch: asyncio.Task[None] | None = None

    @property
    def ready(self) -> int:
        """How many workers wait for a run."""
        return len(self.supply.ready)

    async def open(self) -> None:
        """Raises `IsolationUnavailable` when the level does not hold here."""
        level = self.supply.ground.isolation
        reason = await asyncio.to_thread(probe.probe, level)
        if reason is None and level == "container":
            self.supply.spawns = True
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                await asyncio.to_thread(container.remove_leftovers, self.supply.ground.container)
        if reason is not None:
            logger.error("No run starts: %s", reason)
            raise IsolationUnavailable
        if level == "bwrap" and not self.supply.spawns:
            reason = await asyncio.to_thread(probe.probe, evidence.NESTED)
            if reason is not None:
                logger.warning("Workers are spawned, not forked: %s", reason)
                self.supply.spawns = True
        self.supply.open()

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        await self.supply.close()
        await asyncio.to_thread(self.proxy.close)

    def stock(self) -> Stock:
        return Stock(
            ready=self.ready,
            wanted=self.supply.size,
            busy=len(self._running),
            servers=self.supply.servers,
        )

    async def check(self) -> str | None:
        try:
            worker = await self.supply.take()
        except (StartFailed, OSError) as error:
            return str(error)
        await self.supply.give_back(worker)
        return None

    async def execute(
        self, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> AsyncGenerator[Event, None]:
        try:
            worker = await self._take_unless(stop, self.supply.take)
        except (StartFailed, OSError) as error:
            yield End(state="crashed", elapsed=0.0, reason=f"the worker did not start: {error}")
            return
        if worker is None:
            yield End(state="cancelled", elapsed=0.0)
            return
        run = self._conversation(worker, source, request, limits=limits, stop=stop)
        async with aclosing(self._play(run)) as said:
            async for event in said:
                yield event

    def _conversation(
        self, worker: Worker, source: Source, request: HandlerRequest, **how: Any
    ) -> Conversation:
        ground = self.supply.ground
        is_trusted = ground.project is not None
        return Conversation(
            worker,
            source,
            request,
            hidden=ground.hidden(),
            is_trusted=is_trusted,
            has_network=ground.has_network or ground.isolation == "process",
            proxy=self.proxy if ground.isolation == "bwrap" else None,
            **how,
        )

    async def _play(
        self, run: Conversation, *, keep: Callable[[Conversation], None] | None = None
    ) -> AsyncGenerator[Event, None]:
        """All that is said; then the worker ends, unless all is well and it is to be kept."""
        is_gone: bool | None = None
        try:
            limits = run.limits
            run.worker.bound(memory=limits.memory, seconds=limits.timeout + limits.grace)
            self._running.add(run)
            self._look_after()
            if run.is_first:
                await run.outbox.put(events.Status(state="running"))
            run.start()
            while (event := await run.outbox.get()) is not None:
                yield event
            if keep is not None and run.is_well:
                await run.close()
                self._running.discard(run)
                is_gone = False
                keep(run)
                return
            is_gone = await self._release(run)
            for event in run.end(is_gone=is_gone):
                yield event
        finally:
            if is_gone is None:
                await self._release(run)

    async def _take_unless(
        self, stop: Stop, take: Callable[[], Coroutine[Any, Any, Worker]]
    ) -> Worker | None:
        """A worker; None when the run is asked to stop before there is one."""
        if stop.is_asked:
            return None
        taking = asyncio.ensure_future(take())
        asked = asyncio.ensure_future(stop.asked())
        worker: Worker | None = None
        try:
            await asyncio.wait({taking, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_asked:
                worker = await taking
        finally:
            asked.cancel()
            if worker is None:
                taking.cancel()
                with contextlib.suppress(asyncio.CancelledError, StartFailed):
                    await self.supply.give_back(await taking)
        # Not now: forking would take the core that this run needs. A short run is over by then.
        asyncio.get_running_loop().call_later(REFILL, self.supply.fill_up)
        return worker

    async def _release(self, run: Conversation) -> bool:
        """Kill the run's tree, then give everything back, whatever is cancelled."""
        self._running.discard(run)
        run.worker.kill(is_done=run.frames.is_done)

        async def release() -> bool:
            await run.close()
            if run.proxy is not None:
                run.proxy.forget(id(run.worker))  # its pid may be another's by now
            try:
                return await self.supply.give_back(run.worker)
            finally:
                self.supply.fill_up()

        task = asyncio.ensure_future(release())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    def _look_after(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_memory())

    async def _watch_memory(self) -> None:
        """Of workers that no control group bounds as a whole; of the rest what the kernel did.

        It may end a child of the run for its memory: that is the run's end.
        """
        while self._running:
            await asyncio.sleep(WATCH)
            loose = self._unbounded()
            for worker in [run.worker for run in self._running]:
                if worker.is_alive and await self.supply.aside(worker.is_over_memory):
                    worker.kill()
            processes = await self.supply.aside(tree.snapshot) if loose else {}
            for worker, most in loose:
                if await self.supply.aside(partial(tree.is_over, worker.pid, processes, most)):
                    worker.is_over = True
                    worker.kill()

    def _unbounded(self) -> list[tuple[Worker, int]]:
        """Workers, with what they may use."""
        loose = [run for run in self._running if not run.worker.is_bounded]
        return [(run.worker, run.limits.memory) for run in loose]


class SpawnEngine(ForkEngine):
    """The same guest where fork cannot be had: every run has an interpreter of its own."""

    name: ClassVar[str] = "spawn"
    spawns: ClassVar[bool] = True

    def __init__(self, *, size: int = 0, **how: Any) -> None:
        super().__init__(size=size, **how)
