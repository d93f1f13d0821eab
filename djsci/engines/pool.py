"""Ready units, each for one run: started ahead, handed out alive, refilled one at a time."""

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import zmq.asyncio
from zmq.constants import SocketOption

from . import folders
from .bundle import write_guest
from .elsewhere import ELSEWHERE, ElsewhereUnit
from .ground import Ground
from .unit import StartFailed, Unit, make_folder

logger = logging.getLogger(__name__)
NATIVE = "python3"
START_TIMEOUT = 60.0
Value = TypeVar("Value")
# Milliseconds before zmq connects again. Not -1: at the death of a kernel zmq would then drop its
# pipe in the middle of a message, and abort this process on the assertion `!_more`.
NEVER = 1_000_000_000
RETRY = 1.0  # seconds before a failed refill is tried again


class Pool:
    """Kernels. `size` ready ones of the native kernelspec; others start on demand."""

    def __init__(
        self,
        *,
        size: int,
        recycle: float,
        preload: Sequence[str],
        root: str | None,
        ground: Ground = Ground(),  # noqa: B008 - immutable
    ) -> None:
        self.ground = ground
        self.size = size
        self.recycle = recycle
        self.preload = tuple(preload)
        self.root = root
        self.busy: set[Unit] = set()
        self._ready: list[Unit] = []
        self._starting: set[Unit] = set()
        self._numbers = itertools.count(1)
        self._refill: asyncio.Task[None] | None = None
        self._folder: Path | None = None
        self._context: zmq.asyncio.Context | None = None
        self._is_closed = False
        self._aside: ThreadPoolExecutor | None = None
        self._starts = asyncio.Semaphore(max(2, os.cpu_count() or 1))

    @property
    def ready(self) -> int:
        """How many units wait for a run."""
        return len(self._ready)

    def open(self) -> None:
        """Make the folder and the zmq context, and begin to fill."""
        if self._folder is None:
            self._folder = make_folder(self.root)
            write_guest(self._folder / "guest.zip")
            self._aside = ThreadPoolExecutor(1, thread_name_prefix="djsci-pool")
            self._context = zmq.asyncio.Context()
            # Bounded: a slow reader fills these, then the kernel's `print` waits.
            self._context.setsockopt(SocketOption.RCVHWM, 32)
            if self.ground.isolation != ELSEWHERE:  # whose sockets are not seen before they are up
                self._context.setsockopt(SocketOption.RECONNECT_IVL, NEVER)
        self._is_closed = False
        self.refill()

    async def take(self, kernelspec: str) -> Unit:
        """A living unit that has seen no user code. Raises `StartFailed`."""
        self.open()
        while kernelspec == NATIVE and self._ready:
            unit = self._ready.pop(0)
            if unit.is_alive and time.monotonic() - unit.started < self.recycle:
                break
            await self._end(unit)
        else:
            unit = await self._start(kernelspec)
        self.busy.add(unit)
        if len(self.busy) < (os.cpu_count() or 1):
            self.refill()
        return unit

    async def give_back(self, unit: Unit) -> bool:
        """End a unit that was taken; True when its whole tree is gone."""
        try:
            return await self._end(unit)
        finally:
            self.busy.discard(unit)
            self.refill()

    async def _end(self, unit: Unit) -> bool:
        is_gone = await unit.end()
        if self._aside is None:
            shutil.rmtree(unit.folder, ignore_errors=True)
        else:
            await self.aside(lambda: shutil.rmtree(unit.folder, ignore_errors=True))
        return is_gone

    async def aside(self, work: Callable[[], Value]) -> Value:
        """Do what would block the loop in the pool's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    def refill(self) -> None:
        """Start what is missing, one after the other, in the background."""
        is_running = self._refill is not None and not self._refill.done()
        if not (is_running or self._is_closed) and len(self._ready) < self.size:
            self._refill = asyncio.create_task(self._fill())

    async def _fill(self) -> None:
        while len(self._ready) < self.size and not self._is_closed:
            try:
                self._ready.append(await self._start(NATIVE))
            except Exception as error:
                logger.warning("A kernel did not start: %s", error)
                await asyncio.sleep(RETRY)

    async def _start(self, kernelspec: str) -> Unit:
        async with self._starts:
            if self._folder is None or self._context is None:
                raise StartFailed("the pool is closed")
            folder = self._folder / f"k{next(self._numbers)}"
            kind = ElsewhereUnit if self.ground.isolation == ELSEWHERE else Unit
            unit = kind(
                kernelspec=kernelspec,
                folder=folder,
                context=self._context,
                ground=self.ground,
            )
            self._starting.add(unit)
            try:
                await unit.launch()
                await unit.ready(
                    guest=self._folder / "guest.zip", preload=self.preload, seconds=START_TIMEOUT
                )
            except BaseException:
                await self._end(unit)
                raise
            finally:
                self._starting.discard(unit)
            return unit

    async def close(self) -> None:
        """End every unit; leave no process, folder, socket or thread."""
        self._is_closed = True
        if self._refill is not None:
            self._refill.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refill
            self._refill = None
        units = [*self._ready, *self.busy, *self._starting]
        self._ready.clear()
        self.busy.clear()
        for unit in units:
            await self._end(unit)
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None
        folder = self._folder
        if folder is not None:
            await self.aside(lambda: folders.remove(folder))
            self._folder = None
        if self._aside is not None:
            self._aside.shutdown()
            self._aside = None
