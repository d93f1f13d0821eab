"""Why a wall does not hold, and the one thing to change: from facts of this machine to a sentence.

Only `look` asks the machine; the rest are functions of what it found.
"""

import ctypes
import errno
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from . import seccomp
from .libc import libc
from .users import RANGE

CREATE_RULESET = 444  # of Landlock
SYS_ADMIN, SETUID = 1 << 21, 1 << 7
LEAST_ABI, LEAST_ABI_WITH_UID = 6, 3
NAMESPACES = "user.max_user_namespaces"
CLONE = "kernel.unprivileged_userns_clone"
APPARMOR = "kernel.apparmor_restrict_unprivileged_userns"
HARMLESS = "/proc/sys/fs/binfmt_misc"  # a mount below /proc that hides nothing
BECOME = (
    "Give its container the capabilities SETUID and SETGID, or start it as another user than root."
)
IN_CONTAINER = "start it as djsci's compose.yaml does"


class Facts(NamedTuple):
    """What decides whether this machine has walls; None is what cannot be read."""

    is_supported: bool = True  # Linux, on a machine whose system calls are known
    is_root: bool = False
    capabilities: int = 0  # effective
    abi: int = 7  # of Landlock; below 1 an error number, negated
    modules: str | None = None  # of security, in use
    sysctls: Mapping[str, int] = {}
    is_filtered: bool = False  # by a seccomp profile: a container's, mostly
    masked: tuple[str, ...] = ()  # mounts below /proc
    uids: tuple[tuple[int, int], ...] = ((0, 1 << 32),)  # first and count of those that exist here
    cgroup: int = 0  # the version of the control groups


def look() -> Facts:
    """The facts of this process and machine."""
    status = _status()
    return Facts(
        is_supported=sys.platform == "linux" and platform.machine() in seccomp.ARCHITECTURES,
        is_root=os.geteuid() == 0,
        capabilities=int(status.get("CapEff", "0"), 16),
        abi=_abi(),
        modules=_read("/sys/kernel/security/lsm"),
        sysctls={name: value for name in (NAMESPACES, CLONE, APPARMOR) for value in _sysctl(name)},
        is_filtered=status.get("Seccomp", "0") == "2",
        masked=masked(_read("/proc/self/mountinfo") or ""),
        uids=mapped(_read("/proc/self/uid_map") or ""),
        cgroup=2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1,
    )


def masked(mounts: str) -> tuple[str, ...]:
    """The mounts below /proc that hide a part of it, out of a `mountinfo`."""
    places = [fields[4] for line in mounts.splitlines() if len(fields := line.split()) > 4]
    return tuple(place for place in places if place.startswith("/proc/") and place != HARMLESS)


def mapped(text: str) -> tuple[tuple[int, int], ...]:
    """First and count of each range of users, out of a `uid_map`."""
    rows = [line.split() for line in text.splitlines()]
    return tuple((int(first), int(count)) for first, _, count in rows)


def of_landlock(facts: Facts) -> str | None:
    """Why the kernel cannot hold the level `landlock`, and what to change."""
    least = LEAST_ABI_WITH_UID if facts.is_root else LEAST_ABI
    if not facts.is_supported:
        return "Landlock needs Linux on x86_64 or aarch64: run the server there."
    if facts.abi >= least:
        return None
    if facts.abi > 0:
        needed = "Linux 6.2" if facts.is_root else "Linux 6.12, or start the server as root"
        return f"This kernel's Landlock has ABI {facts.abi}, and {least} is needed: use {needed}."
    if -facts.abi == errno.EPERM:
        text = "A seccomp profile refuses Landlock: update the container's runtime, or"
        return f"{text} {IN_CONTAINER}."
    if facts.modules is not None and "landlock" not in facts.modules.split(","):
        order = f"lsm=landlock,{facts.modules.strip()}"
        return f"Landlock is not switched on: boot with {order} on the kernel's command line."
    if -facts.abi == errno.EOPNOTSUPP:
        return "Landlock is switched off: boot with landlock in the kernel's list lsm=."
    return "This kernel has no Landlock: use Linux 6.12, with landlock in its list lsm=."


def of_users(facts: Facts, users: tuple[int, int]) -> str | None:
    """Why runs of a server that is root cannot have users of this range, and what to change."""
    if not facts.is_root:
        return None
    first, last = users
    if first > last:
        return "This user namespace has no user but root: start the server as another user."
    if not any(start <= first <= last < start + count for start, count in facts.uids):
        return (
            f"The users {first} to {last} do not exist in this user namespace: set"
            " DJSCI['UID_RANGE'] to some that /proc/self/uid_map has, or start the server as"
            " another user than root."
        )
    if not facts.capabilities & SETUID:
        return f"The server is root and may not become another user. {BECOME}"
    return None


def users_here(facts: Facts) -> tuple[int, int]:
    """Users for a probe: the usual ones, else what this user namespace has; empty without any."""
    if not facts.is_root or any(
        start <= RANGE[0] and RANGE[1] < start + n for start, n in facts.uids
    ):
        return RANGE
    start, count = max(facts.uids, key=lambda each: each[1], default=(0, 0))
    return max(1, start), start + count - 1


