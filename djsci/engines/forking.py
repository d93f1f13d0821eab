"""A guest that forks workers, as its supervisor has it: asked and heard on a socket."""

import asyncio
import contextlib
import itertools
import json
import socket
import struct
from typing import Any

from djsci.guest import frames

from .workers import START, StartFailed, Worker

# What reading a greeting may raise, whoever wrote it.
FAILURES = (OSError, TimeoutError, ValueError, LookupError, AttributeError, struct.error)


class Forker:
    """What it says is checked: it may be a template, which is the user's."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.is_alive = False
        self.started = 0.0
        self._numbers = itertools.count(1)
        self._control: socket.socket | None = None
        self._loop = asyncio.get_running_loop()

    def listen(self, control: socket.socket) -> None:
        """From now on it is asked, and heard, on `control`."""
        self._control = control
        self._loop.add_reader(control, self._hear)

    def hang_up(self) -> socket.socket | None:
        """No more is forked. Returns the socket, if it was still heard."""
        self.is_alive = False
        control, self._control = self._control, None
        if control is not None:
            self._loop.remove_reader(control)
        return control

    async def ask(
        self, worker: Worker, request: dict[str, Any], *, seconds: float = START
    ) -> Worker:
        """Have `worker` forked; it has said hello. Raises `StartFailed`."""
        if self._control is None or not self.is_alive:
            worker.close()
            raise StartFailed("the fork server is gone")
        number = next(self._numbers)
        self.workers[number] = worker
        worker.abort = lambda: self._say({"type": "kill", "id": number})
        try:
            self._say({"type": "fork", "id": number, **request}, *worker.ends)
            worker.close_ends()
            async with asyncio.timeout(seconds):
                await worker.hello()
        except BaseException as error:
            worker.kill()
            worker.close()
            if isinstance(error, FAILURES):
                raise StartFailed(str(error) or type(error).__name__) from error
            raise
        return worker

    def on_message(self, said: dict[str, Any]) -> None:
        """It said something."""

    def on_silence(self) -> None:
        """It will never say anything again."""

    def on_exit(self, said: dict[str, Any]) -> None:
        """A worker has exited, as `said`."""
        worker = self.workers.pop(said["id"], None)
        if worker is not None:
            worker.ended(int(said["code"]), is_gone=bool(said["gone"]))

    def _say(self, values: dict[str, Any], *descriptors: int) -> None:
        if self._control is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionError):
                [packet] = frames.message(values)
                socket.send_fds(self._control, [packet], descriptors)

    def _hear(self) -> None:
        """Take what it says, in the order in which it does."""
        while self._control is not None:
            try:
                data = self._control.recv(frames.MOST)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.on_silence()
                return
            try:
                self.on_message(json.loads(frames.parse(data)[1]))
            except (*FAILURES, TypeError, RecursionError, ArithmeticError):
                self.on_silence()  # it is not what it was made as
                return
