"""Control groups of version 2, really: hugetlb stands for what another hierarchy has taken here."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from djsci.isolation import delegation

HUGE = ("hugetlb",)


@pytest.fixture
def group() -> Iterator[Path]:
    """A group as systemd would give it to a service, at a place that divides hugetlb."""
    root = Path("/sys/fs/cgroup/unified")
    root = root if root.exists() else Path("/sys/fs/cgroup")
    made = root / f"djsci-test-{secrets.token_hex(4)}"
    try:
        (root / "cgroup.subtree_control").write_text("+hugetlb")
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no control groups of version 2 with hugetlb: {error}")
    yield made
    for folder in sorted(made.glob("**/"), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


@pytest.fixture
def process(group: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of that group."""
    started = subprocess.Popen(["sleep", "60"])
    (group / "cgroup.procs").write_text(str(started.pid))
    yield started
    started.kill()
    started.wait()


def mark(group: Path) -> None:
    os.setxattr(group, "user.delegate", b"1")


def members(group: Path) -> list[str]:
    return (group / "cgroup.procs").read_text().split()


def test_runs_get_their_groups_below_ours_once_our_processes_made_way(group, process):
    mark(group)
    assert delegation.parent(group, HUGE) == group
    ours = group / delegation.OURS
    assert (members(group), members(ours)) == ([], [str(process.pid)])
    (group / "run").mkdir()
    assert (group / "run" / "hugetlb.2MB.max").exists()
    assert delegation.parent(ours, HUGE) == group  # for who moved, and for who starts later


def test_a_subgroup_of_systemds_own_is_as_good(group, process):
    mark(group)
    below = group / "main"
    below.mkdir()
    (below / "cgroup.procs").write_text(str(process.pid))
    assert delegation.parent(below, HUGE) == group
    assert members(below) == [str(process.pid)]


def test_what_was_not_given_to_us_stays_as_it_is(group, process):
    with pytest.raises(PermissionError):
        delegation.parent(group, HUGE)
    assert members(group) == [str(process.pid)]
    assert not (group / delegation.OURS).exists()


def test_a_controller_that_is_not_there_is_an_error(group, process):
    mark(group)
    with pytest.raises(OSError):  # noqa: PT011 - the kernel's own
        delegation.parent(group, ("no-such-controller",))
