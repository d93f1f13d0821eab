"""The C library, opened once: whoever opens it anew makes each of its functions anew."""

import ctypes
from functools import cache


@cache
def libc() -> ctypes.CDLL:
    """It keeps `errno` for `ctypes.get_errno`."""
    return ctypes.CDLL(None, use_errno=True)
