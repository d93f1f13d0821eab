"""Tells every open socket of this process that the server is about to stop."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_listeners: set[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = set()
_is_announced = False
_is_draining = False


def is_draining() -> bool:
    """Whether this process takes no new sockets."""
    return _is_draining


def is_announced() -> bool:
    """Whether this process is about to stop: new calls had better go elsewhere."""
    return _is_announced or _is_draining


def announce() -> None:
    """Say that draining will begin soon."""
    global _is_announced
    _is_announced = True


@contextmanager
def listening(listener: Callable[[], None]) -> Iterator[None]:
    """Call `listener` on this loop once draining begins; at once if it has begun."""
    entry = (asyncio.get_running_loop(), listener)
    with _lock:
        _listeners.add(entry)
        has_begun = _is_draining
    if has_begun:
        listener()
    try:
        yield
    finally:
        with _lock:
            _listeners.discard(entry)


def begin() -> None:
    """Tell all, from any thread; those who come later are told as they come."""
    global _is_draining
    with _lock:
        _is_draining = True
        told = list(_listeners)
    for loop, listener in told:
        if not loop.is_closed():
            loop.call_soon_threadsafe(listener)


def over() -> None:
    """Take sockets again: a test's server goes on in the process that drained."""
    global _is_announced, _is_draining
    with _lock:
        _is_announced = _is_draining = False