def of_start(said: str, facts: Facts) -> str:
    """What to change where a wall does not start, by the last words of what should start it."""
    if "mount namespace" in said or "mount on " in said:
        return (
            "The server is root without the capability SYS_ADMIN: start it as another user"
            " (user: in compose.yaml), or give the capability."
        )
    if "timed out" in said:
        return "Ask again when the machine is less busy."
    if re.search(r"set(res|e)?[ug]id|setgroups|become", said):
        return of_users(facts, users_here(facts)) or BECOME
    if re.search(r"proc\b", said) and re.search(r"mount|proc on", said):
        return _of_proc(facts)
    if re.search(r"namespace|uid map|gid map|loopback|NET|make / slave|pivot_root", said):
        return _of_namespaces(facts)
    if re.search(r"source path|execvp|Permission denied|No such file", said):
        return (
            "Python or its environment lies below a folder that the run's user may not pass:"
            " move it to /opt or /srv, or allow passing (chmod o+x)."
        )
    return "See what `bwrap --unshare-all --ro-bind / / true` says as the server's user."


def _of_proc(facts: Facts) -> str:
    if facts.masked or facts.is_filtered:
        return (
            "The container masks parts of /proc, so that no fresh one can be had: start it with"
            f" systempaths=unconfined in security_opt, or {IN_CONTAINER}."
        )
    return "A fresh /proc is refused: mount the server's own /proc without hidepid= and subset=."


def _of_namespaces(facts: Facts) -> str:
    if facts.sysctls.get(NAMESPACES) == 0:
        return f"User namespaces are switched off: sysctl -w {NAMESPACES}=15000."
    if facts.sysctls.get(CLONE) == 0:
        return f"User namespaces are only for root here: sysctl -w {CLONE}=1."
    if facts.is_filtered:
        return (
            "A seccomp profile refuses user namespaces, as a container's own does: start it with"
            " security_opt seccomp=deploy/seccomp.json and systempaths=unconfined: compose.yaml."
        )
    if facts.sysctls.get(APPARMOR):
        return (
            "AppArmor keeps user namespaces from programs without a profile: give bwrap one with"
            f" `userns,` in /etc/apparmor.d/bwrap, or sysctl -w {APPARMOR}=0."
        )
    return (
        "What is around the server keeps user namespaces from it (a container, another bwrap):"
        f" start it outside of that, or raise {NAMESPACES} there."
    )


def of_groups(facts: Facts) -> str:
    """What to change where no control group can be made; memory is looked at until then."""
    if facts.cgroup == 2:
        return "Delegate=yes in the server's systemd unit, or a container with a writable cgroup"
    return "start the server as root, or give it a writable folder in each of memory and pids"


def of_canary(red: str) -> str:
    """What to change where a wall starts and does not hold, by the canary that is red."""
    return CANARIES.get(red, _BROKEN)


_KERNEL = "Use a newer kernel (Linux 6.12), since this one does not keep what it takes."
_BWRAP = "Install bubblewrap from the distribution, in place of what is found as bwrap on PATH."
_BROKEN = "Reinstall djsci and bubblewrap from their packages: one of them has been changed."
_SECCOMP = "Use a kernel with CONFIG_SECCOMP_FILTER: the profile was taken, and does not bind."
_SANDBOX = "Do not run the server below an emulator of system calls: give it a real kernel."

CANARIES: Mapping[str, str] = {
    "a secret is in the environment": "Remove the wrapper around python that adds to environments.",
    "no-new-privileges is off": _SANDBOX,
    "seccomp is off": _SECCOMP,
    "a system call was not refused": _SECCOMP,
    "a raw socket was had": _SECCOMP,
    "a file of the host was read": "Keep secrets out of /usr and the Python environment's folder.",
    "another's process was read": _KERNEL,
    "another's process can be signalled": _KERNEL,
    "the host's loopback was reached": _KERNEL,
    "a unix socket of the host was reached": _KERNEL,
    "an abstract socket of the host was reached": _KERNEL,
    "the host was reached": _KERNEL,
    "the system can be written": "Let /usr belong to root, and let others not write to it.",
    "core files are written": _SANDBOX,
    "it runs as root": BECOME,
    "it has capabilities": "Start the server without ambient capabilities.",
    "it can make user namespaces": _SECCOMP,
    "it cannot make its sockets": "Set TMPDIR to a folder on a file system that takes sockets.",
    "the folder of sockets takes more": _KERNEL,
    "a descriptor came along": _BWRAP,
    "a part of the system is missing": _BWRAP,
    "a folder takes files without end": _SANDBOX,
    "it has its server's interfaces": _BWRAP,
    "it sees others' processes": _BWRAP,
    "it shares a namespace": _BWRAP,
    "its session is its server's": _BWRAP,
    "its user or group is not nobody": _BWRAP,
    "it can gain capabilities": _BWRAP,
    "it has the host's name": _BWRAP,
    "it starts elsewhere": _BWRAP,
    "a folder is not bounded": _BWRAP,
    "its environment is not the given one": _BWRAP,
    "it outlives its server": _BWRAP,
    "what should start the canaries started something else": _BWRAP,
}


def _abi() -> int:
    found = int(libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    return found if found >= 0 else -ctypes.get_errno()


def _status() -> dict[str, str]:
    lines = [line.partition(":") for line in (_read("/proc/self/status") or "").splitlines()]
    return {name: value.strip() for name, _, value in lines}


def _sysctl(name: str) -> list[int]:
    text = (_read(f"/proc/sys/{name.replace('.', '/')}") or "").strip()
    return [int(text)] if text.isdigit() else []


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
