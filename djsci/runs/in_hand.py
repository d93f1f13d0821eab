"""How much an executor has in hand: a drain waits until that is nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class InHand:
    """Runs, claims and admissions that have begun and not ended; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._none = threading.Event()
        self._none.set()

    def take(self) -> None:
        """One more; whoever refuses work while it drains looks at that only after this."""
        with self._lock:
            self._count += 1
            self._none.clear()

    def put_down(self) -> None:
        """One less."""
        with self._lock:
            self._count -= 1
            if not self._count:
                self._none.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """One more, meanwhile."""
        self.take()
        try:
            yield
        finally:
            self.put_down()

    def wait(self, seconds: float) -> bool:
        """Whether nothing is in hand within so many seconds."""
        return self._none.wait(seconds)
