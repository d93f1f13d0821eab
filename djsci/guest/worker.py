"""A worker: a process that takes one run from its socket, plays it and says what happens."""

import asyncio
import builtins
import concurrent.futures.thread
import contextlib
import gc
import json
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from . import api, call, frames, processes, rehearsal, results
from .output import Channel
from .requests import HandlerRequest

LEFTOVERS = 1.0  # seconds that threads and tasks get after the handler has returned
RUN = 3  # the descriptor of the run's socket


def become(run: int, out: int, err: int, *more: int) -> int | None:
    """In the fork: nothing of the server's is kept open; a session and a group of its own.

    Returns the number that the first of `more`, which is kept too, has now.
    """
    nothing = os.open(os.devnull, os.O_RDONLY)
    kept = (nothing, out, err, run, *more)
    # First out of the way of the numbers from 0 on, then onto them.
    moved = [os.dup2(fd, 100 + place) for place, fd in enumerate(kept)]
    for place, descriptor in enumerate(moved):
        os.dup2(descriptor, place, inheritable=place < RUN)
    os.closerange(len(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.setsid()
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return RUN + 1 if more else None


def serve(shell: Any, folder: str, *, rehearses: bool = False) -> None:
    """Say hello, wait for the run, play it; does not return. A worker that waits may rehearse."""
    processes.adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    os.environ.update(HOME=folder, IPYTHONDIR=f"{folder}/.ipython")
    tempfile.tempdir = None  # found anew: it may be another one in here
    channel = Channel(socket.socket(fileno=RUN))
    channel.install()
    _reseed()
    gc.enable()
    if rehearses:
        rehearsal.rehearse(shell, Path(folder))
    channel.send({"type": "hello", "v": frames.VERSION, "pid": os.getpid()})
    head = _receive(channel.sock, Path(folder))
    Run(channel, shell, head, Path(folder)).play()
    os._exit(0)


def _reseed() -> None:
    """Two forks of one process would draw the same numbers."""
    random.seed()
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def _receive(sock: socket.socket, folder: Path) -> dict[str, Any]:
    """The run; its files are written, for reading only."""
    assembly = frames.Assembly(1 << 40)
    while True:
        data = sock.recv(frames.MOST)
        if not data:
            os._exit(0)  # nobody needed this worker
        kind, body = frames.parse(data)
        name = ""
        if kind == frames.BYTES:
            whole = assembly.add(body)
            if whole is None:
                continue
            name, body = whole
        if name.startswith("file:"):
            path = folder / name.removeprefix("file:")
            path.write_bytes(body)
            path.chmod(0o444)
            continue
        head: dict[str, Any] = json.loads(body)
        if head["type"] == "run":
            if head["v"] != frames.VERSION:
                raise frames.BadFrame(f"version {head['v']}, this is {frames.VERSION}")
            return head


class Run:
    """What this process was made for."""

    def __init__(self, channel: Channel, shell: Any, head: dict[str, Any], folder: Path) -> None:
        self.channel = channel
        self.shell = shell
        self.head = head
        self.request = HandlerRequest.from_dict(head["request"])
        self.entry = folder / head["name"]
        self.given: dict[str, Any] | None = None
        self.value: Any = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def play(self) -> None:
        """From the first cell to `done`."""
        self._set_up()
        is_well = False
        try:
            is_well = self._notebook() if self.head["kind"] == "ipynb" else True
            if is_well:
                self._finish()
        except BaseException as error:
            self._end_copy()
            with contextlib.suppress(KeyboardInterrupt):
                self.channel.send(self._error(error))
        self._end_copy()
        with contextlib.suppress(KeyboardInterrupt):
            self._wait_leftovers()
            if is_well and self.shell is not None:
                self.shell.events.trigger("post_execute")  # figures that were not shown yet
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.channel.end_lines()
        self.channel.send({"type": "done"})

    def _set_up(self) -> None:
        seconds = int(self.head["cpu"])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        folder = str(self.entry.parent)
        hidden = {"", folder, *self.head["hidden"]}
        sys.path[:] = [path for path in sys.path if path not in hidden]
        sys.path.append(folder)  # last: a companion shadows nothing
        builtins.exit = builtins.quit = _exit  # type: ignore[assignment]
        sys.argv[:] = [str(self.entry)]
        if self.shell is not None:
            self.shell.begin(self.channel, self.entry)
        api.install(
            api.Channel(
                send=self.channel.send,
                request=self.request,
                is_cancelled=self.channel.is_stopped,
                on_result=None if self.head["has_handler"] else self._give,
            )
        )

    def _notebook(self) -> bool:
        """Play the cells; False when one ended the run."""
        if self.shell is None:
            raise RuntimeError("Notebooks need IPython, which is not installed here.")
        cells, namespace = self.head["cells"], self.shell.user_ns
        wants = not self.head["has_handler"]
        tagged = [cell["index"] for cell in cells if "parameters" in cell["tags"]][:1]
        if wants and not tagged:
            namespace.update(self.request.parameters)
        for cell in cells:
            is_run = cell["text"].strip() and "skip-execution" not in cell["tags"]
            if is_run and not self._cell(cell):
                return False
            if wants and tagged == [cell["index"]]:
                namespace.update(self.request.parameters)
        return True

    def _cell(self, cell: dict[str, Any]) -> bool:
        mark = {"type": "cell", "index": cell["index"], "count": len(self.head["cells"])}
        if self.channel.is_stopped():
            raise KeyboardInterrupt
        self.channel.send({**mark, "state": "start"})
        may_fail = "raises-exception" in cell["tags"]
        self.value, is_well = self.shell.play(cell["text"], cell["index"], may_fail=may_fail)
        self._end_copy()
        self.channel.send({**mark, "state": "error" if self.shell.has_error else "done"})
        self.shell.cell = None
        return bool(is_well)

    def _finish(self) -> None:
        """Call the handler, or take the last cell's value."""
        if self.channel.is_stopped():
            raise KeyboardInterrupt
        if self.head["has_handler"]:
            is_module = self.head["kind"] == "py"
            namespace = vars(call.load_module(self.entry)) if is_module else self.shell.user_ns
            call.call(
                namespace,
                self.request,
                send=self._send_unless_copy,
                await_=self._await,
                result_limit=self.head["result_limit"],
            )
        else:
            self._give_value()

    def _send_unless_copy(self, frame: dict[str, Any]) -> None:
        self._end_copy()
        self.channel.send(frame)

    def _give(self, value: Any) -> None:
        try:
            self.given = call.result_frame(value, limit=self.head["result_limit"])
        except results.ResultRefused as refused:
            raise type(refused.ename, (ValueError,), {})(str(refused)) from None

    def _give_value(self) -> None:
        frame = self.given
        if frame is None:
            try:
                frame = call.result_frame(self.value, limit=self.head["result_limit"])
            except results.ResultRefused:
                frame = call.result_frame(None, limit=4)
        self._send_unless_copy(frame)

    def _await(self, coroutine: Any) -> Any:
        """Run a coroutine to its end, on the loop that ran the cells' awaits."""
        if self.loop is None:
            self.loop = self._cells_loop()
            asyncio.set_event_loop(self.loop)
        return self.loop.run_until_complete(coroutine)

    def _cells_loop(self) -> asyncio.AbstractEventLoop:
        if self.shell is None:
            return asyncio.new_event_loop()
        from IPython.core.async_helpers import get_asyncio_loop

        loop: asyncio.AbstractEventLoop = get_asyncio_loop()
        return loop

    def _error(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, results.ResultRefused):
            return {"type": "error", "ename": error.ename, "evalue": str(error)}
        entry: dict[str, int | None] = {str(self.entry): 1}
        if self.head["kind"] == "ipynb" and self.shell is not None:
            entry = self.shell.places()
        return call.describe(error, entry=entry)

    def _end_copy(self) -> None:
        """A fork that returned from user code ends here: it is not the run."""
        if self.channel.is_copy:
            with contextlib.suppress(Exception):
                self.channel.flush()
            os._exit(0)

    def _wait_leftovers(self) -> None:
        """Threads and tasks that the handler left get a moment; what they print is kept."""
        end = time.monotonic() + LEFTOVERS
        loop = self.loop or (self._cells_loop() if "asyncio" in sys.modules else None)
        while time.monotonic() < end:
            tasks = asyncio.all_tasks(loop) if loop is not None else set()
            if not tasks and not any(map(_is_left, threading.enumerate())):
                return
            if tasks and loop is not None:
                with contextlib.suppress(Exception):
                    loop.run_until_complete(asyncio.wait(tasks, timeout=0.02))
            else:
                time.sleep(0.005)


def _is_left(thread: threading.Thread) -> bool:
    if thread is threading.main_thread() or type(thread).__module__.startswith("tqdm"):
        return False  # tqdm's monitor sleeps for ever
    return thread not in concurrent.futures.thread._threads_queues  # an idle worker of a pool


def _exit(*code: Any) -> None:
    raise SystemExit(*code)
