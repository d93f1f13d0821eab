"""The fork server: one thread that has everything imported and forks ready workers."""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import site
import socket
import struct
import sys
import time
import traceback
import types
import warnings
from typing import Any, NamedTuple

from . import fonts, frames, memory, processes, rehearsal, worker

SETTLED = 0.5  # seconds in which a library's own short-lived thread may end


class Refused(Exception):
    """A library that the server cannot have; its name."""


def main(level: Any) -> None:
    """`argv` ends in the control socket's descriptor and the options as JSON.

    `level` walls a child in, given the request for it, and says where the run works.
    """
    if not level.has_init:  # else the wall's own first process does this
        processes.stay_in_front()
    control, options = socket.socket(fileno=int(sys.argv[-2])), json.loads(sys.argv[-1])
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        shell = prepare(options["preload"])
    except Refused as refused:
        with contextlib.suppress(ConnectionError):
            control.send(b"".join(frames.message({"type": "refused", "name": str(refused)})))
        return
    level.prepare()
    rehearsal.in_server(shell, options["preload"])
    gc.collect()
    gc.freeze()
    memory.collapse()
    Server(control, shell, level).serve()
    remove_folder()


def prepare(preload: list[str], *, may_have_threads: bool = False) -> Any:
    """Import everything that runs want; the notebook's shell, None without IPython.

    Raises `Refused`: who has a second thread may not fork.
    """
    processes.adopt_orphans()
    importlib.import_module(f"{__package__}.template")  # not there for who has a /tmp of his own
    fonts.take()
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm falls back to text
    shell = None
    with contextlib.suppress(ImportError):
        from . import shell as shells

        shell = shells.make()
        with contextlib.suppress(ImportError):
            importlib.import_module("matplotlib_inline.backend_inline")
    for name in preload:
        _load(name)
        if not (may_have_threads or _has_one_thread()):
            raise Refused(name)
    return shell


def enter(program: str) -> Any:
    """Go on as the Python of another environment, which has this version; the notebook's shell."""
    sys.executable = program
    sys.prefix = sys.exec_prefix = os.path.dirname(os.path.dirname(program))
    site.main()
    return prepare([], may_have_threads=True)


def _load(name: str) -> None:
    """Import a library, if it is here; `module:function` is called too, and must be."""
    module, _, function = name.partition(":")
    if function:
        getattr(importlib.import_module(module), function)()
        return
    with contextlib.suppress(ImportError):
        importlib.import_module(module)


def _has_one_thread() -> bool:
    end = time.monotonic() + SETTLED
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def remove_folder() -> None:
    """The engine's folder, unless its owner lives and holds it: he removes it himself."""
    with contextlib.suppress(OSError), open(".lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(os.getcwd(), ignore_errors=True)
        os.chdir("/")  # what libraries do at the exit needs a folder


class Child(NamedTuple):
    """A worker, or its run's first process, which writes the worker's status to `heard`."""

    number: int
    pidfd: int
    heard: int


class Server:
    """Forks a worker at each request and says how it ended. No run's data passes through it."""

    def __init__(self, control: socket.socket, shell: Any, level: Any) -> None:
        self.control = control
        self.shell = shell
        self.level = level
        self.workers: dict[int, Child] = {}  # by pid
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Until the other side is gone; then nothing is left."""
        self.selector.register(self.control, selectors.EVENT_READ)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with contextlib.suppress(ConnectionError):
            self._say({"type": "ready"})
            while self._turn():
                pass
        processes.kill_children(but=set())

    def _turn(self) -> bool:
        # The ends come first: what begins now finds nothing of them.
        heard = [key for key, _ in self.selector.select()]
        for key in sorted(heard, key=lambda key: key.fileobj is self.control):
            if key.fileobj is self.control:
                if not self._take():
                    return False
            else:
                self._end(key.data)
        return True

    def _take(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self.control, frames.MOST, 4)
        if not data:
            return False
        request = json.loads(frames.parse(data)[1])
        match request["type"]:
            case "fork":
                self._fork(request, descriptors)
            case "kill":
                self._kill(request["id"])
        return True

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> None:
        parent = os.getpid()
        heard, report = os.pipe() if self.level.has_init else (-1, -1)
        pid = self.level.fork()
        if pid == 0:
            try:
                self.selector.close()
                self.control.detach()
                self.begin(request, descriptors, report, parent)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        for descriptor in (*descriptors, *([report] if report >= 0 else [])):
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self.workers[pid] = Child(request["id"], pidfd, heard)
        self.selector.register(pidfd, selectors.EVENT_READ, pid)
        self.on_begin(request["id"])

    def begin(
        self, request: dict[str, Any], descriptors: list[int], report: int, parent: int
    ) -> None:
        """In the fork: become a worker and serve a run; does not return."""
        kept = worker.become(*descriptors, *([report] if report >= 0 else []))
        folder = self.level(request, report=kept)
        processes.die_with(1 if self.level.has_init else parent)
        if sys.flags.no_site:  # the environment is the user's: here, in the wall, it may be met
            worker.settle(folder)
            self.shell = enter(request["program"])
        worker.serve(self.shell, folder, self.level, rehearses=request["rehearses"])

    def on_begin(self, number: int) -> None:
        """A worker was forked."""

    def on_end(self, number: int) -> dict[str, Any]:
        """Nothing of a worker lives any more; what else is to be said of its end."""
        return {}

    def _kill(self, number: int) -> None:
        """End a child that is not yet, or no longer, its owner's to end."""
        for pid, child in self.workers.items():
            if child.number == number:
                os.kill(pid, signal.SIGKILL)

    def _end(self, pid: int) -> None:
        """A worker ended: what it left behind is ours now, and ends too."""
        child = self.workers.pop(pid)
        self.selector.unregister(child.pidfd)
        os.close(child.pidfd)
        _, status, usage = os.wait4(pid, 0)
        if child.heard >= 0:
            said = os.read(child.heard, 4)
            os.close(child.heard)
            (status,) = struct.unpack("i", said) if said else (signal.SIGKILL,)
        is_gone = processes.kill_children(but=set(self.workers))
        self._say(
            {
                "type": "exited",
                "id": child.number,
                "code": os.waitstatus_to_exitcode(status),
                "gone": is_gone,
                "cpu": usage.ru_utime + usage.ru_stime,
                "peak": usage.ru_maxrss << 10,
                **self.on_end(child.number),
            }
        )

    def _say(self, values: dict[str, Any]) -> None:
        [packet] = frames.message(values)
        self.control.send(packet)
