"""What a run may use: resource limits, control groups where they can be had, a look at memory."""

import contextlib
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

from . import delegation

CGROUPS = Path("/sys/fs/cgroup")
MEMORY = ("memory.max", "memory.limit_in_bytes")
OVER_MEMORY = 2 << 30  # of address space: libraries reserve what they never touch


class Limits(NamedTuple):
    """Sizes in bytes; None where something else bounds it."""

    memory: int = 1 << 30
    pids: int = 64
    files: int = 1024
    file_size: int = 448 << 20
    cpu_seconds: int | None = None
    bounds_address_space: bool = False

    def apply(self) -> None:
        """Set this process's limits; its children have them too.

        The number of processes counts per user: one that others share counts theirs as well.
        """
        self._set(resource.RLIMIT_CORE, 0)
        self._set(resource.RLIMIT_NOFILE, self.files)
        self._set(resource.RLIMIT_FSIZE, self.file_size)
        self._set(resource.RLIMIT_MEMLOCK, 64 << 10)
        self._set(resource.RLIMIT_NPROC, self.pids + tasks_of(os.getuid()))
        if self.cpu_seconds is not None:
            self._set(resource.RLIMIT_CPU, self.cpu_seconds)
        if self.bounds_address_space:
            self._set(resource.RLIMIT_AS, self.memory + OVER_MEMORY)

    @classmethod
    def share(cls, pids: int) -> None:
        """In one of several processes of a user: a number of processes and threads of its own."""
        cls._set(resource.RLIMIT_NPROC, pids + tasks_of(os.getuid()))
        cls._set(resource.RLIMIT_MSGQUEUE, 0)  # nobody could list and remove them

    @staticmethod
    def _set(what: int, value: int) -> None:
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def tasks_of(uid: int) -> int:
    """How many tasks a user has beside this process."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(name) != os.getpid() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


class Group:
    """A leaf of the control groups for one run: memory and number of processes, exactly."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    def is_over_memory(self) -> bool:
        """Whether the kernel ended a process of the group for its memory."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    for line in (folder / name).read_text().splitlines():
                        if line.startswith("oom_kill ") and line.split()[1] != "0":
                            return True
        return False

    def add(self, pid: int) -> None:
        """Take a process in, with all that it starts from now on. Raises `OSError`."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def set_memory(self, size: int) -> None:
        """Another bound on its memory, in bytes."""
        for folder in self.folders:
            for name in ("memory.memsw.limit_in_bytes", *MEMORY, "memory.memsw.limit_in_bytes"):
                with contextlib.suppress(OSError):  # of its kind there is one; the order matters
                    (folder / name).write_text(str(size))

    def kill(self) -> None:
        """SIGKILL every member."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                for pid in (folder / "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)

    def close(self, *, seconds: float = 2.0) -> bool:
        """Kill the members and remove the group; True when it is gone."""
        end = time.monotonic() + seconds
        while True:
            self.kill()
            self.folders = [folder for folder in self.folders if not _remove(folder)]
            if not self.folders or time.monotonic() > end:
                return not self.folders
            time.sleep(0.002)


def _remove(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def make_group(name: str, limits: Limits) -> Group | None:
    """A group with these limits below our own; None where we may not make one."""
    group = Group([])
    try:
        if (CGROUPS / "cgroup.controllers").exists():
            _unified(group, name, limits)
        else:
            _by_controller(group, name, limits)
    except (OSError, LookupError):
        group.close()
        return None
    return group


def version() -> int | None:
    """Of the control groups that runs get here, tried by making one; None where none can be had."""
    group = make_group(f"djsci-try-{os.getpid()}-{threading.get_native_id()}", Limits())
    if group is None:
        return None
    found = len(group.folders)
    group.close()
    return 2 if found == 1 else 1  # the first has a folder for each of memory and processes


def _own() -> dict[str, str]:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return {names: path for _, names, path in (line.split(":", 2) for line in lines)}


def _make(group: Group, folder: Path, values: dict[str, int]) -> Path:
    folder.mkdir()
    group.folders.append(folder)
    for name, value in values.items():
        (folder / name).write_text(str(value))
    return folder


def _unified(group: Group, name: str, limits: Limits) -> None:
    values = {"memory.max": limits.memory, "pids.max": limits.pids}
    folder = _make(group, delegation.parent(CGROUPS / _own()[""].lstrip("/")) / name, values)
    for option, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
        with contextlib.suppress(OSError):
            (folder / option).write_text(value)


def _by_controller(group: Group, name: str, limits: Limits) -> None:
    own = _own()
    memory = CGROUPS / "memory" / own["memory"].lstrip("/") / name
    folder = _make(group, memory, {"memory.limit_in_bytes": limits.memory})
    with contextlib.suppress(OSError):  # only where the kernel counts swap
        (folder / "memory.memsw.limit_in_bytes").write_text(str(limits.memory))
    _make(group, CGROUPS / "pids" / own["pids"].lstrip("/") / name, {"pids.max": limits.pids})
