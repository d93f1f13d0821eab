"""A bounded wait for what other threads do."""

import time
from collections.abc import Callable


def until(is_so: Callable[[], bool]) -> bool:
    """Whether it became so within twenty seconds; for a thread that may wait."""
    end = time.monotonic() + 20
    while not is_so() and time.monotonic() < end:
        time.sleep(0.005)
    return is_so()
