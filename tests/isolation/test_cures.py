"""Why a level does not hold is told with what to change: from facts, and on machines made so."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from djsci.isolation import bwrap, cures, evidence, probe
from djsci.isolation.cures import APPARMOR, CLONE, NAMESPACES, Facts
from tests.isolation.conftest import need

ROOT = Path(__file__).parent.parent.parent
ALL = (1 << 41) - 1
DENIED = "bwrap: No permissions to create new namespace, likely because the kernel does not allow"
FULL = "bwrap: Creating new namespace failed: No space left on device"
PROC = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
LOOPBACK = "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(), None),
        (Facts(abi=6), None),
        (Facts(abi=3, is_root=True), None),
        (Facts(abi=5), "use Linux 6.12, or start the server as root"),
        (Facts(abi=2, is_root=True), "use Linux 6.2"),
        (Facts(is_supported=False), "needs Linux on x86_64 or aarch64"),
        (Facts(abi=-errno.EPERM, is_filtered=True), "update the container's runtime"),
        (Facts(abi=-errno.EOPNOTSUPP, modules="apparmor,bpf"), "lsm=landlock,apparmor,bpf"),
        (Facts(abi=-errno.EOPNOTSUPP), "landlock in the kernel's list lsm="),
        (Facts(abi=-errno.ENOSYS), "has no Landlock: use Linux 6.12"),
    ],
    ids=str,
)
def test_a_kernel_without_landlock_is_told_what_to_boot(facts: Facts, expected: str | None):
    found = cures.of_landlock(facts)
    assert found is None if expected is None else expected in (found or "")


@pytest.mark.parametrize(
    ("users", "facts", "expected"),
    [
        ((62464, 63487), Facts(), None),
        ((62464, 63487), Facts(is_root=True, capabilities=ALL), None),
        ((62464, 63487), Facts(is_root=True, capabilities=ALL, uids=((0, 63000),)), "UID_RANGE"),
        ((62464, 63487), Facts(is_root=True), "SETUID and SETGID"),
        ((1, 0), Facts(is_root=True, capabilities=ALL, uids=((0, 1),)), "no user but root"),
    ],
)
def test_users_that_runs_cannot_be_are_named(
    users: tuple[int, int], facts: Facts, expected: str | None
):
    found = cures.of_users(facts, users)
    assert found is None if expected is None else expected in (found or "")


@pytest.mark.parametrize(
    ("said", "facts", "expected"),
    [
        (FULL, Facts(sysctls={NAMESPACES: 0}), "sysctl -w user.max_user_namespaces="),
        (FULL, Facts(sysctls={NAMESPACES: 9000}), "start it outside of that"),
        (DENIED, Facts(sysctls={CLONE: 0}), "sysctl -w kernel.unprivileged_userns_clone=1"),
        (DENIED, Facts(is_filtered=True), "seccomp profile"),
        (DENIED, Facts(is_filtered=True), "systempaths=unconfined"),
        (
            "bwrap: setting up uid map: Permission denied",
            Facts(sysctls={APPARMOR: 1, CLONE: 1}),
            "`userns,` in /etc/apparmor.d/bwrap",
        ),
        (LOOPBACK, Facts(sysctls={APPARMOR: 1}), "AppArmor"),
        ("bwrap: Failed to make / slave: Permission denied", Facts(is_filtered=True), "compose"),
        (PROC, Facts(masked=("/proc/kcore",)), "systempaths=unconfined"),
        (PROC, Facts(), "hidepid="),
        ("PermissionError: [Errno 1] a mount namespace: Operation not permitted", Facts(), "ADMIN"),
        ("in become: os.setresgid(uid, uid, uid)", Facts(is_root=True), "SETUID and SETGID"),
        (
            "bwrap: Can't find source path /srv/djsci/.venv: Permission denied",
            Facts(),
            "chmod o+x",
        ),
        ("bwrap: execvp /srv/djsci/.venv/bin/python: Permission denied", Facts(), "chmod o+x"),
        ("Command 'bwrap' timed out after 30.0 seconds", Facts(), "less busy"),
        ("it said nothing", Facts(), "bwrap --unshare-all"),
    ],
)
def test_what_a_wall_says_as_it_fails_has_a_cure(said: str, facts: Facts, expected: str):
    assert expected in cures.of_start(said, facts)


def test_facts_are_read_out_of_the_kernels_tables():
    mounts = (
        "22 27 0:21 / /proc rw - proc proc rw\n23 22 0:22 / /proc/kcore ro - tmpfs t rw\n"
        "24 22 0:23 / /proc/sys/fs/binfmt_misc rw - autofs a rw\n"
    )
    assert cures.masked(mounts) == ("/proc/kcore",)
    assert cures.mapped("0 100000 65536\n70000 300000 10\n") == ((0, 65536), (70000, 10))
    few = Facts(is_root=True, capabilities=ALL, uids=((0, 1000), (2000, 5000)))
    assert cures.users_here(few) == (2000, 6999)
    assert cures.of_users(few, cures.users_here(few)) is None


EXTRA = {
    "the host was reached",
    "it outlives its server",
    "what should start the canaries started something else",
}
NAMES = ("ipc", "mnt", "net", "pid", "user", "uts")
ALL_RED: dict[str, Any] = {
    **{"environment": ["SECRET"], "no_new_privileges": "0", "seccomp": "0", "raw": "done"},
    **{"calls": {"mount": "done"}, "files": {"x": "done"}, "signal": "done", "write": "done"},
    **{"processes": {"environ": "done"}, "listener": "done", "socket": "done", "core": 1},
    **{"abstract": "done", "uid": [0, 0], "capabilities": ["f" * 16] * 4, "exists": []},
    **{"user_namespace": "done", "descriptors": [9], "interfaces": ["eth0"], "pids": 99},
    **{"namespaces": {n: os.readlink(f"/proc/self/ns/{n}") for n in NAMES}, "pid": [1, 0]},
    **{"host": "here", "folder": "/", "room": {}, "inodes": {"/tmp": 0}},  # noqa: S108
}


def test_every_red_canary_has_a_cure_and_no_cure_is_without_one():
    found = {**ALL_RED, "deputy": {"socket": "EACCES", "file": "done"}}
    red = evidence.judge(evidence.NESTED, found, ["/usr"])
    assert {*red, *EXTRA} == set(cures.CANARIES)
    said = probe._said("bwrap", red) or ""
    assert all(name in said for name in red)
    assert said.count(cures.CANARIES["it shares a namespace"]) == 1


ASK = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); from djsci.isolation import probe;"
    "print(json.dumps([probe.probe('bwrap'), probe.probe('landlock')]))"
)


def ask(before: Sequence[str]) -> list[str | None]:
    """What the probes say in a process that `before` starts."""
    argv = [*before, sys.executable, "-c", ASK, str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str | None] = json.loads(done.stdout)
    return found


UNSHARED = ("unshare", "-m", "sh", "-c")
FEW = ("unshare", "-Urpf", "--mount-proc", "sh", "-c")
MACHINES = {
    "no bubblewrap": (
        (*UNSHARED, 'mount --bind /dev/null "$(command -v bwrap)" && exec "$@"', "sh"),
        "Install bubblewrap",
        None,
    ),
    "a masked proc": (
        (*UNSHARED, 'mount -t tmpfs none /proc/fs && exec "$@"', "sh"),
        "systempaths=unconfined",
        None,
    ),
    "no namespaces": (
        ("unshare", "-U", "--map-user=4711", "--map-group=4711", "--keep-caps", "sh", "-c",
         'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all "$@"',
         "sh"),
        "sysctl -w user.max_user_namespaces=",
        None,
    ),
    "one user": ((*FEW, 'exec "$@"', "sh"), "no user but root", "no user but root"),
    "root without rights": (
        ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
        "SYS_ADMIN",
        "SYS_ADMIN",
    ),
}  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can make such machines.")
@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_without_a_wall_says_what_to_change(machine: str, bubblewrap: str) -> None:
    before, of_bwrap, of_landlock = MACHINES[machine]
    found = ask(before)
    assert of_bwrap in (found[0] or "holds"), found
    if of_landlock is None:
        assert found[1] is None
    else:
        assert of_landlock in (found[1] or "holds"), found


@pytest.mark.parametrize(
    ("script", "mode", "expected"),
    [
        ("echo bubblewrap 0.7.1", 0o755, "is bubblewrap 0.7.1. Install bubblewrap"),
        ("echo another program", 0o755, "is not bubblewrap. Install bubblewrap"),
        ("echo bubblewrap 0.9.0", 0o4755, "chmod u-s"),
    ],
)
def test_a_bubblewrap_of_another_kind_is_told_apart(
    script: str, mode: int, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    need("landlock")
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(mode)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert expected in (probe.missing("bwrap") or "")
    with pytest.raises(OSError, match=r"bubblewrap|setuid"):
        bwrap.find()
