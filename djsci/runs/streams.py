"""How many streams and sockets are open: a user's, a run's, this process's."""

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from djsci.core.errors import LimitReached

MOST_OF_A_USER = 20
MOST_OF_A_RUN = 200
MOST_OF_A_PROCESS = 2000
RETRY_SECONDS = 30

_lock = threading.RLock()  # a collected stream may close itself within our own hold
_open: Counter[tuple[str, Hashable]] = Counter()


class Stream:
    """One open stream. Closed twice it counts once; forgotten, it is closed when collected."""

    def __init__(self, user_id: Hashable, run_id: str | None) -> None:
        self._keys: set[tuple[str, Hashable]] = set()
        wanted = _wanted(user_id, run_id)
        with _lock:
            for key, (most, whose) in wanted.items():
                if _open[key] >= most:
                    message = f"{whose} {most} streams open, which is the limit."
                    raise LimitReached(message, retry_after=RETRY_SECONDS)
            _open.update(wanted.keys())
            self._keys = set(wanted)

    def join(self, run_id: str) -> None:
        """Count the stream for a run that it began without. Raises `LimitReached`."""
        key = ("run", run_id)
        with _lock:
            if key in self._keys:
                return
            if _open[key] >= MOST_OF_A_RUN:
                message = f"This run has {MOST_OF_A_RUN} streams open, which is the limit."
                raise LimitReached(message, retry_after=RETRY_SECONDS)
            _open[key] += 1
            self._keys.add(key)

    def close(self) -> None:
        """Give the places back."""
        with _lock:
            for key in self._keys:
                _open[key] -= 1
                if not _open[key]:
                    del _open[key]
            self._keys = set()

    def __del__(self) -> None:
        if self._keys:
            self.close()


def _wanted(user_id: Hashable, run_id: str | None) -> dict[tuple[str, Hashable], tuple[int, str]]:
    wanted: dict[tuple[str, Hashable], tuple[int, str]] = {
        ("process", None): (MOST_OF_A_PROCESS, "This server has"),
        ("user", user_id): (MOST_OF_A_USER, "You have"),
    }
    if run_id is not None:
        wanted["run", run_id] = (MOST_OF_A_RUN, "This run has")
    return wanted


def open_stream(user_id: Hashable, run_id: str | None = None) -> Stream:
    """Take a place; its holder closes it. Raises `LimitReached` naming the limit."""
    return Stream(user_id, run_id)


@contextmanager
def opened(user_id: Hashable, run_id: str | None = None) -> Iterator[Stream]:
    """A place for the length of a `with`; `run_id` may come later by `join`."""
    stream = Stream(user_id, run_id)
    try:
        yield stream
    finally:
        stream.close()


def count() -> int:
    """How many streams this process has open."""
    with _lock:
        return _open["process", None]
