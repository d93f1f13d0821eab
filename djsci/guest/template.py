"""A template: a worker that has loaded its file once and forks a worker for each call of it."""

import contextlib
import fcntl
import gc
import os
import resource
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from . import processes, shared, worker
from .forkserver import SETTLED, Server
from .run import Run
from .traces import Ground, Traces, remove, remove_ipc

CALLS = ".calls"
OWN = (CALLS, ".ipython", ".matplotlib", "__pycache__")  # in the folder, but not a call's to see
HOMES = ("HOME", "IPYTHONDIR", "MPLCONFIGDIR")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class InstanceRefused(Exception):
    """Loading left what cannot be forked."""


class Template(Server):
    """Loads a run's file; then its socket is the one on which calls are asked for."""

    def __init__(self, run: Run, folder: str, level: Any) -> None:
        fork = level._replace(has_init=False, fork=os.fork)  # the wall's first process is there
        super().__init__(run.channel.sock, run.shell, fork)
        self.run = run
        self.folder = folder
        self.calls = os.path.join(folder, CALLS)
        self.began: dict[int, float] = {}  # when the call of each number began
        self.shown: list[str] = []
        self.shared: list[shared.Mapping] = []
        self.signals: dict[signal.Signals, Any] = {}
        own = run.head["own"]
        folders = (folder, *own["folders"])
        self.ground = Ground(folders, self.calls, owns_ipc=bool(own["ipc"]))

    def load(self) -> None:
        """Play the load as a run of its own; serve calls when that went well."""
        run = self.run
        run.set_up()
        run.begin(is_hard=False)
        is_well = run.attempt(run.load)
        run.wait_leftovers(shows=is_well)
        is_well = is_well and run.attempt(self._check)
        if is_well:
            self._settle()
        run.end()
        if is_well:
            self.serve()

    def _check(self) -> bool:
        """Raises `InstanceRefused` that names what a fork would break, or calls would share."""
        _stop_monitor()
        self.shared = shared.mappings()
        for left in (_threads(), _processes(), shared.refused(self.shared)):
            if left:
                raise InstanceRefused(
                    f'Loading this file left {left}, and with the setting instance = "warm" every '
                    "call is forked from what was loaded. Start that in the handler, or set "
                    'instance to "fresh".'
                )
        return True

    def _settle(self) -> None:
        """Ready to be forked from; as it is now, each call finds it."""
        self.run.close_loop()
        if database := sys.modules.get("django.db"):
            database.connections.close_all()
        os.chdir(self.folder)
        os.makedirs(self.calls, 0o700, exist_ok=True)
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        self.signals = {number: signal.getsignal(number) for number in SIGNALS}
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self.ground.owns_ipc:
            remove_ipc()
        self.shown = sorted(set(os.listdir(self.folder)) - set(OWN))
        self.run.channel.flush()
        self.run.channel.keeps_order = False  # nothing is printed here any more
        gc.collect()
        gc.freeze()
        self.traces = Traces(self.ground)

    def begin(self, request: dict[str, Any], descriptors: list[int], _: int, parent: int) -> None:
        """In the fork: become a worker of its own, in a folder of its own; play the call."""
        kept = {fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > worker.RUN}
        known = {descriptor for child in self.workers.values() for descriptor in child[1:]}
        for descriptor, place in zip(descriptors, (worker.RUN, 1, 2), strict=True):
            os.dup2(descriptor, place, inheritable=place < worker.RUN)
        for descriptor in {*descriptors, *known} & kept:
            os.close(descriptor)
        worker.stand_alone()
        processes.die_with(parent)
        processes.adopt_orphans()
        for number, handler in self.signals.items():
            if handler is not None:
                signal.signal(number, handler)
        folder = self._furnish(int(request["id"]))
        self.level.confine(folder, int(request["pids"]))
        for descriptor in {0, *kept} - {*descriptors, *known}:
            _reopen(descriptor)
        channel = self.run.channel
        channel.renew(socket.socket(fileno=worker.RUN))
        shared.copy(self.shared)
        worker.reseed()
        head = worker.greet(channel, Path(folder))
        call = Run(channel, self.shell, head, Path(self.folder))
        call.folder = Path(folder)
        call.namespace = self.run.namespace
        if self.shell is not None:
            self.shell.begin(channel, call.entry)
        call.begin()
        call.attempt(call.finish)
        call.wait_leftovers(shows=True)
        call.end()
        os._exit(0)

    def _furnish(self, number: int) -> str:
        """A call's own folder, in which it finds what is in the template's."""
        folder = os.path.join(self.calls, str(number))
        os.mkdir(folder, 0o700)
        for name in self.shown:
            os.symlink(os.path.join(self.folder, name), os.path.join(folder, name))
        os.chdir(folder)
        for name in HOMES:
            value = os.environ.get(name, "")
            if value == self.folder or value.startswith(self.folder + os.sep):
                os.environ[name] = folder + value[len(self.folder) :]
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = None
        return folder

    def on_begin(self, number: int) -> None:
        self.began[number] = time.time()

    def on_end(self, number: int) -> dict[str, Any]:
        """Nothing of a call is found by one that begins after it."""
        self.began.pop(number, None)
        remove(os.path.join(self.calls, str(number)))
        oldest = min(self.began.values(), default=None)
        is_intact = self.traces.remove(before=oldest)
        if not self.began:
            remove_all(self.calls)
        return {"intact": is_intact}


