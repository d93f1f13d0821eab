"""A wall inside bwrap's: the child of a fork server takes namespaces of its own, then no more.

Called in a forked child with one thread, in a wall whose command was made with `may_nest`.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from . import landlock, seccomp
from .libc import libc
from .limits import Limits

NEW_USER, NEW_PID, NEW_MOUNTS = 0x10000000, 0x20000000, 0x20000
NEW_NETWORK, NEW_IPC, NEW_NAMES = 0x40000000, 0x8000000, 0x4000000
SPACES = NEW_USER | NEW_PID | NEW_MOUNTS | NEW_NETWORK | NEW_IPC | NEW_NAMES
IN_NETWORK = SPACES & ~NEW_NETWORK  # for who has the server's own
CLONE = {"x86_64": 56, "aarch64": 220}
STATUS = struct.Struct("i")  # a wait status
NOBODY = 65534  # who everybody is inside bwrap
BIND = 4096
NOSUID, NODEV, NOEXEC, RECURSIVE, PRIVATE = 2, 4, 8, 16384, 1 << 18
PDEATHSIG, CAPBSET_DROP = 1, 24
UP, GET_FLAGS, SET_FLAGS = 1, 0x8913, 0x8914
CAPSET, VERSION_3 = {"x86_64": 126, "aarch64": 91}, 0x20080522
INODES = 4096
WORK = "/workdir"
TERMINALS = "/dev/pts"
SIZES = {WORK: 448 << 20, "/tmp": 64 << 20, "/dev/shm": 16 << 20}  # noqa: S108 - bytes, in memory


class Folder(NamedTuple):
    """A folder in memory, empty in each run."""

    path: str
    size: int


def fork(spaces: int = SPACES) -> int:
    """As `os.fork`, but the child is the first process of namespaces of its own.

    The system call itself, since Python has no name for it: legal where this is the only thread.
    """
    api = _with_lock()
    number = CLONE[os.uname().machine]
    api.PyOS_BeforeFork()
    pid = int(api.syscall(number, spaces | signal.SIGCHLD, 0, 0, 0, 0))
    if pid == 0:
        api.PyOS_AfterFork_Child()
    else:
        api.PyOS_AfterFork_Parent()
    _check(min(pid, 0), "namespaces")
    return pid


@cache
def _with_lock() -> ctypes.PyDLL:
    """The C library, called without letting go of Python's lock."""
    return ctypes.PyDLL(None, use_errno=True)


def enter(
    limits: Limits,
    folder: str,
    *,
    uid: int | None = None,
    readable: Sequence[str] = (),
    report: int | None = None,
    owner: tuple[int, int] = (NOBODY, NOBODY),
    has_network: bool = False,
) -> str:
    """After `fork`: go on as the run's worker; the first process waits for it.

    Returns the folder that the run works in; `folder` and `uid` are of levels without namespaces.
    """
    folders = [Folder(path, size) for path, size in SIZES.items()]
    kept = (*landlock.interpreter_paths(), *readable)
    separate(folders, kept=kept, owner=owner, report=report, has_network=has_network)
    os.setsid()
    close(limits, writable=(*SIZES, TERMINALS), readable=readable)
    return WORK


def confine(folder: str, pids: int) -> None:
    """In a call that the run's worker forks: the folders in memory are shared with the run's."""
    landlock.confine(folder, pids, writable=[path for path in SIZES if path != WORK])


def wait_for(worker: int) -> int:
    """Reap whatever ends until the worker does; its status."""
    while True:
        pid, status = os.wait()
        if pid == worker:
            return status


def separate(
    folders: Sequence[Folder],
    *,
    kept: Sequence[str] = (),
    owner: tuple[int, int] = (NOBODY, NOBODY),
    report: int | None = None,
    as_first: Callable[[int], int] = wait_for,
    has_network: bool = False,
) -> None:
    """After `fork`: furnish the namespaces, and go on as the worker, the second process in them.

    The first one is pid 1 of the run: when it ends, as soon as `as_first(worker)` has returned the
    status that it writes to `report`, the kernel kills the rest. It stays outside the worker's
    Landlock domain. What lies in one of `folders` stays only where `kept` names it. `owner` are the
    user and the group of who called `fork`.
    """
    uid, gid = owner
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        _write(f"/proc/self/{name}", text)
    libc().prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the change of user, which clears it
    _mounts(folders, kept)
    if not has_network:
        _loopback()
        _write(
            "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"
        )  # its own: any port is its to use
    _write("/proc/sys/user/max_user_namespaces", "0")
    worker = os.fork()
    if worker == 0:
        if report is not None:
            os.close(report)
        return
    os.closerange(0, 1024 if report is None else report)
    status = as_first(worker)
    if report is not None:
        os.write(report, STATUS.pack(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _mounts(folders: Sequence[Folder], kept: Sequence[str]) -> None:
    _mount("none", "/", None, RECURSIVE | PRIVATE)
    covered = {path for path in kept for folder in folders if path.startswith(folder.path + "/")}
    opened = {path: os.open(path, os.O_PATH) for path in sorted(covered) if os.path.exists(path)}
    for folder in folders:
        options = f"size={folder.size},nr_inodes={INODES},mode=0700"
        _mount("tmpfs", folder.path, "tmpfs", NOSUID | NODEV, options)
    for path, descriptor in opened.items():
        _uncover(path, descriptor)
    _mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
    _mount("devpts", TERMINALS, "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0600")


def _uncover(path: str, descriptor: int) -> None:
    """Put back what is open as `descriptor` at `path`, in a folder that has been covered."""
    source = f"/proc/self/fd/{descriptor}"
    if not os.path.exists(path):  # else below another that is back already
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.isdir(source):
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_CREAT, 0o444))
        _mount(source, path, None, BIND | RECURSIVE)
    os.close(descriptor)


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        asked = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(made, GET_FLAGS, asked))[1]
        fcntl.ioctl(made, SET_FLAGS, struct.pack("16sh22x", b"lo", flags | UP))


def close(limits: Limits, *, writable: Sequence[str], readable: Sequence[str] = ()) -> None:
    """In the worker, last of all: limits, no capability, Landlock, seccomp."""
    libc().prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    limits.apply()
    _drop_capabilities()
    paths = (*landlock.interpreter_paths(), *readable, "/etc")
    landlock.restrict(landlock.Rules(paths, tuple(writable), is_only_wall=False))
    seccomp.install(seccomp.program())


def _drop_capabilities() -> None:
    number = 0
    while libc().prctl(CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header = struct.pack("=Ii", VERSION_3, 0)
    call = CAPSET[os.uname().machine]
    _check(libc().syscall(call, header, bytes(24)), "dropping capabilities")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    texts = (source.encode(), target.encode(), kind.encode() if kind else None)
    _check(libc().mount(*texts, ctypes.c_ulong(flags), data.encode() or None), f"mount on {target}")


def _check(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
