"""Starts ipykernel for djsci: one file, run by the kernel's own Python, with no import of djsci.

Stock ipykernel loses output that a slow reader has not taken, buffers without bound, mixes up the
order of stdout and stderr and forgets what was printed just before `os._exit`. This wrapper keeps
every byte, in order, and makes `print` wait for the reader instead.
"""

import array
import codecs
import contextlib
import fcntl
import json
import os
import re
import select
import sys
import termios
import threading
import time
import types
from typing import Any, ClassVar

from ipykernel.iostream import OutStream
from ipykernel.kernelapp import IPKernelApp
from jupyter_client import session
from traitlets.config import Config
from zmq.constants import SocketOption, SocketType

WAITING = 32  # messages that wait on each side of the iopub connection
PENDING = 1 << 20  # characters printed but not sent; then `print` waits
PIECE = 1 << 18  # characters in one stream message
PARTIAL = 0.01  # seconds that a line waits for its end
OF_THREADS = 1.0  # the same where several threads print: one may wait long for the processor
BURST = 20.0  # lines that go out at once before they go out together
RATE = 50.0  # such lines a second
FOREVER = 10 * 365 * 86400.0
SURROGATE = re.compile("[\ud800-\udfff]")


class Printed:
    """What both streams have printed and not yet sent, in one order.

    Each thread's line waits for its end, a flush or a moment, so that lines that threads print at
    once stay whole.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.parts: list[tuple[Any, Any, list[str]]] = []
        self.size = 0
        self.is_due = False
        self._partial: dict[tuple[Any, int], tuple[Any, str, float]] = {}
        self._threads: set[int] = set()
        self._tokens = BURST
        self._counted = time.monotonic()

    def add(self, stream: "OrderedStream", parent: Any, text: str) -> None:
        thread = threading.get_ident()
        key = (stream, thread)
        with self.lock:
            self._threads.add(thread)
            for other in [one for one in self._partial if one[0] is not stream]:
                if other[1] == thread:  # its line on the other stream was first
                    self._add(other[0], *self._partial.pop(other)[:2])
            begun = self._partial.pop(key, None)
            if begun is not None:
                if begun[0] is parent:
                    text = begun[1] + text
                else:
                    self._add(stream, begun[0], begun[1])
            end = max(text.rfind("\n"), text.rfind("\r")) + 1
            if len(text) - end > PIECE:
                end = len(text)
            if end:
                self._add(stream, parent, text[:end])
            if end < len(text):
                self._partial[key] = (parent, text[end:], time.monotonic())

    def _add(self, stream: "OrderedStream", parent: Any, text: str) -> None:
        last = self.parts[-1] if self.parts else None
        if last is not None and last[0] is stream and last[1] is parent:
            last[2].append(text)
        else:
            self.parts.append((stream, parent, [text]))
        self.size += len(text)

    def end_lines(self) -> None:
        """Let this thread's unfinished lines go, and what others have left unfinished."""
        mine = threading.get_ident()
        with self.lock:
            old = time.monotonic() - (PARTIAL if len(self._threads) < 2 else OF_THREADS)
            for (stream, thread), (parent, text, since) in list(self._partial.items()):
                if thread == mine or since <= old:
                    del self._partial[stream, thread]
                    self._add(stream, parent, text)

    def take(self) -> tuple[list[tuple[Any, Any, list[str]]], bool]:
        """What is to be sent, and whether unfinished lines are left for later."""
        with self.lock:
            self.end_lines()
            parts, self.parts, self.size = self.parts, [], 0
            self.is_due = bool(self._partial)
            return parts, self.is_due

    def may_send(self) -> bool:
        """Whether a line goes out at once; in a flood lines go out together."""
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._counted) * RATE)
        self._counted = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def until_written() -> None:
    """Wait, at most 50 ms, until zmq's own thread has written what it was handed.

    Handing over wakes that thread, so once the system says that it sleeps, nothing is left to do
    for it. Where threads cannot be looked at, a short pause has to do.
    """
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        try:
            if not any(is_at_work(task) for task in os.listdir("/proc/self/task")):
                return
        except OSError:
            time.sleep(0.005)
            return
        time.sleep(0.0002)


