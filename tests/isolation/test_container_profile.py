"""compose.yaml's options in a real container, by podman and crun: there bubblewrap works."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import absent
from tests.test_compose import PROFILE, ROOT, SERVICES

PYTHON = "/usr/bin/python3"  # of the system: the container has nothing but /usr and djsci
PROBE = """
import os, sys
sys.path.insert(0, "/srv")
from djsci.isolation import probe
kept = open("/proc/self/status").read()
assert os.getuid() == 10001 and "CapBnd:\\t0000000000000000" in kept and "Seccomp:\\t2" in kept
print("\\n".join(probe.probe(level) or "holds" for level in ("landlock", "bwrap", "nested")))
"""
# crun wants one kind of control groups: where the host mixes both it gets a view of its own.
ONE_KIND = """
if ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount --recursive --lazy /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit
fi
exec "$@"
"""


@pytest.fixture
def podman() -> Iterator[list[str]]:
    """Podman with a storage of its own, in a mount namespace of its own."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("podman", "crun", PYTHON))):
        absent("podman", f"needs root, podman, crun and {PYTHON}")
    with tempfile.TemporaryDirectory(prefix="djsci-", dir="/tmp") as folder:  # 50 characters
        own = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        engine = ["podman", *own, "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
        yield ["unshare", "--mount", "sh", "-c", ONE_KIND, "sh", *engine]


def root_folder(folder: Path) -> Path:
    """The container's root: the system's programs and djsci are mounted in it."""
    root = folder / "rootfs"
    for name in ("usr", "tmp", "proc", "sys", "dev", "etc", "run", "srv/djsci"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    return root


def probed(podman: list[str], folder: Path, options: list[str]) -> list[str]:
    """What the probe says of each level in a container as compose.yaml's worker is one."""
    service = SERVICES["worker"]
    security = [part for option in options for part in ("--security-opt", option)]
    command = [
        *podman,
        *("run", "--rm", "--network", "none", "--cgroups", "disabled", "--log-driver", "none"),
        *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
        *("--user", service["user"], "--cap-drop", *service["cap_drop"], "--read-only"),
        *("--tmpfs", *service["tmpfs"], *security),
        *("--volume", "/usr:/usr:ro", "--volume", f"{ROOT / 'djsci'}:/srv/djsci:ro"),
        *("--rootfs", str(root_folder(folder)), PYTHON, "-B", "-c", PROBE),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def options_of_compose() -> list[str]:
    kept = [option for option in SERVICES["worker"]["security_opt"] if "apparmor" not in option]
    return [option.replace("=deploy/", f"={ROOT}/deploy/") for option in kept]


@pytest.mark.faults
def test_bubblewrap_works_in_a_container_of_compose(podman: list[str], tmp_path: Path):
    assert probed(podman, tmp_path, options_of_compose()) == ["holds", "holds", "holds"]


@pytest.mark.faults
def test_bubblewrap_needs_every_system_call_that_the_profile_adds(
    podman: list[str], tmp_path: Path
):
    for missing in PROFILE["syscalls"][-1]["names"]:
        folder = tmp_path / missing
        folder.mkdir()
        added = dict(PROFILE["syscalls"][-1])
        added["names"] = [name for name in added["names"] if name != missing]
        less = {**PROFILE, "syscalls": [*PROFILE["syscalls"][:-1], added]}
        (folder / "less.json").write_text(json.dumps(less), encoding="utf-8")
        options = [option for option in options_of_compose() if "seccomp" not in option]
        [landlock, *others] = probed(podman, folder, [*options, f"seccomp={folder / 'less.json'}"])
        assert landlock == "holds"
        assert all("nothing starts" in said for said in others), (missing, others)


@pytest.mark.faults
def test_bubblewrap_needs_a_proc_without_masks(podman: list[str], tmp_path: Path):
    options = [option for option in options_of_compose() if "systempaths" not in option]
    [landlock, *others] = probed(podman, tmp_path, options)
    assert landlock == "holds"
    assert all("Can't mount proc" in said for said in others)
