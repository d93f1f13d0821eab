"""The supervisor's half of the fork server: it is started, watched and asked for workers."""

import asyncio
import contextlib
import secrets
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from djsci.guest import traces
from djsci.isolation import users

from . import tree
from .forking import Forker
from .ground import Ground
from .workers import START, StartFailed, Worker

ENDING = 2.0  # seconds that the server gets to kill what is below it


class Refused(StartFailed):
    """A library of the preload starts threads; its name."""


class ForkServer(Forker):
    """One fork server and the workers that it has forked."""

    def __init__(
        self, ground: Ground, *, folder: Path, aside: ThreadPoolExecutor, uid: int | None
    ) -> None:
        super().__init__()
        self.ground = ground
        self.folder = folder
        self.uid = uid
        self.mark = secrets.token_hex(8)
        self.process: subprocess.Popen[bytes] | None = None
        self._aside = aside
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._burial: asyncio.Task[None] | None = None

    async def start(self, preload: Sequence[str]) -> None:
        """Raises `StartFailed`, and `Refused` with the library's name."""
        preload = [] if self.ground.is_guarded else preload
        control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = control

        def start() -> "subprocess.Popen[bytes]":
            return self.ground.start(
                "forkserver",
                folder=self.folder,
                kept=far.fileno(),
                options={"preload": list(preload)},
                mark=self.mark,
                uid=self.uid,
            )

        starting = self._loop.run_in_executor(self._aside, start)
        try:
            self.process = await asyncio.shield(starting)
        except OSError as error:
            raise StartFailed(str(error)) from error
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            self.process = starting.result()
            raise
        finally:
            far.close()
        control.setblocking(False)
        self.listen(control)
        async with asyncio.timeout(START):
            await self._ready
        self.started = self._loop.time()
        self.is_alive = True

    async def fork(
        self, folder: Path | None, *, uid: int | None = None, waits: bool = False
    ) -> Worker:
        """A new worker that has said hello. Raises `StartFailed`."""
        worker = Worker(folder, uid=uid, has_init=self.ground.has_own_root)
        request = {
            "folder": str(folder or ""),
            "uid": uid,
            "rehearses": waits,
            "program": self.ground.python.program if self.ground.python else "",
            "limits": self.ground.limits()._asdict(),
            "readable": [str(self.folder / "guest.zip"), *self.ground.own_paths()],
        }
        return await self.ask(worker, request)

    def on_message(self, said: dict[str, Any]) -> None:
        match said["type"]:
            case "ready":
                self._ready.set_result(None)
            case "refused":
                self._ready.set_exception(Refused(said["name"]))
            case "exited":
                self.on_exit(said)

    def on_silence(self) -> None:
        self._bury()

    def _bury(self) -> None:
        """No more is forked: the server is gone, or goes now, and its workers with it."""
        control = self.hang_up()
        if control is not None:
            control.close()
        if not self._ready.done():
            self._ready.set_exception(StartFailed("the fork server ended before it was ready"))
        self._ready.cancelled() or self._ready.exception()
        if self._burial is None:
            self._burial = self._loop.create_task(self._end_all())

    async def _end_all(self) -> None:
        for worker in self.workers.values():
            worker.kill()
        is_gone = await self._loop.run_in_executor(self._aside, self._until_gone)
        for worker in self.workers.values():
            worker.ended(None, is_gone=is_gone)
        self.workers.clear()

    def _until_gone(self) -> bool:
        if self.process is None:
            return True
        if self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDING)  # it kills everything, then itself
        is_gone = tree.kill(self.process.pid, self.mark)
        for uid in [worker.uid for worker in self.workers.values() if worker.uid is not None]:
            is_gone = users.end_all(uid) and is_gone  # whom the server would have ended
        self.process.wait()
        return is_gone

    async def close(self) -> None:
        """End the server and all its workers; return when nothing of them is left."""
        self._bury()
        if self._burial is not None:
            await asyncio.shield(self._burial)


def remove(folder: Path | None) -> None:
    """Remove a run's folder, whatever it left there."""
    if folder is not None:
        traces.remove(str(folder))
