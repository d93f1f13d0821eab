"""Memory that a fork would share with what it was forked from: found, and made each one's own."""

import ctypes
import mmap
from typing import NamedTuple

MOST = 32 << 20  # bytes: each call copies them
FIXED = 0x10  # MAP_FIXED
GPU = "/dev/nvidia"


class Mapping(NamedTuple):
    """A piece of this process's memory that its forks write to as well."""

    start: int
    size: int
    protection: int
    name: str


def mappings() -> list[Mapping]:
    """All of them: a lock's page, an array for child processes, a device."""
    found = []
    with open("/proc/self/maps", errors="replace") as file:
        for line in file:
            place, rights, _, _, _, *name = line.rstrip("\n").split(maxsplit=5)
            if rights[1] == "w" and rights[3] == "s":
                start, end = (int(part, 16) for part in place.split("-"))
                executes = mmap.PROT_EXEC if rights[2] == "x" else 0
                protection = mmap.PROT_READ | mmap.PROT_WRITE | executes
                found.append(Mapping(start, end - start, protection, *name or ["anonymous"]))
    return found


def refused(found: list[Mapping]) -> str:
    """What cannot be copied for each call, by name."""
    if any(one.name.startswith(GPU) for one in found):
        return f"CUDA in use ({GPU})"
    if sum(one.size for one in found) > MOST:
        return f"shared memory ({', '.join(sorted({one.name for one in found}))})"
    return ""


def copy(found: list[Mapping]) -> None:
    """In a fork: the same memory at the same place, shared with our own forks only."""
    system = ctypes.CDLL(None, use_errno=True)
    system.mmap.restype = ctypes.c_void_p
    kind = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | FIXED
    for one in found:
        held = ctypes.string_at(one.start, one.size)
        sizes = (ctypes.c_void_p(one.start), ctypes.c_size_t(one.size))
        if system.mmap(*sizes, one.protection, kind, -1, ctypes.c_long(0)) != one.start:
            raise OSError(ctypes.get_errno(), f"{one.name} cannot be copied")
        ctypes.memmove(one.start, held, one.size)
