"""A template as its supervisor has it: a worker that has loaded a version and forks its calls."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from . import installed
from .forking import Forker
from .supply import Supply
from .workers import Worker

FORK = 20.0  # seconds that a fork may take: what it forks is the user's


class Template(Forker):
    """One version, loaded. It goes when it is old, changed or dead; its calls end with it."""

    def __init__(self, worker: Worker, supply: Supply, *, version: str, memory: int) -> None:
        super().__init__()
        self.worker = worker
        self.supply = supply
        self.version = version
        self.memory = memory
        self.is_alive = True
        self.started = self._loop.time()
        self.on_gone: Callable[[], None] = lambda: None
        self._stamp = installed.stamp()
        self._age = self._loop.call_later(supply.recycle, self.retire)
        self._burial: asyncio.Task[None] | None = None
        self.listen(worker.sock)

    @property
    def is_fresh(self) -> bool:
        """Whether it may serve another call."""
        return self.is_alive and self.worker.is_alive and self._stamp == installed.stamp()

    async def call(self) -> Worker:
        """A worker forked from it that has said hello. Raises `StartFailed`."""
        worker = await self.ask(Worker(None), {"pids": self.supply.ground.pids}, seconds=FORK)
        self.supply.join_later(worker)
        return worker

    def retire(self) -> None:
        """It forks no more; the calls that run go on."""
        self.is_alive = False
        if not self.workers:
            self._bury()

    def on_message(self, said: dict[str, Any]) -> None:
        if said["type"] != "exited":
            return
        self.on_exit(said)
        if said["intact"] is not True or not self.is_alive:
            self.retire()

    def on_silence(self) -> None:
        self._bury()

    def _bury(self) -> None:
        self._age.cancel()
        self.hang_up()
        if self._burial is None:
            self._burial = self._loop.create_task(self._end_all())

    async def _end_all(self) -> None:
        self.worker.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.worker.ending):
                await asyncio.shield(self.worker.code)
        is_over = self.worker.is_over_memory()
        why = "it used too much memory" if is_over else self.worker.exit_text()
        is_gone = await self.supply.give_back(self.worker)
        for worker in self.workers.values():
            worker.lost = f"the template that it was forked from is gone: {why}"
            worker.kill()
            worker.ended(None, is_gone=is_gone)
        self.workers.clear()
        self.on_gone()

    async def close(self) -> None:
        """End it and its calls; return when nothing of them is left."""
        self._bury()
        if self._burial is not None:
            await asyncio.shield(self._burial)
