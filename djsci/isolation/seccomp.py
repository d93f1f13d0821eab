"""djsci's seccomp profile, compiled to classic BPF: which system calls user code may not make."""

import ctypes
import errno
import platform
import struct
from functools import cache

from .libc import libc
from .syscalls import CHECKED, REFUSED, SHARED

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
X32 = 0x40000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
ERRNO = 0x00050000
NUMBER, ARCHITECTURE = 0, 4
NEW_NAMESPACES = 0x7E020080  # CLONE_NEWTIME, NS, CGROUP, UTS, IPC, USER, PID, NET
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
PACKET, ALG, VSOCK, UNIX, INET, INET6, NETLINK = 17, 38, 40, 1, 2, 10, 16
FAMILIES = (PACKET, ALG, VSOCK)  # of sockets that no level has
STREAM, SEQUENCED = 1, 5
FASTOPEN = 0x20000000
FOR_WALLS = ("mount", "umount2", "pivot_root", "unshare")  # what building an inner wall needs
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2

Instruction = tuple[int, int, int, int]


@cache
def program(
    architecture: str | None = None,
    *,
    has_network: bool = True,
    may_nest: bool = False,
    shares_ipc: bool = False,
    listens: bool = False,
) -> bytes:
    """The profile as an array of `struct sock_filter`, as bwrap's --seccomp takes it.

    `has_network=False` is for a level without a network namespace: no connection, no datagram.
    `listens`: but for connections to it, as a kernel's clients make them, on unix sockets; TCP
    cannot be told from them. `shares_ipc` is for a level without a namespace for SysV's objects.
    `may_nest` lets a fork server build its children's walls; they install the whole profile.
    Raises `KeyError` for an architecture that has no table.
    """
    value, column = ARCHITECTURES[architecture or platform.machine()]
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, value),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    if column == 0:
        code += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    for name, numbers in {**REFUSED, **(SHARED if shares_ipc else {})}.items():
        number = numbers[column]
        if number is not None and not (may_nest and name in FOR_WALLS):
            code += [(EQUAL, 0, 1, number), _refuse()]
    checks = _checks(has_network=has_network, may_nest=may_nest)
    if not (has_network or listens):
        checks["listen"] = [_refuse()]  # Landlock minds bind, not a port that the kernel chooses
    for name, body in checks.items():
        code += [(EQUAL, 0, len(body), CHECKED[name][column]), *body]
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _checks(*, has_network: bool, may_nest: bool) -> dict[str, list[Instruction]]:
    """What follows a call's number, by call: each body ends in a return."""
    families = [step for family in FAMILIES for step in _refuse_if(family)]
    checks: dict[str, list[Instruction]] = {
        "clone3": [(RETURN, 0, 0, ERRNO | errno.ENOSYS)],
        "ioctl": [_argument(1), *_refuse_if(TIOCSTI), *_refuse_if(TIOCLINUX), _allow()],
        "socket": [_argument(0), *families, _allow()],
    }
    if not may_nest:
        checks["clone"] = [_argument(0), (ANY_BIT, 0, 1, NEW_NAMESPACES), _refuse(), _allow()]
    if not has_network:
        checks |= {name: [_refuse()] for name in ("connect", "sendmsg", "sendmmsg")}
        checks["sendto"] = [_argument(3), (ANY_BIT, 0, 1, FASTOPEN), _refuse(), _allow()]
        checks["socketpair"] = _streams_only()
        checks["socket"] = [
            _argument(0),
            (EQUAL, 0, 4, NETLINK),
            _argument(2),
            (EQUAL, 0, 1, 0),  # NETLINK_ROUTE
            _allow(),
            _refuse(),
            *_only(INET, INET6, UNIX),
            *_streams_only(),
        ]
    return checks


def _only(*values: int) -> list[Instruction]:
    count = len(values)
    return [(EQUAL, count - at, 0, value) for at, value in enumerate(values)] + [_refuse()]


def _streams_only() -> list[Instruction]:
    return [_argument(1), (AND, 0, 0, 0xF), *_only(STREAM, SEQUENCED), _allow()]


def _argument(place: int) -> Instruction:
    """Load the low half of an argument; both architectures are little-endian."""
    return (LOAD, 0, 0, 16 + 8 * place)


def _refuse_if(value: int) -> list[Instruction]:
    return [(EQUAL, 0, 1, value), _refuse()]


def _refuse() -> Instruction:
    return (RETURN, 0, 0, ERRNO | errno.EPERM)


def _allow() -> Instruction:
    return (RETURN, 0, 0, ALLOW)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def no_new_privileges() -> None:
    """From now on no program gains rights by being executed."""
    if libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no-new-privileges was refused")


def install(code: bytes) -> None:
    """Put this thread, and all that it starts, under `code`. There is no way back."""
    no_new_privileges()
    given = _Program(len(code) // 8, code)
    if libc().prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(given), 0, 0):
        raise OSError(ctypes.get_errno(), "the seccomp profile was refused")
