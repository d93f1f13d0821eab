"""The fork server's memory in large pages: the table that each fork copies is then short."""

import ctypes
import sys

LARGE = 2 << 20  # bytes in a large page, on x86_64 and on aarch64 with pages of 4 KiB
_COLLAPSE = 25  # MADV_COLLAPSE, since Linux 6.1


def collapse() -> int:
    """Put what this process has written into large pages; how many, 0 where none can be had.

    A child that writes to one gets small pages of its own, as ever.
    """
    if sys.platform != "linux":
        return 0
    system = ctypes.CDLL(None)
    done = 0
    with open("/proc/self/maps") as file:
        places = [line.split() for line in file]
    for addresses, rights, *_, inode in (place[:5] for place in places):
        if rights != "rw-p" or inode != "0":
            continue
        first, end = (int(address, 16) for address in addresses.split("-"))
        for address in range(-(-first // LARGE) * LARGE, end - LARGE + 1, LARGE):
            size = ctypes.c_size_t(LARGE)
            done += system.madvise(ctypes.c_void_p(address), size, _COLLAPSE) == 0
    return done
