"""What a run in a thread says, on its way to the loop: in order, and never too much of it."""

import asyncio
import threading
from collections import deque
from contextlib import suppress

from djsci.core.artifacts import ArtifactContent
from djsci.core.events import Chunk, Event, Result, Stream, clean

from .capture import Name

UNREAD = 1 << 20  # characters that wait; then `print` waits too
PIECE = 1 << 18  # characters in one stream event
PARTIAL = 1 << 13  # characters of a line that has no end yet


class Outbox:
    """Written by the run's threads, read by one task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._lock = threading.Condition()
        self._events: deque[Event] = deque()
        self._partial: dict[int, tuple[Name, list[str]]] = {}
        self._size = 0
        self._is_woken = False
        self._is_closed = False
        self.cell: int | None = None

    def write(self, name: Name, text: str) -> None:
        """Text that was printed. Each thread's line waits for its end, so lines stay whole."""
        thread = threading.get_ident()
        with self._lock:
            kept = self._partial.get(thread)
            if kept is not None and kept[0] != name:
                self._end_line(thread)
                kept = None
            if kept is None:
                kept = self._partial[thread] = (name, [])
            kept[1].append(text)
            if "\n" in text or "\r" in text or len(kept[1]) > 64 or len(text) > PARTIAL:
                self._end_line(thread)
                self._wait()

    def flush(self) -> None:
        """Send this thread's line as far as it is."""
        with self._lock:
            self._end_line(threading.get_ident())

    def put(self, event: Event) -> None:
        """An event; what its thread printed before goes first."""
        with self._lock:
            self._end_line(threading.get_ident())
            self._add(event)
            self._wait()

    def add(self, event: Event) -> None:
        """An event of the engine's own, from the loop: it never waits."""
        with self._lock:
            self._add(event)

    def end_lines(self) -> None:
        """Send what is left of all threads."""
        with self._lock:
            for thread in list(self._partial):
                self._end_line(thread)

    def close(self) -> None:
        """Nobody reads any more: what is still said is dropped, nobody waits."""
        with self._lock:
            self._is_closed = True
            self._partial.clear()
            self._lock.notify_all()

    def wake(self) -> None:
        """Make the reader look."""
        with suppress(RuntimeError):  # the loop is gone, and so is the reader
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self) -> None:
        """Return when there may be something to take."""
        await self._changed.wait()
        self._changed.clear()
        with self._lock:
            self._is_woken = False

    def take(self) -> Event | None:
        """The next event; text of one stream that follows itself is one event."""
        with self._lock:
            if not self._events:
                return None
            event = self._events.popleft()
            if isinstance(event, Stream):
                event = self._joined(event)
            self._size -= _size(event)
            self._lock.notify_all()
            return event

    def _joined(self, first: Stream) -> Stream:
        texts, size = [first.text], len(first.text)
        while self._events and size < PIECE:
            other = self._events[0]
            if not isinstance(other, Stream):
                break
            if (other.name, other.cell) != (first.name, first.cell):
                break
            self._events.popleft()
            texts.append(other.text)
            size += len(other.text)
        return Stream(name=first.name, text="".join(texts), cell=first.cell)

    def _end_line(self, thread: int) -> None:
        name, texts = self._partial.pop(thread, ("stdout", []))
        text = clean("".join(texts))
        for start in range(0, len(text), PIECE):
            self._add(Stream(name=name, text=text[start : start + PIECE], cell=self.cell))

    def _add(self, event: Event) -> None:
        if self._is_closed:
            return
        self._events.append(event)
        self._size += _size(event)
        if not self._is_woken:
            self._is_woken = True
            self.wake()

    def _wait(self) -> None:
        while self._size > UNREAD and not self._is_closed:
            self._lock.wait()


def _size(event: Event) -> int:
    match event:
        case Stream(text=text):
            return len(text)
        case Chunk(value=value) | Result(value=value) if value is not None:
            return len(value.text)
        case ArtifactContent(size=size):
            return size
    return 0
