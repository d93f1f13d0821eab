"""The processes below a unit: found in /proc, measured, and killed until none is left."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

MARK = "DJSCI_UNIT"  # the variable that every process of a unit inherits
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    parent: int
    session: int
    memory: int
    started: int


def snapshot() -> dict[int, Process]:
    """Every process that is not a zombie, by pid. Memory is resident and not shared, in bytes."""
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                process = _read(name)
                if process is not None:
                    found[int(name)] = process
    return found


def _read(pid: str) -> Process | None:
    with open(f"/proc/{pid}/stat", "rb") as file:
        values = file.read().rpartition(b") ")[2].split()
    if values[0] in (b"Z", b"X"):
        return None
    with open(f"/proc/{pid}/statm", "rb") as file:
        pages = file.read().split()
    memory = (int(pages[1]) - int(pages[2])) * PAGE
    return Process(int(values[1]), int(values[3]), memory, int(values[19]))


def parent_of(pid: int) -> int:
    """Raises `OSError` when there is no such process."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b") ")[2].split()[1])


def members(root: int, mark: str, processes: Mapping[int, Process]) -> set[int]:
    """The unit's pids: `root`, its descendants, its session, and who carries its mark."""
    found = {root} & processes.keys()
    found |= {pid for pid, process in processes.items() if process.session == root}
    started = processes[root].started if root in processes else 0
    for pid, process in processes.items():
        if pid not in found and process.started >= started and _carries(pid, mark):
            found.add(pid)
    grew = True
    while grew:
        below = {pid for pid, process in processes.items() if process.parent in found}
        grew = not below <= found
        found |= below
    return found - {os.getpid()}


def _carries(pid: int, mark: str) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    return False


def memory(root: int, processes: Mapping[int, Process]) -> int:
    """Bytes that `root` and its descendants hold."""
    return sum(processes[pid].memory for pid in family(root, processes))


def proportional(root: int, processes: Mapping[int, Process]) -> int:
    """The same with pages that forks share counted once (PSS): slower, exact."""
    total = 0
    for pid in family(root, processes):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            [line] = [line for line in file if line.startswith(b"Pss:")]
            total += int(line.split()[1]) << 10
    return total


def is_over(root: int, processes: Mapping[int, Process], most: int) -> bool:
    """Whether `root` and its descendants hold more than `most` bytes; exact, where it matters."""
    return memory(root, processes) > most and proportional(root, processes) > most


def family(root: int, processes: Mapping[int, Process]) -> set[int]:
    """`root` and its descendants, those that live."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        if pid in processes:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def kill(root: int, mark: str, *, seconds: float = 1.0) -> bool:
    """SIGKILL the unit until a look finds none alive. False when some outlive `seconds`."""
    end = time.monotonic() + seconds
    while True:
        # Descendants first: while `root` lives it adopts their orphans, so none gets lost.
        alive = sorted(members(root, mark, snapshot()), key=lambda pid: pid == root)
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not alive:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
