"""What calls of one template leave in the system, found and removed before the next call."""

import contextlib
import ctypes
import itertools
import os
import resource
import secrets
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MARGIN = 0.1  # seconds that a file's time may be behind the clock
REMOVE = 0  # IPC_RMID
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


class Ground(NamedTuple):
    """Where a template and its calls may leave something that is theirs alone."""

    folders: tuple[str, ...]
    calls: str  # the folder, in one of them, of the calls' own folders
    owns_ipc: bool  # the SysV objects of this user, or of this namespace, are ours


class Traces:
    """Knows what was there when the template was loaded."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.files = dict(_look(ground))
        self.condition = _condition()

    def remove(self, *, before: float | None) -> bool:
        """Remove what calls left, whatever is of a time `before` where some still run.

        False when what the template itself has was changed: it is not what it was.
        """
        is_intact = True
        found = dict(_look(self.ground))
        for path, (key, changed) in found.items():
            known = self.files.get(path)
            if known is None and (before is None or changed < before - MARGIN):
                remove(path)
            elif known is not None and known[0] != key:
                is_intact = False
        if self.ground.owns_ipc:
            remove_ipc(before)
        return is_intact and self.files.keys() <= found.keys() and self.condition == _condition()


def _look(ground: Ground) -> Iterator[tuple[str, tuple[object, float]]]:
    """Every path with what tells its state, and when that last changed."""
    waiting = list(ground.folders)
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.path == ground.calls:
                    continue
                with contextlib.suppress(OSError):
                    state = entry.stat(follow_symlinks=False)
                    key: tuple[object, ...] = (state.st_ino, state.st_mode)
                    if stat.S_ISDIR(state.st_mode):
                        waiting.append(entry.path)
                    else:
                        key = (*key, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
                    yield entry.path, (key, state.st_ctime)


def _condition() -> tuple[object, ...]:
    """What one process may change of another one of its user."""
    limits = tuple(resource.getrlimit(what) for what in _LIMITS)
    order = (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
    return (*limits, *order, frozenset(os.sched_getaffinity(0)))


def remove(path: str) -> None:
    """Remove a file, or a folder however deep it is and whatever rights it lacks."""
    numbers, waiting = itertools.count(), [path]
    beside = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.")
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(os.lstat(one).st_mode):
                os.unlink(one)
                continue
            os.chmod(one, 0o700)
            for name in os.listdir(one):
                below = os.path.join(one, name)
                with contextlib.suppress(OSError):
                    if stat.S_ISDIR(os.lstat(below).st_mode):
                        os.chmod(below, 0o700)
                        moved = f"{beside}{next(numbers)}"  # brought up: no path grows too long
                        os.rename(below, moved)
                        waiting.append(moved)
                    else:
                        os.unlink(below)
            os.rmdir(one)


def remove_ipc(before: float | None = None) -> None:
    """Remove this user's SysV shared memory, semaphores and queues, last changed `before`."""
    system = ctypes.CDLL(None)
    for kind, name, control, arguments in (
        ("shm", "shmid", system.shmctl, (REMOVE, None)),
        ("sem", "semid", system.semctl, (0, REMOVE)),
        ("msg", "msqid", system.msgctl, (REMOVE, None)),
    ):
        for values in _ipc(kind):
            is_old = before is None or values["ctime"] < before - 1
            if values["cuid"] == os.getuid() and is_old:
                control(values[name], *arguments)


def _ipc(kind: str) -> Iterator[dict[str, int]]:
    with contextlib.suppress(OSError), open(f"/proc/sysvipc/{kind}") as file:
        names: Sequence[str] = file.readline().split()
        for line in file:
            yield dict(zip(names, map(int, line.split()), strict=False))
