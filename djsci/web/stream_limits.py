"""What bounds an HTTP stream: room for it among the others, its bytes and its time."""

import time
from collections.abc import Hashable
from threading import BoundedSemaphore

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from djsci import conf
from djsci.core.errors import NoCapacity
from djsci.runs import streams

_BLOCKING = BoundedSemaphore(4)  # streams that hold a thread of a WSGI server each


class Place:
    """Room for one stream, taken before anything is begun for it; whoever takes it closes it.

    Raises `LimitReached`, and `NoCapacity` where a stream would hold a thread of a WSGI server.
    """

    def __init__(self, request: HttpRequest, user_id: Hashable) -> None:
        self.is_blocking = not isinstance(request, ASGIRequest)
        self._holds_thread = self.is_blocking and _BLOCKING.acquire(blocking=False)
        if self.is_blocking and not self._holds_thread:
            raise NoCapacity("All streams of this server are taken; ask for JSON pages.")
        try:
            self._counted = streams.open_stream(user_id)
        except BaseException:
            self._release_thread()
            raise

    def join(self, run_id: str) -> None:
        """Count it for its run. Raises `LimitReached`."""
        self._counted.join(run_id)

    def close(self) -> None:
        """Make room again; a second time does nothing."""
        self._counted.close()
        self._release_thread()

    def _release_thread(self) -> None:
        if self._holds_thread:
            self._holds_thread = False
            _BLOCKING.release()


class Budget:
    """What one response may still send: bytes and seconds."""

    def __init__(self) -> None:
        self._bytes = conf.intervals.socket_bytes
        self._until = time.monotonic() + conf.intervals.stream_age
        self._recheck = time.monotonic() + conf.intervals.recheck

    def is_spent_by(self, size: int) -> bool:
        """Whether nothing may follow these `size` bytes."""
        self._bytes -= size
        return self._bytes <= 0 or time.monotonic() >= self._until

    def spend(self) -> None:
        """Let nothing follow what is at hand."""
        self._until = time.monotonic()

    @property
    def is_check_due(self) -> bool:
        """Whether the reader's right is to be asked again; the clock starts anew."""
        if time.monotonic() < self._recheck:
            return False
        self._recheck = time.monotonic() + conf.intervals.recheck
        return True

    @property
    def pause(self) -> float:
        """Seconds until something is due."""
        now = time.monotonic()
        return max(0.0, min(conf.intervals.head, self._recheck - now, self._until - now))
