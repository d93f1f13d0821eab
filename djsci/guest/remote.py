"""The guest behind pipes: the first process of a container, in front of the run's worker.

stdin and stdout carry envelopes, `u32 length | channel | body`: the worker's own packets as they
are, its raw output, signals, how it ended. The worker cannot write there, nor end this process.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from . import forkserver, frames, processes, worker

PREAMBLE = "djsci-guest 1"
KEPT = ("PATH", "DJSCI_FONTS")  # of the image's variables
PACKET, OUT, ERR, SIGNAL, DEADLINE, EXITED = b"p", b"o", b"e", b"s", b"d", b"x"
PIECE = 1 << 15  # bytes of raw output: as text, with what cannot be read, they fit a frame
HEAD = 5
OUT_OF_MEMORY = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


def main() -> None:
    """`argv` ends in the options as JSON: mark, seconds, environment, folder, preload."""
    options: dict[str, Any] = json.loads(sys.argv[-1])
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment = {**kept, **options["environment"]}
    os.environ.clear()
    os.environ.update(environment)
    processes.adopt_orphans()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    (out, far_out), (err, far_err) = os.pipe(), os.pipe()
    front = os.getpid()
    pid = os.fork()
    if pid == 0:
        processes.die_with(front)
        worker.become(theirs.fileno(), far_out, far_err)
        shell = forkserver.prepare(options["preload"], may_have_threads=True)
        worker.serve(shell, options["folder"], None)
    processes.hide()
    theirs.close()
    os.close(far_out)
    os.close(far_err)
    os.write(1, f"{PREAMBLE} {options['mark']}\n".encode())
    Front(pid, ours, {out: OUT, err: ERR}, seconds=options["seconds"]).relay()


class Front:
    """Relays until the worker has ended, stdin is at its end, or the time is up."""

    def __init__(
        self, pid: int, sock: socket.socket, pipes: Mapping[int, bytes], *, seconds: float
    ) -> None:
        self.pid = pid
        self.sock = sock
        self.pipes = dict(pipes)
        self.end = time.monotonic() + seconds
        self.status: int | None = None
        self.is_open = True  # the worker's socket, on its side
        self._in = bytearray()
        self._out = bytearray()
        self._wakes, wakes = os.pipe()
        for descriptor in (self._wakes, wakes, sock.fileno(), 1, *self.pipes):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

    def relay(self) -> None:
        """Does not return."""
        with contextlib.suppress(OSError):
            while self.status is None and time.monotonic() < self.end and self._turn():
                self._reap()
        processes.kill_children(but=set(), seconds=5.0)
        if self.status is not None:  # all writers are dead: there is an end to read to
            with contextlib.suppress(OSError):
                self._tell(self.status)
        os._exit(0)

    def _turn(self) -> bool:
        """Whether to go on: one round of whatever can be read and written now."""
        poller = select.poll()
        poller.register(self._wakes, select.POLLIN)
        waits = self._has_whole()  # for the worker to take it
        poller.register(0, 0 if waits else select.POLLIN)  # its end is heard in any case
        hears = 0 if self._out else select.POLLIN
        if self.is_open and (hears or waits):
            poller.register(self.sock, hears | (select.POLLOUT if waits else 0))
        for pipe in self.pipes if hears else ():
            poller.register(pipe, select.POLLIN)
        if self._out:
            poller.register(1, select.POLLOUT)
        ready = dict(poller.poll(max(1, (self.end - time.monotonic()) * 1000)))
        if self._wakes in ready:
            os.read(self._wakes, PIECE)
        if 0 in ready and not self._hear(ready[0]):
            return False
        self._pass_in()
        if not self._out:
            self._collect(one_packet=True)
        self._pass_out()
        return True

    def _hear(self, what: int) -> bool:
        if what & select.POLLIN and not self._has_whole():
            data = os.read(0, PIECE)
            self._in += data
            return bool(data)
        return not what & (select.POLLHUP | select.POLLERR)

    def _has_whole(self) -> bool:
        return len(self._in) >= HEAD and len(self._in) >= HEAD + int.from_bytes(self._in[:4], "big")

    def _pass_in(self) -> None:
        """What has come whole; a packet that the worker does not take yet stays."""
        while self._has_whole():
            size = int.from_bytes(self._in[:4], "big")
            channel, body = bytes(self._in[4:HEAD]), bytes(self._in[HEAD : HEAD + size])
            if channel == PACKET:
                try:
                    self.sock.send(body)
                except BlockingIOError:
                    return
                except OSError:
                    pass  # it has closed its socket: its end comes
            elif channel == SIGNAL:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, int(body))
            elif channel == DEADLINE:
                self.end = time.monotonic() + float(body)
            del self._in[: HEAD + size]

    def _collect(self, *, one_packet: bool) -> bool:
        """What the worker said: raw output first, for it was written before the packet was."""
        found = False
        for pipe, channel in list(self.pipes.items()):
            with contextlib.suppress(BlockingIOError):
                data = os.read(pipe, PIECE)
                if data:
                    self._out += frames.frame(channel, data)
                    found = True
                else:
                    del self.pipes[pipe]
        if found and one_packet:
            return True
        with contextlib.suppress(BlockingIOError, ConnectionError):
            packet = self.sock.recv(frames.MOST + 1) if self.is_open else b""
            if packet:
                self._out += frames.frame(PACKET, packet)
                return True
            self.is_open = False
        return found

    def _pass_out(self) -> None:
        if self._out:
            with contextlib.suppress(BlockingIOError):
                del self._out[: os.write(1, self._out)]

    def _reap(self) -> None:
        """Whoever has ended: orphans are ours."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.pid:
                    self.status = ended[1]

    def _tell(self, status: int) -> None:
        """The rest of what was said, then how it ended."""
        os.set_blocking(1, True)
        while self._collect(one_packet=False):
            _write(self._out)
            self._out.clear()
        said = {"code": os.waitstatus_to_exitcode(status), "memory": _was_over_memory()}
        _write(self._out + frames.frame(EXITED, json.dumps(said).encode()))


def _write(data: bytes | bytearray) -> None:
    view = memoryview(bytes(data))
    while view:
        view = view[os.write(1, view) :]


def _was_over_memory() -> bool:
    """Whether the kernel ended a process in here for its memory."""
    for path in OUT_OF_MEMORY:
        with contextlib.suppress(OSError), open(path) as file:
            for line in file:
                if line.startswith("oom_kill ") and line.split()[1] != "0":
                    return True
    return False
