"""The profile: right on both architectures, by a small machine that runs its program."""

import ctypes
import errno
import struct
import subprocess
import sys

import pytest

from djsci.isolation import seccomp
from djsci.isolation.syscalls import CHECKED, REFUSED, SHARED

ALLOWED = {"x86_64": {"read": 0, "openat": 257, "futex": 202}, "aarch64": {"read": 63, "futex": 98}}
EPERM, ENOSYS = seccomp.ERRNO | errno.EPERM, seccomp.ERRNO | errno.ENOSYS


def decide(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel's BPF machine would say."""
    given = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *given)
    program = list(struct.iter_unpack("=HBBI", code))
    accumulator, at = 0, 0
    while True:
        kind, yes, no, value = program[at]
        at += 1
        if kind == seccomp.RETURN:
            return int(value)
        if kind == seccomp.LOAD:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif kind == seccomp.AND:
            accumulator &= value
        else:
            tests = {
                seccomp.EQUAL: accumulator == value,
                seccomp.AT_LEAST: accumulator >= value,
                seccomp.ANY_BIT: bool(accumulator & value),
            }
            at += yes if tests[kind] else no


@pytest.fixture(params=["x86_64", "aarch64"])
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(architecture: str, name: str, *arguments: int, **options: bool) -> int:
    value, column = seccomp.ARCHITECTURES[architecture]
    number = ALLOWED[architecture].get(name)
    if number is None:
        number = {**REFUSED, **SHARED, **CHECKED}[name][column]
    assert number is not None
    return decide(seccomp.program(architecture, **options), value, number, *arguments)


def test_named_calls_are_refused_and_others_pass(architecture: str) -> None:
    column = seccomp.ARCHITECTURES[architecture][1]
    for name, numbers in REFUSED.items():
        if numbers[column] is not None:
            assert ask(architecture, name) == EPERM, name
    for name in ALLOWED[architecture]:
        assert ask(architecture, name) == seccomp.ALLOW


def test_a_foreign_architecture_is_killed(architecture: str) -> None:
    code = seccomp.program(architecture)
    assert decide(code, 0x40000003, 0) == seccomp.KILL  # i386
    if architecture == "x86_64":
        assert decide(code, seccomp.ARCHITECTURES["x86_64"][0], seccomp.X32 + 1) == seccomp.KILL


@pytest.mark.parametrize(
    "flag", [0x80, *(1 << bit for bit in (17, 25, 26, 27, 28, 29, 30))], ids=hex
)
def test_clone_makes_no_namespace(architecture: str, flag: int) -> None:
    assert ask(architecture, "clone", flag | 17) == EPERM


def test_clone_makes_threads_and_children(architecture: str) -> None:
    assert ask(architecture, "clone", 17) == seccomp.ALLOW
    assert ask(architecture, "clone", 0x3D0F00) == seccomp.ALLOW
    assert ask(architecture, "clone3") == ENOSYS


def test_ioctl_pushes_nothing_into_a_terminal(architecture: str) -> None:
    """C11: TIOCSTI types into the terminal of whoever started the server."""
    for request in (0x5412, 0x541C, 0x100005412):
        assert ask(architecture, "ioctl", 0, request) == EPERM
    assert ask(architecture, "ioctl", 0, 0x5401) == seccomp.ALLOW


@pytest.mark.parametrize("family", [17, 38, 40])
def test_socket_families(architecture: str, family: int) -> None:
    for has_network in (True, False):
        assert ask(architecture, "socket", family, 1, has_network=has_network) == EPERM
    assert ask(architecture, "socket", 2, 2) == seccomp.ALLOW


@pytest.mark.parametrize(
    ("call", "arguments", "is_allowed"),
    [
        ("socket", (2, 1), True),
        ("socket", (10, 1 | 0o2000000), True),
        ("socket", (1, 1), True),
        ("socket", (2, 2), False),
        ("socket", (1, 2), False),
        ("socket", (2, 3), False),
        ("socket", (16, 3, 0), True),
        ("socket", (16, 3, 9), False),
        ("socket", (40, 1), False),
        ("socketpair", (1, 1), True),
        ("socketpair", (1, 2 | 0o4000), False),
        ("connect", (3,), False),
        ("sendmsg", (3,), False),
        ("sendmmsg", (3,), False),
        ("listen", (3,), False),
        ("sendto", (3, 0, 0, 0), True),
        ("sendto", (3, 0, 0, 0x20000000), False),
    ],
)
def test_without_a_network_nothing_connects(
    architecture: str, call: str, arguments: tuple[int, ...], is_allowed: bool
) -> None:
    expected = seccomp.ALLOW if is_allowed else EPERM
    assert ask(architecture, call, *arguments, has_network=False) == expected
    if not is_allowed and call != "socket":
        assert ask(architecture, call, *arguments) == seccomp.ALLOW


def test_a_fork_server_may_build_its_childrens_walls(architecture: str) -> None:
    for call in ("mount", "unshare", "umount2"):
        assert ask(architecture, call, may_nest=True) == seccomp.ALLOW
    assert ask(architecture, "ptrace", may_nest=True) == EPERM
    assert ask(architecture, "setns", may_nest=True) == EPERM


def test_what_runs_would_share_is_refused_where_no_namespace_parts_them(architecture: str) -> None:
    for call in SHARED:
        assert ask(architecture, call) == seccomp.ALLOW
        assert ask(architecture, call, shares_ipc=True) == EPERM
    assert ask(architecture, "listen", 3, has_network=False, listens=True) == seccomp.ALLOW


def test_memory_that_the_server_shares_is_reached_by_no_id() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.shmget(0, 4096, 0o1600)
    assert made >= 0
    tried = (
        "import ctypes, sys; from djsci.isolation import seccomp;"
        "seccomp.no_new_privileges();"
        "seccomp.install(seccomp.program(has_network=False, shares_ipc=True));"
        "libc = ctypes.CDLL(None); libc.shmat.restype = ctypes.c_ssize_t;"
        "print(libc.shmat(int(sys.argv[1]), None, 0), libc.shmctl(int(sys.argv[1]), 0, None))"
    )
    try:
        argv = [sys.executable, "-c", tried, str(made)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    finally:
        libc.shmctl(made, 0, None)
    assert done.stdout == "-1 -1\n"
