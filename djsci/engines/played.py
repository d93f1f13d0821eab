"""One run as an engine plays it: its outbox, its deadline, the ladder to its end."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import cast, get_args

from djsci.core import events
from djsci.core.artifacts import ArtifactContent
from djsci.core.events import End, Event

from .base import Limits, Stop
from .frames import Frames

WAITING = 1 << 20  # characters of events that wait for the reader; then no more is read


class Outbox:
    """Events on their way to the reader; `put` waits while the reader is behind."""

    def __init__(self) -> None:
        self._events: deque[tuple[Event, int]] = deque()
        self._size = 0
        self._changed = asyncio.Condition()
        self._is_closed = False

    async def put(self, event: Event, *, waits: bool = True) -> None:
        async with self._changed:
            if waits:
                await self._changed.wait_for(lambda: self._size < WAITING)
            size = _size(event)
            self._events.append((event, size))
            self._size += size
            self._changed.notify_all()

    async def close(self) -> None:
        """No event follows."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    async def get(self) -> Event | None:
        """The next event; None after the last."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._events or self._is_closed)
            if not self._events:
                return None
            event, size = self._events.popleft()
            self._size -= size
            self._changed.notify_all()
            return event


def _size(event: Event) -> int:
    match event:
        case events.Stream(text=text):
            return len(text)
        case events.Display(data=data):
            return sum(len(part) for part in data.values() if isinstance(part, str)) + 100
        case events.Chunk(value=events.Json(text=text)):
            return len(text)
        case ArtifactContent(size=size):
            return size
    return 100


class Played(ABC):
    """A task plays the run, another climbs the ladder; who has the engine reads the outbox."""

    what = "run"

    def __init__(
        self, *, limits: Limits, stop: Stop, frames: Frames, began: float | None = None
    ) -> None:
        self.limits = limits
        self.stop = stop
        self.frames = frames
        self.outbox = Outbox()
        self.is_first = began is None  # else the run has been `running` since then
        self._began = began or time.monotonic()
        self._verdict: events.FinalState | None = None
        self._end: tuple[events.FinalState, str] = ("crashed", f"the {self.what} is gone")
        self._play: asyncio.Task[None] | None = None
        self._ladder: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether it was ended for its memory."""

    @abstractmethod
    async def play(self) -> tuple[events.FinalState, str]:
        """Play the run to its end: the state and the reason."""

    @abstractmethod
    def interrupt(self) -> None:
        """The ladder's first step."""

    @abstractmethod
    def kill(self) -> None:
        """Its last one."""

    def start(self) -> None:
        """`running` from now on: the deadline counts."""
        if self.is_first:
            self._began = time.monotonic()
        self._play = asyncio.create_task(self._run())
        self._ladder = asyncio.create_task(self._climb(self._play))

    @property
    def is_well(self) -> bool:
        """Whether all that was asked for was done, and nothing stopped it."""
        return self._end[0] == "succeeded" and self._verdict is None and not self.is_over

    @property
    def is_stopped(self) -> bool:
        """Whether the ladder has begun."""
        return self._verdict is not None

    def end(self, *, is_gone: bool) -> list[Event]:
        """The result, if the run has one, and the end."""
        state, why = self._end
        if self.is_over:
            limit = readable_size(self.limits.memory)
            state, why = "crashed", f"memory limit ({limit}) exceeded"
        elif self._verdict == "timed_out":
            state, why = "timed_out", f"over the limit of {self.limits.timeout:g} s"
        elif self._verdict is not None:
            state, why = self._verdict, ""
        elapsed = time.monotonic() - self._began
        said: list[Event] = [End(state=state, elapsed=elapsed, reason=why, abandoned=not is_gone)]
        if state == "succeeded" and self.frames.result is not None:
            said.insert(0, self.frames.result)
        return said

    async def close(self) -> None:
        """Stop both tasks; what was played is killed by now."""
        for task in (self._ladder, self._play):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            self._end = await self.play()
        except Exception as error:
            self._end = ("crashed", f"the {self.what} failed: {error!r}")
            raise
        finally:
            await self.outbox.close()

    async def _climb(self, play: asyncio.Task[None]) -> None:
        """The ladder: interrupt, `grace` seconds, kill; at the deadline and when asked."""
        asked = asyncio.ensure_future(self.stop.asked())
        forced = asyncio.ensure_future(self.stop.forced())
        first = asyncio.FIRST_COMPLETED
        try:
            left = self.limits.timeout - (time.monotonic() - self._began)
            await asyncio.wait({asked, play}, timeout=max(0.0, left), return_when=first)
            if play.done():
                return
            self._verdict = final(self.stop.reason) if self.stop.is_asked else "timed_out"
            await self.outbox.put(events.Status(state="cancelling"), waits=False)
            self.interrupt()
            await asyncio.wait({forced, play}, timeout=self.limits.grace, return_when=first)
            self.kill()
        finally:
            for task in (asked, forced):
                task.cancel()


def final(reason: str | None) -> events.FinalState:
    """The end that a stop asks for."""
    for state in get_args(events.FinalState):
        if state == reason:
            return cast(events.FinalState, state)
    return "cancelled"


def readable_size(size: int) -> str:
    """A size as people write it: 300 MiB."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"
