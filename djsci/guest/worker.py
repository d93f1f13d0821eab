"""A worker: a process that takes one run from its socket and plays it."""

import fcntl
import gc
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import frames, network, processes, rehearsal
from .artifacts import LOCAL
from .output import Channel
from .run import Run

RUN = 3  # the descriptor of the run's socket


def become(run: int, out: int, err: int, *more: int) -> int | None:
    """In the fork: nothing of the server's is kept open; a session and a group of its own.

    Returns the number that the first of `more`, which is kept too, has now.
    """
    nothing = os.open(os.devnull, os.O_RDONLY)
    kept = (nothing, out, err, run, *more)
    # First out of the way of the numbers from 0 on, then onto them; never over one another.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, len(kept)) for fd in kept]
    for place, descriptor in enumerate(moved):
        os.dup2(descriptor, place, inheritable=place < RUN)
    os.closerange(len(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    stand_alone()
    return RUN + 1 if more else None


def stand_alone() -> None:
    """A session and a group of our own, and the signals as they are by default."""
    os.setsid()
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def serve(shell: Any, folder: str, level: Any, *, rehearses: bool = False) -> None:
    """Say hello, wait for the run, play it; does not return. A worker that waits may rehearse."""
    processes.adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    settle(folder)
    channel = Channel(socket.socket(fileno=RUN))
    channel.install()
    reseed()
    gc.enable()
    if rehearses:
        rehearsal.rehearse(shell, Path(folder))
    head = greet(channel, Path(folder))
    network.reach(channel.sock, head["reach"], channel.send)
    run = Run(channel, shell, head, Path(folder))
    if run.head["part"] == "load":
        from .template import Template

        Template(run, folder, level).load()
    else:
        run.play()
    os._exit(0)


def settle(folder: str) -> None:
    """Make `folder` the place where everything is."""
    os.chdir(folder)
    os.environ["IPYTHONDIR"] = f"{folder}/.ipython"
    if LOCAL not in os.environ:
        os.environ["HOME"] = folder
    tempfile.tempdir = None  # found anew: it may be another one in here


def greet(channel: Channel, folder: Path) -> dict[str, Any]:
    """Say hello and wait for the run; its files are written to `folder`, for reading only."""
    channel.send({"type": "hello", "v": frames.VERSION, "pid": os.getpid()})
    return _receive(channel.sock, folder)


def reseed() -> None:
    """Two forks of one process would draw the same numbers; Python's own `random` sees to it."""
    tempfile._name_sequence = None  # type: ignore[attr-defined]
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def _receive(sock: socket.socket, folder: Path) -> dict[str, Any]:
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
            if LOCAL not in os.environ:
                path.chmod(0o444)
            else:  # a change at once would not be seen: file systems count time in milliseconds
                os.utime(path, times=(time.time() - 1,) * 2)
            continue
        head: dict[str, Any] = json.loads(body)
        if head["type"] == "run":
            if head["v"] != frames.VERSION:
                raise frames.BadFrame(f"version {head['v']}, this is {frames.VERSION}")
            return head