def is_at_work(task: str) -> bool:
    """Whether this is a thread of zmq's that does not sleep."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        with open(f"/proc/self/task/{task}/stat", encoding="utf-8", errors="replace") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        return name.startswith("ZMQbg/IO") and rest.split()[0] != "S"
    return False


class OrderedStream(OutStream):  # type: ignore[misc]
    """ipykernel's stream with one order for stdout, stderr and what is written to their fds."""

    flush_interval = 0.02
    flush_timeout = FOREVER
    printed: ClassVar[Printed] = Printed()
    streams: ClassVar[list["OrderedStream"]] = []
    has_children: ClassVar[bool] = False
    is_copy: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._busy = False
        super().__init__(*args, **kwargs)
        self.streams.append(self)

    def fileno(self) -> int:
        """The captured descriptor, so that a child given this stream is heard."""
        return int(self._original_stdstream_fd)

    def write(self, string: str) -> int:
        if not isinstance(string, str):
            raise TypeError(f"write() argument must be str, not {type(string).__name__}")
        if self.is_copy:
            os.write(self._original_stdstream_fd, string.encode("utf-8", "replace"))
            return len(string)
        if self.has_children and threading.current_thread() is not self.watch_fd_thread:
            self._drain_all()
        printed = self.printed
        printed.add(self, self.parent_header, string)
        if printed.size > PENDING or (string.endswith("\n") and printed.may_send()):
            self._wait_sent()
            until_written()  # out, even if a crash comes next
        elif not printed.is_due:
            printed.is_due = True
            self.pub_thread.schedule(self._send_soon)
        return len(string)

    def flush(self) -> None:
        """Return when all that was printed before, by subprocesses too, is on its way."""
        if not self.is_copy and self.pub_thread is not None:
            self._drain_all()
            self.printed.end_lines()
            self._wait_sent()

    def _wait_sent(self) -> None:
        thread = self.pub_thread.thread
        if not thread.is_alive() or threading.current_thread() is thread:
            self._flush()
            return
        sent = threading.Event()
        schedule = self.pub_thread.schedule
        schedule(self._flush)  # itself schedules what it sends, so the mark must go behind that
        schedule(lambda: schedule(sent.set))
        sent.wait(self.flush_timeout)

    def _send_soon(self) -> None:
        self._io_loop.call_later(self.flush_interval, self._flush)

    def _flush(self) -> None:
        parts, is_more = self.printed.take()
        if is_more:
            self._send_soon()
        for stream, parent, texts in parts:
            text = "".join(texts)
            if not text.isascii():
                text = SURROGATE.sub("\ufffd", text)
            for start in range(0, len(text), PIECE):
                content = {"name": stream.name, "text": text[start : start + PIECE]}
                message = self.session.msg("stream", content, parent=parent)
                self.session.send(self.pub_thread, message, ident=stream.topic)

    def _drain_all(self) -> None:
        """Wait until what others wrote to the descriptors has been read."""
        waiting = array.array("i", [0])
        end = 0.0
        for stream in self.streams:
            while stream._fid is not None and stream.watch_fd_thread.is_alive():
                fcntl.ioctl(stream._fid, termios.FIONREAD, waiting, True)
                if not waiting[0] and not stream._busy:
                    break
                end = end or time.monotonic() + 1
                if threading.current_thread() in (s.watch_fd_thread for s in self.streams):
                    break
                if time.monotonic() > end:
                    return
                time.sleep(0.0005)

    def _watch_pipe_fd(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while self._should_watch:
            select.select([self._fid], [], [])
            self._busy = True
            try:
                data = os.read(self._fid, 1 << 16)
                if not data:
                    return
                self.write(decoder.decode(data))
            finally:
                self._busy = False


class KernelApp(IPKernelApp):  # type: ignore[misc]
    """ipykernel's application on our streams, with an iopub socket that never drops."""

    def _bind_socket(self, s: Any, port: int) -> Any:
        if s.type == SocketType.XPUB:
            s.setsockopt(SocketOption.XPUB_NODROP, 1)
            s.sndhwm = WAITING
        return super()._bind_socket(s, port)

    def init_io(self) -> None:
        super().init_io()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in OrderedStream.streams:
            os.dup2(nowhere, stream._original_stdstream_copy)
        os.close(nowhere)

    def init_kernel(self) -> None:
        super().init_kernel()
        # User code may replace what the module `json` holds: messages go on with these.
        session.json = types.SimpleNamespace(dumps=json.dumps, loads=json.loads)
        dumps, pack = json.dumps, self.session.pack

        def pack_all(value: Any) -> bytes:
            try:
                return bytes(pack(value))
            except UnicodeEncodeError:  # a lone surrogate
                return dumps(value, default=str).encode()

        self.session.pack = pack_all


def notice_children(event: str, _: Any) -> None:
    """An audit hook: from the first child on, `print` lets its output go first."""
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.exec"):
        OrderedStream.has_children = True


def flush_before_exit() -> None:
    """`os._exit` and `os.abort` of the kernel's process let what was printed out first."""
    kernel = os.getpid()

    def wrap(name: str) -> None:
        stock = getattr(os, name)

        def leave(*args: Any, **kwargs: Any) -> None:
            if os.getpid() == kernel:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    until_written()
            stock(*args, **kwargs)

        setattr(os, name, leave)

    wrap("_exit")
    wrap("abort")


def do_without_terminals(shell: Any) -> None:
    """Behind a wall that gives none, `!command` writes to the streams itself."""
    try:
        ends = os.openpty()
    except OSError:
        shell.system = shell.system_raw
        return
    for end in ends:
        os.close(end)


def forget_in_child() -> None:
    """A forked copy has not printed what its parent printed."""
    OrderedStream.is_copy = True
    OrderedStream.printed.lock = threading.RLock()
    OrderedStream.printed.take()


def main() -> None:
    config = Config()
    config.HistoryManager.enabled = False
    config.IPKernelApp.outstream_class = f"{__name__}.OrderedStream"
    config.IPKernelApp.ignore_cwd = True
    app = KernelApp.instance(config=config)
    app.initialize(sys.argv[1:])
    os.register_at_fork(after_in_child=forget_in_child)
    sys.addaudithook(notice_children)
    flush_before_exit()
    do_without_terminals(app.shell)
    app.start()


if __name__ == "__main__":
    main()
