"""Waiting for what a page or a listener comes to, with an end."""

import time
from collections.abc import Callable
from typing import Any


def until(page: Any, is_so: Callable[[], bool], *, seconds: float = 20) -> None:
    """Until `is_so()`; the page's events come in meanwhile."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not so after {seconds} s"
        page.wait_for_timeout(50)
