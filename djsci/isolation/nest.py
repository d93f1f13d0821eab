"""A wall inside bwrap's: the child of a fork server takes namespaces of its own, then no more.

Called in a forked child with one thread, in a wall whose command was made with `may_nest`.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from . import landlock, seccomp
from .limits import Limits

NEW_USER, NEW_PID, NEW_MOUNTS = 0x10000000, 0x20000000, 0x20000
NEW_NETWORK, NEW_IPC, NEW_NAMES = 0x40000000, 0x8000000, 0x4000000
NOSUID, NODEV, NOEXEC, RECURSIVE, PRIVATE = 2, 4, 8, 16384, 1 << 18
PDEATHSIG, CAPBSET_DROP = 1, 24
UP, GET_FLAGS, SET_FLAGS = 1, 0x8913, 0x8914
CAPSET, VERSION_3 = {"x86_64": 126, "aarch64": 91}, 0x20080522
INODES = 4096


class Folder(NamedTuple):
    """A folder in memory, empty in each run."""

    path: str
    size: int


def separate(folders: Sequence[Folder]) -> int:
    """Take namespaces of our own and fork: 0 in the worker, its pid in the run's first process.

    The first process is pid 1 of the run: when it ends, the kernel kills the rest. It stays outside
    the worker's Landlock domain; the worker goes on with `close`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    uid, gid = os.getuid(), os.getgid()
    spaces = NEW_USER | NEW_PID | NEW_MOUNTS | NEW_NETWORK | NEW_IPC | NEW_NAMES
    _check(libc.unshare(spaces), "namespaces")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    first = os.fork()
    if first:
        _become_waiter(first)
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _mounts(libc, folders)
    _loopback()
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    return os.fork()


def _become_waiter(child: int) -> None:
    """Outside the new pid namespace: end as its first process does; a signal is 128 and more."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def _mounts(libc: ctypes.CDLL, folders: Sequence[Folder]) -> None:
    _mount(libc, "none", "/", None, RECURSIVE | PRIVATE)
    for folder in folders:
        options = f"size={folder.size},nr_inodes={INODES},mode=0700"
        _mount(libc, "tmpfs", folder.path, "tmpfs", NOSUID | NODEV, options)
    _mount(libc, "proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        asked = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(made, GET_FLAGS, asked))[1]
        fcntl.ioctl(made, SET_FLAGS, struct.pack("16sh22x", b"lo", flags | UP))


def close(limits: Limits, *, writable: Sequence[str], readable: Sequence[str] = ()) -> None:
    """In the worker, last of all: limits, no capability, Landlock, seccomp."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    limits.apply()
    _drop_capabilities(libc)
    paths = (*landlock.interpreter_paths(), *readable, "/etc")
    landlock.restrict(landlock.Rules(paths, tuple(writable), is_only_wall=False))
    seccomp.install(seccomp.program())


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    number = 0
    while libc.prctl(CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header = struct.pack("=Ii", VERSION_3, 0)
    call = CAPSET[os.uname().machine]
    _check(libc.syscall(call, header, bytes(24)), "dropping capabilities")


def _mount(
    libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, data: str = ""
) -> None:
    texts = (source.encode(), target.encode(), kind.encode() if kind else None)
    _check(libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None), f"mount on {target}")


def _check(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
