"""A process for one run as its supervisor has it: its socket, its output, its death."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from djsci.guest import frames
from djsci.isolation.limits import Group

from . import tree

START = 60.0  # seconds that a server or a worker may take until it is ready
SO_PASSCRED = getattr(socket, "SO_PASSCRED", 16)
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class StartFailed(Exception):
    """A worker could not be started; the message says why."""


class Worker:
    """One worker. `folder` is the run's folder on this host, None where the run has its own."""

    ending: ClassVar[float] = 2.0  # seconds that it may take to be gone, once it is killed

    def __init__(
        self, folder: Path | None, *, uid: int | None = None, has_init: bool = False
    ) -> None:
        self.folder = folder
        self.has_init = has_init  # its parent is the first process of namespaces of its own
        self.uid = uid
        self.pid = 0  # ours, whatever it calls itself in a namespace
        self.group: Group | None = None
        self.memory: int | None = None
        self.is_bounded = False  # whether all that it starts is in the group
        self.is_gone = True  # whether everything that it left is dead, once it has exited
        self.code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.sock, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
        (self.out, far_out), (self.err, far_err) = os.pipe(), os.pipe()
        for descriptor in (self.out, self.err):
            os.set_blocking(descriptor, False)
        self.ends = [self._far.fileno(), far_out, far_err]
        self.is_open = True
        self.is_over = False  # of memory: seen from outside, where no group tells
        self.lost = "the fork server is gone"  # how it ended, where nobody knows
        self.abort: Callable[[], None] = lambda: None  # ends it before it has said hello
        self.started = asyncio.get_running_loop().time()
        self._pidfd: int | None = None
        self._init: int | None = None

    def bound(
        self, group: Group | None = None, *, memory: int | None = None, seconds: float | None = None
    ) -> None:
        """It is in `group` now; its run may hold so many bytes. Either may be known first.

        `seconds`: for how long it may live, where it must know that itself.
        """
        self.group, self.memory = group or self.group, memory or self.memory
        if self.group is not None and self.memory is not None:
            self.group.set_memory(self.memory)

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
            return self.lost
        if code >= 0:
            return f"exit {code}"
        with contextlib.suppress(ValueError):
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"signal {-code}"

    def is_over_memory(self) -> bool:
        """Whether it, or a process of its group, was ended for want of memory."""
        return self.is_over or (self.group is not None and self.group.is_over_memory())

    def interrupt(self) -> None:
        """SIGINT to its group."""
        if self.is_alive and self.pid > 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGINT)

    def kill(self, *, is_done: bool = False) -> None:
        """SIGKILL; who started it ends what it left.

        `is_done`: nobody asks how it ends, so its first process need not live to tell.
        """
        if not self.is_alive:
            return
        if self._pidfd is None:
            self.abort()
            return
        for process in (self._pidfd, self._init if is_done else None):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGKILL)

    async def hello(self) -> None:
        """Wait until it is ready; the system says which process it is. Raises `StartFailed`."""
        async with asyncio.timeout(START):
            await self._heard()
        data, extra, _, _ = self.sock.recvmsg(frames.MOST, socket.CMSG_SPACE(_CREDENTIALS.size))
        if not data:
            raise StartFailed(f"the worker ended before it was ready{self._last_words()}")
        hello = json.loads(frames.parse(data)[1])
        if hello.get("type") != "hello" or hello.get("v") != frames.VERSION:
            raise StartFailed(f"the worker speaks version {hello.get('v')}, not {frames.VERSION}")
        self.pid = _CREDENTIALS.unpack(extra[0][2][: _CREDENTIALS.size])[0]
        self._pidfd = os.pidfd_open(self.pid)
        if self.has_init:
            self._init = os.pidfd_open(tree.parent_of(self.pid))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 0)

    async def _heard(self) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.sock, _set, waiting)
        try:
            await waiting
        finally:
            loop.remove_reader(self.sock)

    async def heard(self, descriptors: Sequence[int]) -> None:
        """Until one can be read, or it is dead."""
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        for descriptor in descriptors:
            loop.add_reader(descriptor, heard.set)
        waiting = asyncio.ensure_future(heard.wait())
        try:
            if self.is_alive:
                first = asyncio.FIRST_COMPLETED
                both: set[asyncio.Future[Any]] = {waiting, self.code}
                await asyncio.wait(both, return_when=first)
            else:
                await asyncio.wait({waiting}, timeout=0.05)
        finally:
            waiting.cancel()
            for descriptor in descriptors:
                loop.remove_reader(descriptor)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = os.read(self.err, 1 << 16).decode("utf-8", "replace").split("\n")
            said = [line for line in lines if line.strip()]
            return f": {said[-1].strip()[:300]}" if said else ""
        return ""

    async def forget(self) -> None:
        """Make sure that nothing is left of it, where somebody else keeps it; nobody waits."""

    def close(self) -> None:
        """Give back every descriptor."""
        if self.is_open:
            self.is_open = False
            self.close_ends()
            self.sock.close()
            for descriptor in (self.out, self.err, self._pidfd, self._init):
                if descriptor is not None:
                    os.close(descriptor)
            self._pidfd = self._init = None


def _set(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