def remove_all(folder: str) -> None:
    """Empty a folder."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            remove(os.path.join(folder, name))


def _stop_monitor() -> None:
    """tqdm's own thread comes back when it is wanted."""
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("tqdm"):
            thread.exit()  # type: ignore[attr-defined]


def _threads() -> str:
    """The names of the threads beside this one; those of C code as the system has them.

    The system may have one for a moment that Python has joined.
    """
    known = {thread.native_id: thread.name for thread in threading.enumerate()[1:]}
    end = time.monotonic() + SETTLED
    while (found := _tasks()).keys() - known.keys() and time.monotonic() < end:
        time.sleep(0.01)
    names = [known.get(number, found[number]) for number in sorted(found)]
    return f"threads ({', '.join(names)})" if names else ""


def _tasks() -> dict[int, str]:
    """What the system calls the threads beside the first one."""
    found = {}
    for number in map(int, os.listdir("/proc/self/task")):
        if number != os.getpid():
            with contextlib.suppress(OSError):
                found[number] = Path(f"/proc/self/task/{number}/comm").read_text().strip()
    return found


def _processes() -> str:
    names = []
    for pid in sorted(processes.children()):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
            if state[2][:1] == "Z":
                os.waitpid(pid, os.WNOHANG)
            else:
                names.append(state[0].partition("(")[2])
    return f"processes ({', '.join(names)})" if names else ""


def _reopen(descriptor: int) -> None:
    """An open file of the template's, with a place in it of its own; nothing in place of others.

    The number stays taken: an object that closes it later must not close something else.
    """
    path = f"/proc/self/fd/{descriptor}"
    opened = -1
    with contextlib.suppress(OSError):
        mode = os.fstat(descriptor).st_mode
        is_inheritable = os.get_inheritable(descriptor)
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISCHR(mode):
            opened = _open_again(path, fcntl.fcntl(descriptor, fcntl.F_GETFL))
            with contextlib.suppress(OSError):
                os.lseek(opened, os.lseek(descriptor, 0, os.SEEK_CUR), os.SEEK_SET)
    if opened < 0:
        opened, is_inheritable = os.open(os.devnull, os.O_RDWR), False
    os.dup2(opened, descriptor, inheritable=is_inheritable)
    os.close(opened)


def _open_again(path: str, flags: int) -> int:
    """For writing only where the call may write to it; memory without a name for reading."""
    if not os.readlink(path).startswith("/memfd:"):
        with contextlib.suppress(OSError):
            return os.open(path, flags & (os.O_ACCMODE | os.O_APPEND))
    return os.open(path, os.O_RDONLY)
