"""What a worker says: prints, displays and frames in one order on the run's socket."""

import codecs
import fcntl
import io
import os
import socket
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

from . import frames

CHILDREN = frozenset({"subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.forkpty"})
THREADS = frozenset({"_thread.start_new_thread", "_thread.start_joinable_thread"})
PARTIAL = 1 << 13  # characters of a line that has no end yet
TAKEN = 1.0  # seconds that a child waits until what was printed before it has been read


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """U+FFFD for what UTF-8 has no bytes for: lone surrogates."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"\xef\xbf\xbd" * (error.end - error.start), error.end


codecs.register_error("djsci", _replaced)


class Channel:
    """The run's socket. Each frame is one packet: an interrupt never leaves half of one."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pid = os.getpid()
        self.lock = threading.RLock()
        self.files = 0
        self.pipes = {1: _identity(1), 2: _identity(2)}
        self.keeps_order = True  # whether a child waits until what was printed has been read
        self.stdout = _text(self, frames.STDOUT, 1)
        self.stderr = _text(self, frames.STDERR, 2)

    @property
    def is_copy(self) -> bool:
        """Whether this is a fork of the worker, whose words are not the run's."""
        return os.getpid() != self.pid

    def install(self) -> None:
        """Make it this process's stdout and stderr."""
        sys.stdout = sys.__stdout__ = self.stdout  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self.stderr  # type: ignore[misc]
        os.register_at_fork(after_in_child=self._forget)
        sys.addaudithook(self._notice)
        os.write = self._write

    def renew(self, sock: socket.socket) -> None:
        """In a fork that is a run of its own: who holds `sys.stdout` now writes to `sock`."""
        self.sock, self.pid, self.keeps_order = sock, os.getpid(), True
        self.pipes = {1: _identity(1), 2: _identity(2)}

    def send(self, values: dict[str, Any]) -> None:
        """Send an object after everything that was printed."""
        if self.is_copy:
            return
        packets = list(frames.message(values))
        with self.lock:
            self.flush()
            for packet in packets:
                self.sock.sendall(packet)

    def send_bytes(self, name: str, pieces: Iterator[bytes]) -> None:
        """Send an artifact: no two have the same number, so none is joined with a broken one."""
        if self.is_copy:
            return
        self.files += 1
        for packet in frames.stream(f"{frames.ARTIFACT}{self.files}:{name}", pieces):
            with self.lock:
                self.flush()
                self.sock.sendall(packet)

    def is_stopped(self) -> bool:
        """Whether the run was asked to stop: after `run`, only that is ever sent here."""
        try:
            seen = self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return False
        return bool(seen) and not self.is_copy

    def flush(self) -> None:
        """Let unfinished lines out."""
        self.stdout.flush()
        self.stderr.flush()

    def end_lines(self) -> None:
        """Let out what threads have left unfinished."""
        for stream in (self.stdout, self.stderr):
            stream.end_lines()
        self.flush()

    def _forget(self) -> None:
        self.lock = threading.RLock()
        self.sock.close()

    def _notice(self, event: str, _: Any) -> None:
        """Before a child starts: order holds. Before a thread does: lines stay whole."""
        if event in CHILDREN and not self.is_copy and self.keeps_order:
            self._settle()
        elif event in THREADS:
            self.stdout.__class__ = self.stderr.__class__ = _LinesOfThreads

    def _write(self, descriptor: int, data: Any, *, stock: Any = os.write) -> int:
        """os.write: what goes past `sys.stdout` comes after what was printed too."""
        if descriptor in (1, 2) and not self.is_copy:
            self._settle()
        return int(stock(descriptor, data))

    def _settle(self) -> None:
        """Wait until all that was printed, and written to the pipes, has been read."""
        self.flush()
        end = time.monotonic() + TAKEN
        while time.monotonic() < end and any(map(self._is_waiting, (self.sock.fileno(), 1, 2))):
            time.sleep(0.0002)

    def _is_waiting(self, descriptor: int) -> bool:
        """Whether something of ours is unread there; the user may have put a file in its place."""
        if descriptor in self.pipes and self.pipes[descriptor] != _identity(descriptor):
            return False
        waiting = bytearray(4)
        is_pipe = descriptor in self.pipes
        fcntl.ioctl(descriptor, termios.FIONREAD if is_pipe else termios.TIOCOUTQ, waiting)
        return any(waiting)


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:  # closed
        return None
    return found.st_dev, found.st_ino


class _Raw(io.BufferedIOBase):
    """The bytes below a text stream: each write is a frame."""

    def __init__(self, channel: Channel, kind: bytes, descriptor: int) -> None:
        self.channel = channel
        self.kind = kind
        self.descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        channel = self.channel
        if channel.is_copy:
            os.write(self.descriptor, data)
            return len(data)
        data = bytes(data)
        with channel.lock:
            other = channel.stderr if self.descriptor == 1 else channel.stdout
            other.flush()
            for start in range(0, len(data), frames.PART):
                channel.sock.sendall(frames.frame(self.kind, data[start : start + frames.PART]))
        return len(data)


class _Lines(io.TextIOWrapper):
    """A text stream; its `write` is the C one while there is one thread."""

    def __init__(self, raw: Any) -> None:
        super().__init__(raw, encoding="UTF-8", errors="djsci", line_buffering=True)
        self.begun: dict[int, str] = {}  # by thread: its line, as far as it is

    def end_lines(self) -> None:
        for thread in list(self.begun):
            super().write(self.begun.pop(thread, ""))


class _LinesOfThreads(_Lines):
    """The same with several threads: each one's line waits for its end, so lines stay whole."""

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        whole = self.begun.pop(thread, "") + text
        end = max(whole.rfind("\n"), whole.rfind("\r")) + 1
        if len(whole) - end > PARTIAL:
            end = len(whole)
        if end < len(whole):
            self.begun[thread] = whole[end:]
        if end:
            super().write(whole[:end])
        return len(text)

    def flush(self) -> None:
        begun = self.begun.pop(threading.get_ident(), "")
        if begun:
            super().write(begun)
        super().flush()


def _text(channel: Channel, kind: bytes, descriptor: int) -> _Lines:
    stream = _Lines(_Raw(channel, kind, descriptor))
    stream.mode = "w"  # type: ignore[misc]
    return stream
