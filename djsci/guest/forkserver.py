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
import socket
import sys
import time
import types
import warnings
from typing import Any

from . import frames, processes, worker

SETTLED = 0.5  # seconds in which a library's own short-lived thread may end


class Refused(Exception):
    """A library that the server cannot have; its name."""


def main() -> None:
    """`argv`: the guest's path, the control socket's descriptor, the names to import as JSON."""
    stay_in_front()
    control = socket.socket(fileno=int(sys.argv[2]))
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        shell = prepare(json.loads(sys.argv[3]))
    except Refused as refused:
        control.send(b"".join(frames.message({"type": "refused", "name": str(refused)})))
        return
    Server(control, shell).serve()


def prepare(preload: list[str]) -> Any:
    """Import everything that runs want; the notebook's shell, None without IPython."""
    processes.adopt_orphans()
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm falls back to text
    shell = None
    with contextlib.suppress(ImportError):
        from . import shell as shells

        shell = shells.make()
        with contextlib.suppress(ImportError):
            importlib.import_module("matplotlib_inline.backend_inline")
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        if not _has_one_thread():
            raise Refused(name)
    gc.collect()
    gc.freeze()
    return shell


def _has_one_thread() -> bool:
    end = time.monotonic() + SETTLED
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def stay_in_front() -> None:
    """Fork; go on in the child. The parent waits for its end and kills what it left."""
    processes.adopt_orphans()
    front = os.getpid()
    server = os.fork()
    if server == 0:
        processes.die_with(front)
        return
    os.closerange(3, 64)
    while os.wait()[0] != server:
        pass
    processes.kill_children(but=set(), seconds=5.0)
    os._exit(0)


def remove_folder() -> None:
    """The engine's folder, unless its owner lives and holds it: he removes it himself."""
    with contextlib.suppress(OSError), open(".lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(os.getcwd(), ignore_errors=True)


class Server:
    """Forks a worker at each request and says how it ended. No run's data passes through it."""

    def __init__(self, control: socket.socket, shell: Any) -> None:
        self.control = control
        self.shell = shell
        self.workers: dict[int, tuple[int, int]] = {}  # pid -> (the worker's number, its pidfd)
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Until the other side is gone; then nothing is left."""
        self.selector.register(self.control, selectors.EVENT_READ)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._say({"type": "ready", "pid": os.getpid()})
        with contextlib.suppress(ConnectionError):
            while self._turn():
                pass
        processes.kill_children(but=set())
        remove_folder()

    def _turn(self) -> bool:
        for key, _ in self.selector.select():
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
            case "signal":
                self._signal(request)
            case "quit":
                return False
        return True

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self.selector.close()
                self.control.detach()
                worker.become(parent, *descriptors)
                worker.serve(self.shell, request["folder"])
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self.workers[pid] = (request["id"], pidfd)
        self.selector.register(pidfd, selectors.EVENT_READ, pid)
        self._say({"type": "forked", "id": request["id"], "pid": pid}, pidfd)

    def _signal(self, request: dict[str, Any]) -> None:
        for pid, (number, _) in self.workers.items():
            if number == request["id"]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, request["signal"])

    def _end(self, pid: int) -> None:
        """A worker ended: what it left behind is ours now, and ends too."""
        number, pidfd = self.workers.pop(pid)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(pid, 0)
        is_gone = processes.kill_children(but=set(self.workers))
        self._say(
            {
                "type": "exited",
                "id": number,
                "code": os.waitstatus_to_exitcode(status),
                "gone": is_gone,
                "cpu": usage.ru_utime + usage.ru_stime,
                "peak": usage.ru_maxrss << 10,
            }
        )

    def _say(self, values: dict[str, Any], *descriptors: int) -> None:
        [packet] = frames.message(values)
        socket.send_fds(self.control, [packet], descriptors)
