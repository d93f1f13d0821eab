"""What holds a run to each of its limits on this machine: for `djsci doctor`."""

import os
from collections.abc import Mapping

from . import conf
from .isolation import cures, limits, nest

MIB = 1 << 20
OF_CONTAINER = "the container's control group, which the probe meets"
LOOKED_AT = "what its processes hold is added up every 0.2 s"


def of_limits(level: str) -> Mapping[str, str]:
    """Each limit's name with its value and what enforces it, at `level`."""
    version, bounds = limits.version(), limits.Limits()
    cpu = int((conf.get("TIMEOUT") + conf.get("GRACE") + 5) * (os.cpu_count() or 1)) + 1
    most = f"{conf.get('PIDS_LIMIT')}"
    pids = f"RLIMIT_NPROC{f', pids.max of its cgroup v{version}' if version else ''}"
    if level == "container":
        pids = OF_CONTAINER
    return {
        "wall": f"{conf.get('TIMEOUT')} s: the executor interrupts, kills the tree"
        f" {conf.get('GRACE')} s later; the sweep too, where the executor vanished",
        "CPU": f"{cpu} s, of each process: RLIMIT_CPU",
        "memory": f"{conf.get('MEMORY_LIMIT') // MIB} MiB: {_memory(level, version)}",
        "pids": f"{most}: {pids}" if level != "process" else f"{bounds.pids}: {pids}, of its user",
        "descriptors": f"{bounds.files}: RLIMIT_NOFILE",
        "disk": _disk(level, bounds),
        "output": f"{conf.get('OUTPUT_LIMIT') / MIB:g} MiB: the executor counts, keeps both ends",
        "result": f"{conf.get('RESULT_LIMIT') / MIB:g} MiB: the run's encoder, and the executor",
    }


def _memory(level: str, version: int | None) -> str:
    if level == "container":
        return OF_CONTAINER
    if version is not None:
        return f"cgroup v{version}; in the engine kernel {LOOKED_AT}"
    cure = cures.of_groups(cures.look())
    return f"{LOOKED_AT}, since no cgroup can be made here (for an exact limit: {cure})"


def _disk(level: str, bounds: limits.Limits) -> str:
    if level in ("bwrap", "container"):
        sizes = ", ".join(f"{path} {size // MIB} MiB" for path, size in nest.SIZES.items())
        inodes = f", {nest.INODES} files each" if level == "bwrap" else ""
        return f"{sizes}{inodes}: tmpfs of its own"
    return (
        f"{bounds.file_size // MIB} MiB a file: RLIMIT_FSIZE; nothing bounds the folder's size"
        " at this level, bwrap does"
    )
