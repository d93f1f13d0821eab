"""A bounded wait for what other threads and processes do."""

import time
from collections.abc import Callable
from typing import Any


def until(is_true: Callable[[], Any], *, seconds: float = 60) -> Any:
    """What `is_true` gives once it is true; an error after `seconds`. For who may block."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := is_true():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not so within {seconds} s")
