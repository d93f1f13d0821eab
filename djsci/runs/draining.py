"""Tells every open socket, stream and waiting call of this process that the server stops."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from djsci import conf

Listener = Callable[[], None]


class _Moment:
    """What comes once in the life of a server, and those who want to hear of it."""

    def __init__(self) -> None:
        self.has_come = False
        self._lock = threading.Lock()
        self._listeners: set[tuple[asyncio.AbstractEventLoop, Listener]] = set()

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        entry = (asyncio.get_running_loop(), listener)
        with self._lock:
            self._listeners.add(entry)
            has_come = self.has_come
        if has_come:
            listener()
        try:
            yield
        finally:
            with self._lock:
                self._listeners.discard(entry)

    def come(self) -> None:
        with self._lock:
            self.has_come = True
            told = list(self._listeners)
        for loop, listener in told:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._tell, loop, listener)

    def _tell(self, loop: asyncio.AbstractEventLoop, listener: Listener) -> None:
        with self._lock:
            listens_still = (loop, listener) in self._listeners
        if listens_still:
            listener()


_begun = _Moment()
_over = _Moment()
_is_announced = False


def is_draining() -> bool:
    """Whether this process takes no new sockets."""
    return _begun.has_come


def is_announced() -> bool:
    """Whether this process is about to stop: new calls had better go elsewhere."""
    return _is_announced or _begun.has_come


def is_over() -> bool:
    """Whether nobody may wait here any more: the server is about to close its connections."""
    return _over.has_come


def announce() -> None:
    """Say that draining will begin soon."""
    global _is_announced
    _is_announced = True


@contextmanager
def leaving(listener: Listener) -> Iterator[None]:
    """Call `listener` on this loop soon after draining begins, and when it is over.

    Readers leave at different times within `drain_jitter`, so that they do not all come to the
    next server at once; who comes while it drains has all of that time.
    """
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    jitter = conf.intervals.drain_jitter
    pause = jitter if is_draining() else random.uniform(0, jitter)  # noqa: S311 - no secret

    def soon() -> None:
        timers.append(loop.call_later(pause, listener))

    try:
        with _begun.listening(soon), _over.listening(listener):
            yield
    finally:
        for timer in timers:
            timer.cancel()


@contextmanager
def ending(listener: Listener) -> Iterator[None]:
    """Call `listener` on this loop once draining is over; at once if it is."""
    with _over.listening(listener):
        yield


def begin() -> None:
    """Tell all who read, from any thread; those who come later are told as they come."""
    _begun.come()


def end() -> None:
    """Tell all who still wait, from any thread, that they must go now."""
    _over.come()


def over() -> None:
    """Take sockets again: a test's server goes on in the process that drained."""
    global _is_announced
    _is_announced = _begun.has_come = _over.has_come = False
