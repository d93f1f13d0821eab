"""Control groups of version 2: runs get theirs below the one that systemd delegated to us.

A group that divides a controller among its children may hold no process itself (the kernel's "no
internal processes"), so what is in it moves into a child first. See cgroups(7) and systemd's
"Control Group APIs and Delegation".
"""

import contextlib
import errno
import os
from collections.abc import Collection
from pathlib import Path

CONTROLLERS = ("memory", "pids")
OURS = "djsci-server"  # the child that holds the processes which were there before
MARKS = ("trusted.delegate", "user.delegate")  # set by systemd on what it gave away
_TRIES = 20


def parent(own: Path, controllers: Collection[str] = CONTROLLERS) -> Path:
    """The group below which runs may get theirs; `own` is this process's.

    Raises `OSError` where it was not delegated, or lacks a controller.
    """
    if own.name == OURS or _is_delegated(own.parent):  # the latter by DelegateSubgroup=
        own = own.parent
    if not _divides(own, controllers):
        if not _is_delegated(own):
            raise PermissionError(errno.EPERM, "not delegated", str(own))
        _divide(own, controllers)
    return own


def _divides(group: Path, controllers: Collection[str]) -> bool:
    return set(controllers) <= set((group / "cgroup.subtree_control").read_text().split())


def _is_delegated(group: Path) -> bool:
    for name in MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _divide(group: Path, controllers: Collection[str]) -> None:
    """Move its processes into `OURS`, those too that start meanwhile, and enable controllers."""
    ours = group / OURS
    ours.mkdir(exist_ok=True)
    wanted = " ".join(f"+{name}" for name in controllers)
    for left in reversed(range(_TRIES)):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (ours / "cgroup.procs").write_text(pid)
        try:
            (group / "cgroup.subtree_control").write_text(wanted)
        except OSError as error:
            if error.errno != errno.EBUSY or not left:
                raise
        else:
            return
