"""Level `landlock`: the kernel's Landlock, seccomp and limits around a process, without root."""

import ctypes
import json
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import seccomp, users
from .libc import libc
from .limits import Limits

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FILE, MAKE_CHAR, MAKE_SOCK, MAKE_BLOCK = 1 << 5, 1 << 6, 1 << 9, 1 << 11
TRUNCATE = 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
SOCKETS = MAKE_SOCK | REMOVE_FILE | READ_DIR
BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # rights on files, by ABI; 16 from ABI 5 on
TCP, SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals
SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/alternatives", "/etc/fonts", "/etc/ssl"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/proc"),
    *("/etc/ca-certificates", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random"),
)
NETWORK = (
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/host.conf",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full")
PR_SET_DUMPABLE = 4
STUB = Path(__file__).with_name("stub.py")


class Rules(NamedTuple):
    """Which paths a process keeps; `sockets` are folders for unix sockets and nothing else."""

    readable: tuple[str, ...]
    writable: tuple[str, ...]
    sockets: tuple[str, ...] = ()
    is_only_wall: bool = True  # no network namespace and no bwrap around it


def abi() -> int:
    """The kernel's Landlock version; 0 where it has none."""
    return max(0, int(libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def interpreter_paths() -> tuple[str, ...]:
    """What the running Python reads: its installation, its environment, and this package."""
    package = Path(__file__).parent
    found = [
        Path(sys.base_prefix).resolve(),
        Path(sys.base_exec_prefix).resolve(),
        Path(sys.prefix),
    ]
    return tuple(dict.fromkeys(map(str, [*found, package])))


def restrict(rules: Rules) -> None:
    """Enter the Landlock domain. Files outside `rules` are gone for good."""
    version = abi()
    handled = (1 << BITS.get(version, 16)) - 1
    network = TCP if version >= 4 and rules.is_only_wall else 0
    scopes = SCOPES if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    given = struct.pack("=QQQ", handled, network, scopes)[:size]
    ruleset = _call(CREATE_RULESET, ctypes.c_char_p(given), ctypes.c_size_t(size), 0)
    try:
        for rights, paths in (
            (READ, (*SYSTEM, *rules.readable)),
            (READ | WRITE_FILE | TRUNCATE, DEVICES),
            (SOCKETS, rules.sockets),
            (~(MAKE_CHAR | MAKE_BLOCK), rules.writable),
        ):
            for path in paths:
                _add(ruleset, path, rights & handled)
        seccomp.no_new_privileges()
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def confine(folder: str, pids: int, *, writable: Sequence[str] = ()) -> None:
    """One more domain, for a call that a walled run forks: `folder` is all that it may write.

    The run and its other calls are out of its reach: signals, memory, abstract sockets.
    """
    version = abi()
    handled = ((1 << BITS.get(version, 15)) - 1) & ~READ  # the rest holds as it did
    size, scopes = (24, SCOPES) if version >= 6 else (8, 0)
    given = struct.pack("=QQQ", handled, 0, scopes)[:size]
    ruleset = _call(CREATE_RULESET, ctypes.c_char_p(given), ctypes.c_size_t(size), 0)
    try:
        for path in DEVICES:
            _add(ruleset, path, (WRITE_FILE | TRUNCATE) & handled)
        for path in (folder, *writable):
            _add(ruleset, path, handled)
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    Limits.share(pids)


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # what is not there needs no right
    try:
        if not os.path.isdir(path):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, opened)
        _call(ADD_RULE, ruleset, 1, ctypes.c_char_p(rule), 0)
    finally:
        os.close(opened)


def enter(
    limits: Limits,
    folder: str,
    *,
    uid: int | None = None,
    readable: Sequence[str] = (),
    has_network: bool = False,
) -> str:
    """Wall this process in: called in a forked child with one thread, before user code.

    `folder` is all that it may write. What it has open stays open: close that first. `uid`, where
    the fork server is root: who the run is. `has_network`: it keeps the server's. Returns the
    folder that the run works in.
    """
    if uid is not None:
        users.become(uid)
        libc().prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # its own /proc is its own to read
    limits.apply()
    paths = (*interpreter_paths(), *readable, *(NETWORK if has_network else ()))
    restrict(Rules(paths, (folder,), is_only_wall=not has_network))
    seccomp.install(seccomp.program(has_network=has_network, shares_ipc=True))
    os.environ.update(TMPDIR=folder, MPLCONFIGDIR=f"{folder}/.matplotlib")
    return folder


def command(
    argv: Sequence[str],
    *,
    limits: Limits,
    folder: str,
    writable: Sequence[str] = (),
    readable: Sequence[str] = (),
    sockets: Sequence[str] = (),
    uid: int | None = None,
    groups: Sequence[str] = (),
    keep: Sequence[int] = (),
    has_network: bool = False,
) -> list[str]:
    """The command line that starts `argv` inside the wall, without a process in between.

    `folder` is its home. `uid`, for a server that is root: the run's own, to which `folder` must
    belong. `groups` are folders of control groups that the process joins, `keep` descriptors.
    """
    paths = (*interpreter_paths(), *readable)
    rules = Rules(
        (*paths, *(NETWORK if has_network else ())),
        (folder, *writable),
        tuple(sockets),
        is_only_wall=not has_network,
    )
    return stub(
        argv,
        limits=limits._asdict(),
        rules=rules._asdict(),
        uid=uid,
        reach=[] if uid is None else [*paths, folder, *writable, *sockets],
        groups=list(groups),
        network=has_network,
        folder=folder,
        keep=list(keep),
    )


def reached(
    argv: Sequence[str], paths: Sequence[str], *, uid: int, keep: Sequence[int] = ()
) -> list[str]:
    """The command line of a fork server that is root: its children, as other users, reach `paths`.

    It stays root, and `enter` takes that from each child. `uid` is one of those users.
    """
    reach = [*interpreter_paths(), *paths]
    return stub(argv, uid=uid, reach=reach, stays_root=True, keep=list(keep))


def stub(argv: Sequence[str], **steps: object) -> list[str]:
    """A small Python that takes `steps` and becomes `argv`."""
    return [sys.executable, "-I", "-S", str(STUB), json.dumps(steps), *argv]


def rules_from(values: Mapping[str, Any]) -> Rules:
    """`Rules` out of JSON."""
    return Rules(
        tuple(values["readable"]),
        tuple(values["writable"]),
        tuple(values["sockets"]),
        is_only_wall=values["is_only_wall"],
    )


def _call(number: int, *arguments: object) -> int:
    result = int(libc().syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
