"""djsci's seccomp profile as JSON, as podman, docker and nerdctl take it: the same as the BPF."""

import errno
import platform
from typing import Any

from . import seccomp
from .syscalls import REFUSED

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
LOW = 0xFFFFFFFF  # the kernel reads these arguments as 32 bits


def profile(architecture: str | None = None) -> dict[str, Any]:
    """Everything is allowed but what `seccomp.program` refuses; foreign architectures are killed.

    Raises `KeyError` for an architecture that has no table.
    """
    refused = [_rule(*sorted(REFUSED)), _rule("clone3", code=errno.ENOSYS)]
    spaces = [1 << bit for bit in range(32) if seccomp.NEW_NAMESPACES >> bit & 1]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [ARCHITECTURES[architecture or platform.machine()]],
        "syscalls": [
            *refused,
            *(_rule("clone", mask=space, value=space) for space in spaces),
            *(_rule("ioctl", at=1, value=code) for code in (seccomp.TIOCSTI, seccomp.TIOCLINUX)),
            *(_rule("socket", value=family) for family in seccomp.FAMILIES),
        ],
    }


def _rule(
    *names: str, at: int = 0, mask: int = LOW, value: int | None = None, code: int = errno.EPERM
) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": code}
    if value is not None:
        condition = {"index": at, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
        rule["args"] = [condition]
    return rule
