"""A user of its own for each run, where the server is root: from a range that no account has."""

import contextlib
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Iterator

RANGE = (62464, 63487)
_last = RANGE[0] - 1


class NoUser(OSError):
    """Every user of the range is taken."""


@contextlib.contextmanager
def lease(users: tuple[int, int] = RANGE) -> Iterator[int | None]:
    """A user id that no other run has until the end; None where the server is not root."""
    taken = take(users)
    try:
        yield None if taken is None else taken[0]
    finally:
        if taken is not None:
            taken[1].close()


def take(users: tuple[int, int] = RANGE) -> tuple[int, socket.socket] | None:
    """A user id and what holds it: an abstract socket, which the kernel frees if we die."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    for uid in _in_turn(users):
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0djsci-user-{uid}")
        except OSError:
            held.close()
            continue
        if _is_account(uid):
            held.close()
            continue
        return uid, held
    raise NoUser(f"No user id from {users[0]} to {users[1]} is free: UID_RANGE is too small.")


def _in_turn(users: tuple[int, int]) -> Iterator[int]:
    """Every id of the range, from the one after the last that was taken: what has just ended may
    still be dying as its user.
    """
    global _last
    first, count = users[0], users[1] - users[0] + 1
    begin = _last + 1 - first
    for place in range(count):
        _last = first + (begin + place) % count
        yield _last


def _is_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def end_all(uid: int, *, seconds: float = 1.0) -> bool:
    """SIGKILL every process of a user that is a run's own; False when some outlive `seconds`."""
    end = time.monotonic() + seconds
    while True:
        left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is(pid, uid)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left or time.monotonic() > end:
            return not left
        time.sleep(0.002)


def _is(pid: int, uid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            is_zombie = file.read().rpartition(b") ")[2].startswith(b"Z")
        return not is_zombie and os.stat(f"/proc/{pid}").st_uid == uid
    except OSError:
        return False


def become(uid: int) -> None:
    """Leave root for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
