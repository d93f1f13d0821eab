"""The fork engine: each run in a process of its own, forked with everything imported."""

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from djsci.core import events
from djsci.core.events import End, Event
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest

from . import folders, tree
from .base import Engine, Limits, Stop
from .bundle import write_guest
from .conversation import Conversation
from .workers import ForkServer, Refused, StartFailed, Worker

logger = logging.getLogger(__name__)
WATCH = 0.2  # seconds between two looks at the memory
RETRY = 1.0  # seconds before a failed refill is tried again
Value = TypeVar("Value")


class ForkEngine(Engine):
    """Workers forked from one server; each serves one run and is killed."""

    name: ClassVar[str] = "fork"

    def __init__(
        self,
        *,
        size: int = 2,
        recycle: float = 3600,
        preload: Sequence[str] = (),
        root: str | None = None,
    ) -> None:
        self.size = size
        self.recycle = recycle
        self.preload = list(preload)
        self.root = root
        self.server: ForkServer | None = None
        self._old: list[ForkServer] = []
        self._ready: list[Worker] = []
        self._running: set[Conversation] = set()
        self._numbers = itertools.count(1)
        self._folder: Path | None = None
        self._aside: ThreadPoolExecutor | None = None
        self._starting = asyncio.Lock()
        self._refill: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def ready(self) -> int:
        """How many workers wait for a run."""
        return len(self._ready)

    async def open(self) -> None:
        if self._folder is None:
            folders.remove_abandoned(self.root)
            self._folder = folders.make(self.root)
            write_guest(self._folder / "guest.zip")
            self._aside = ThreadPoolExecutor(1, thread_name_prefix="djsci-fork")
        self._fill_up()

    async def close(self) -> None:
        tasks = [task for task in (self._refill, self._watch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._refill = self._watch = None
        for server in (*self._old, self.server):
            if server is not None:
                server.close()
        self.server = None
        self._old.clear()
        for worker in self._ready:
            worker.close()
        self._ready.clear()
        folder, self._folder = self._folder, None
        if folder is not None:
            await self.aside(lambda: folders.remove(folder))
        if self._aside is not None:
            self._aside.shutdown()
            self._aside = None

    async def check(self) -> str | None:
        try:
            worker = await self._take()
        except (StartFailed, OSError) as error:
            return str(error)
        await self._give_back(worker)
        return None

    async def execute(
        self, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> AsyncGenerator[Event, None]:
        try:
            worker = await self._take_unless(stop)
        except (StartFailed, OSError) as error:
            yield End(state="crashed", elapsed=0.0, reason=f"the worker did not start: {error}")
            return
        if worker is None:
            yield End(state="cancelled", elapsed=0.0)
            return
        run = Conversation(worker, source, request, limits=limits, stop=stop)
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

    async def aside(self, work: Callable[[], Value]) -> Value:
        """Do what would block the loop in the engine's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    async def start_worker(self) -> Worker:
        """A worker that is ready. Raises `StartFailed`."""
        server = await self._serving()
        if self._folder is None:
            raise StartFailed("the engine is closed")
        return await server.fork(self._folder / f"r{next(self._numbers)}")

    def end_worker(self, worker: Worker) -> None:
        """What else stood behind it ends too."""

    async def _serving(self) -> ForkServer:
        """The fork server, started where there is none, renewed where it is old."""
        await self.open()
        async with self._starting:
            now = asyncio.get_running_loop().time()
            server = self.server
            if server is not None and server.is_alive and now - server.started < self.recycle:
                return server
            if server is not None:
                self._retire(server)
            self.server = await self._start_server()
            return self.server

    def _retire(self, server: ForkServer) -> None:
        """An old server forks no more; its runs go on. Its ready workers are let go."""
        for worker in self._ready:
            worker.kill()
            worker.close()
        self._ready.clear()
        self._old.append(server)
        self.server = None
        self._end_idle()

    def _end_idle(self) -> None:
        for server in [old for old in self._old if not old.workers or not old.is_alive]:
            self._old.remove(server)
            server.close()

    async def _start_server(self) -> ForkServer:
        while True:
            if self._folder is None or self._aside is None:
                raise StartFailed("the engine is closed")
            guest, folder = self._folder / "guest.zip", self._folder
            server = ForkServer(guest=guest, folder=folder, aside=self._aside)
            try:
                await server.start(self.preload)
            except Refused as refused:
                server.close()
                self.preload.remove(str(refused))
                logger.warning("%s starts threads: it cannot be preloaded.", refused)
            except BaseException:
                server.close()
                raise
            else:
                return server

    async def _take(self) -> Worker:
        """A living worker that has seen no user code. Raises `StartFailed`."""
        now = asyncio.get_running_loop().time()
        while self._ready:
            worker = self._ready.pop(0)
            if worker.is_alive and now - worker.started < self.recycle:
                return worker
            await self._give_back(worker)
        return await self.start_worker()

    async def _take_unless(self, stop: Stop) -> Worker | None:
        """A worker; None when the run is asked to stop before there is one."""
        if stop.is_asked:
            return None
        taking = asyncio.ensure_future(self._take())
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
                    await self._give_back(await taking)
        if len(self._running) + 1 < (os.cpu_count() or 1):
            self._fill_up()
        return worker

    async def _release(self, run: Conversation) -> bool:
        """Kill the run's tree, then give everything back, whatever is cancelled."""
        self._running.discard(run)
        run.worker.kill()

        async def release() -> bool:
            await run.close()
            return await self._give_back(run.worker)

        task = asyncio.ensure_future(release())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def _give_back(self, worker: Worker) -> bool:
        """End a worker that was taken; True when its whole tree is gone."""
        worker.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.shield(worker.code)
        worker.close()
        self.end_worker(worker)
        if self._aside is None:
            shutil.rmtree(worker.folder, ignore_errors=True)
        else:
            await self.aside(lambda: shutil.rmtree(worker.folder, ignore_errors=True))
        self._end_idle()
        self._fill_up()
        return worker.code.done() and worker.is_gone

    def _fill_up(self) -> None:
        """Fork what is missing, one after the other, in the background."""
        is_running = self._refill is not None and not self._refill.done()
        if not is_running and self._folder is not None and len(self._ready) < self.size:
            self._refill = asyncio.create_task(self._fill())

    async def _fill(self) -> None:
        while len(self._ready) < self.size and self._folder is not None:
            try:
                self._ready.append(await self.start_worker())
            except Exception as error:
                logger.warning("A worker did not start: %s", error)
                await asyncio.sleep(RETRY)

    def _look_after(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_memory())

    async def _watch_memory(self) -> None:
        while self._running:
            await asyncio.sleep(WATCH)
            processes = await self.aside(tree.snapshot)
            for run in list(self._running):
                pid, most = run.worker.pid, run.limits.memory
                if tree.memory(pid, processes) <= most:
                    continue
                if await self.aside(partial(tree.proportional, pid, processes)) > most:
                    run.is_over_memory = True
                    run.worker.kill()


class SpawnEngine(ForkEngine):
    """The same guest where nothing may be kept: every run has an interpreter of its own."""

    name: ClassVar[str] = "spawn"

    def __init__(self, *, size: int = 0, recycle: float = 3600, root: str | None = None) -> None:
        super().__init__(size=size, recycle=recycle, root=root)
        self._own: dict[Worker, ForkServer] = {}

    async def start_worker(self) -> Worker:
        await self.open()
        server = await self._start_server()
        try:
            if self._folder is None:
                raise StartFailed("the engine is closed")
            worker = await server.fork(self._folder / f"r{next(self._numbers)}")
        except BaseException:
            server.close()
            raise
        self._own[worker] = server
        return worker

    def end_worker(self, worker: Worker) -> None:
        server = self._own.pop(worker, None)
        if server is not None:
            server.close()

    async def close(self) -> None:
        for server in self._own.values():
            server.close()
        self._own.clear()
        await super().close()
