"""The supervisor's half of the fork server: it is started, watched and asked for workers."""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from djsci.guest import frames
from djsci.isolation import process as isolation

from . import tree

logger = logging.getLogger(__name__)
ENDING = 2.0  # seconds that the server gets to kill what is below it
START = 60.0  # seconds that a server or a worker may take until it is ready
BACKEND = "module://matplotlib_inline.backend_inline"
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from djsci.guest.{} import main; main()"


class StartFailed(Exception):
    """A worker could not be started; the message says why."""


class Refused(StartFailed):
    """A library of the preload starts threads; its name."""


class Worker:
    """A process for one run: its socket, its output, its death."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid = 0
        self.is_gone = True  # whether everything that it left is dead, once it has exited
        self.code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.sock, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        (self.out, far_out), (self.err, far_err) = os.pipe(), os.pipe()
        for descriptor in (self.out, self.err):
            os.set_blocking(descriptor, False)
        self.ends = [self._far.fileno(), far_out, far_err]
        self.is_open = True
        self.send_signal: Callable[[int], None] = lambda number: None
        self.started = asyncio.get_running_loop().time()

    def close_ends(self) -> None:
        """The child has its own copies: with these open, nobody would ever see the end."""
        if self.ends:
            self._far.close()
            for descriptor in self.ends[1:]:
                os.close(descriptor)
            self.ends = []

    @property
    def is_alive(self) -> bool:
        return not self.code.done()

    def ended(self, code: int | None, *, is_gone: bool = True) -> None:
        """It has exited: `code` as subprocess has it, None when nobody knows."""
        self.is_gone = is_gone
        if not self.code.done():
            self.code.set_result(code)

    def exit_text(self) -> str:
        """How it ended: `exit 9` or `signal 11 (SIGSEGV)`."""
        code = self.code.result() if self.code.done() else None
        if code is None:
            return "the fork server is gone"
        if code >= 0:
            return f"exit {code}"
        with contextlib.suppress(ValueError):
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"signal {-code}"

    def kill(self) -> None:
        if self.is_alive:
            self.send_signal(signal.SIGKILL)

    async def hello(self) -> None:
        """Wait until it is ready. Raises `StartFailed`."""
        async with asyncio.timeout(START):
            data = await asyncio.get_running_loop().sock_recv(self.sock, frames.MOST)
        if not data:
            raise StartFailed("the worker ended before it was ready")
        hello = json.loads(frames.parse(data)[1])
        if hello.get("type") != "hello" or hello.get("v") != frames.VERSION:
            raise StartFailed(f"the worker speaks version {hello.get('v')}, not {frames.VERSION}")

    def close(self) -> None:
        """Give back every descriptor."""
        if self.is_open:
            self.is_open = False
            self.close_ends()
            self.sock.close()
            os.close(self.out)
            os.close(self.err)


class ForkServer:
    """One fork server and the workers that it has forked."""

    def __init__(self, *, guest: Path, folder: Path, aside: ThreadPoolExecutor) -> None:
        self.guest = guest
        self.folder = folder
        self.mark = secrets.token_hex(8)
        self.workers: dict[int, Worker] = {}
        self.is_alive = False
        self.pid = 0
        self.started = 0.0
        self._forked: dict[int, asyncio.Future[int]] = {}
        self._numbers = itertools.count(1)
        self._aside = aside
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._pidfds: dict[int, int] = {}

    async def start(self, preload: Sequence[str]) -> None:
        """Raises `StartFailed`, and `Refused` with the library's name."""
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = await self._loop.run_in_executor(
                self._aside, start, "forkserver", self, [str(far.fileno())], preload, [far.fileno()]
            )
        finally:
            far.close()
        self.started = self._loop.time()
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._hear)
        async with asyncio.timeout(START):
            await self._ready
        self.is_alive = True

    async def fork(self, folder: Path) -> Worker:
        """A new worker that has said hello. Raises `StartFailed`."""
        if self._control is None or not self.is_alive:
            raise StartFailed("the fork server is gone")
        number = next(self._numbers)
        os.mkdir(folder, 0o700)
        worker = Worker(folder)
        try:
            self._forked[number] = self._loop.create_future()
            self.workers[number] = worker
            self._say({"type": "fork", "id": number, "folder": str(folder)}, *worker.ends)
            worker.close_ends()
            worker.pid = await self._forked[number]
            worker.send_signal = lambda value: self._signal(number, value)
            await worker.hello()
        except BaseException as error:
            worker.kill()
            worker.close()
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, (OSError, TimeoutError, frames.BadFrame)):
                raise StartFailed(str(error) or type(error).__name__) from error
            raise
        return worker

    def _signal(self, number: int, value: int) -> None:
        if value == signal.SIGKILL and number in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfds[number], signal.SIGKILL)
            return
        self._say({"type": "signal", "id": number, "signal": value})

    def _say(self, values: dict[str, Any], *descriptors: int) -> None:
        if self._control is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionError):
                [packet] = frames.message(values)
                socket.send_fds(self._control, [packet], descriptors)

    def _hear(self) -> None:
        """Take what the server says; its silence for ever ends everything that it had."""
        if self._control is None:
            return
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, frames.MOST, 4)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._on_death()
                return
            self._on_message(json.loads(frames.parse(data)[1]), descriptors)

    def _on_message(self, said: dict[str, Any], descriptors: list[int]) -> None:
        number = said.get("id", 0)
        match said["type"]:
            case "ready":
                self.pid = said["pid"]
                self._ready.set_result(None)
            case "refused":
                self._ready.set_exception(Refused(said["name"]))
            case "forked":
                self._pidfds[number] = descriptors[0]
                if not self._forked[number].done():
                    self._forked[number].set_result(said["pid"])
            case "exited":
                os.close(self._pidfds.pop(number))
                self._forked.pop(number, None)
                worker = self.workers.pop(number)
                worker.ended(said["code"], is_gone=said["gone"])

    def _on_death(self) -> None:
        """The server is gone, and so are its workers: they die with it."""
        self.is_alive = False
        if self._control is not None:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._control = None
        if not self._ready.done():
            self._ready.set_exception(StartFailed("the fork server ended before it was ready"))
        for descriptor in self._pidfds.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        self._pidfds.clear()
        is_gone = True
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDING)  # it kills everything, then itself
            is_gone = tree.kill(self._process.pid, self.mark)
            self._process.wait()
        for worker in self.workers.values():
            worker.ended(None, is_gone=is_gone)
        self.workers.clear()
        for waiting in self._forked.values():
            if not waiting.done():
                waiting.set_exception(StartFailed("the fork server is gone"))
                waiting.exception()
        self._forked.clear()

    def close(self) -> None:
        """End the server and all its workers."""
        self._on_death()
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()


def start(
    module: str, server: Any, arguments: Sequence[str], preload: Sequence[str], kept: Sequence[int]
) -> "subprocess.Popen[bytes]":
    """Start a program of the guest. Called in the engine's own long-lived thread."""
    code = BOOT.format(module)
    argv = [sys.executable, "-I", "-c", code, str(server.guest), *arguments, json.dumps([*preload])]
    environment = isolation.environment(server.folder)
    return subprocess.Popen(  # noqa: S603 - our own program
        isolation.command(argv),
        cwd=server.folder,
        env=environment | {"MPLBACKEND": BACKEND, tree.MARK: server.mark},
        pass_fds=kept,
        stdin=subprocess.DEVNULL,
        **isolation.START,
    )


def readable(*descriptors: int) -> list[int]:
    """Those that can be read now. Looked at in this order: what is written first is seen last."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(0)]
