"""One run in one kernel: its cells are played, its ladder climbed, its end judged."""

import asyncio
import json
import os
import secrets
import time
from collections import deque
from typing import cast, get_args

from nbclient.exceptions import DeadKernelError

from djsci.core import events
from djsci.core.events import End, Event
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest

from . import bundle
from .base import Limits, Stop
from .cells import Cells, Failed
from .frames import Frames, reason
from .provisioner import Unit

WAITING = 1 << 20  # characters of events that wait for the reader; then the kernel is not read
CALL = "__import__('djsci.guest.kernel', fromlist=['_']).{}()"
AWAIT = f"await {CALL}"


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
    return 100


class Execution:
    """One run in one unit: a task plays the source, another climbs the ladder."""

    def __init__(
        self, unit: Unit, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> None:
        self.unit = unit
        self.source = source
        self.request = request
        self.limits = limits
        self.stop = stop
        self.outbox = Outbox()
        self.is_over_memory = False
        self.frames = Frames(nonce=secrets.token_urlsafe(16), result_limit=limits.result)
        self._began = time.monotonic()
        self._verdict: events.FinalState | None = None
        self._end: tuple[events.FinalState, str] = ("crashed", "the kernel is gone")
        self._play: asyncio.Task[None] | None = None
        self._ladder: asyncio.Task[None] | None = None

    def start(self) -> None:
        """`running` from now on: the deadline counts."""
        seconds = self.limits.timeout + self.limits.grace + 5
        self.unit.limit(cpu_seconds=seconds * (os.cpu_count() or 1))
        self._began = time.monotonic()
        self._play = asyncio.create_task(self._run())
        self._ladder = asyncio.create_task(self._climb(self._play))

    def end(self, *, is_gone: bool) -> list[Event]:
        """The result, if the run has one, and the end."""
        state, reason = self._end
        if self.is_over_memory:
            state, reason = (
                "crashed",
                f"memory limit ({readable_size(self.limits.memory)}) exceeded",
            )
        elif self._verdict == "timed_out":
            state, reason = "timed_out", f"over the limit of {self.limits.timeout:g} s"
        elif self._verdict is not None:
            state, reason = self._verdict, ""
        elapsed = time.monotonic() - self._began
        said: list[Event] = [
            End(state=state, elapsed=elapsed, reason=reason, abandoned=not is_gone)
        ]
        if state == "succeeded" and self.frames.result is not None:
            said.insert(0, self.frames.result)
        return said

    async def close(self) -> None:
        """Stop both tasks; the tree is dead by now."""
        for task in (self._ladder, self._play):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            self._end = await self._judge()
        except Exception as error:
            self._end = ("crashed", f"the kernel engine failed: {error!r}")
            raise
        finally:
            await self.outbox.close()

    async def _judge(self) -> tuple[events.FinalState, str]:
        try:
            await self._cells()
        except Failed as failed:
            return "failed", str(failed)
        except DeadKernelError:
            return "crashed", self.unit.exit_text()
        if self.frames.error is not None:
            return "failed", reason(self.frames.error)
        if self.unit.is_guest and not self.frames.is_done:
            return "crashed", "the guest ended without saying so"
        return "succeeded", ""

    async def _cells(self) -> None:
        source, is_guest = self.source, self.unit.is_guest
        cells = Cells(
            unit=self.unit, emit=self.outbox.put, frames=self.frames, count=len(source.cells)
        )
        if source.kind == "py":
            cells.places[1] = (1, 0)
        for warning in source.warnings:
            await self.outbox.put(events.Log(level="warning", message=warning))
        if is_guest:
            await cells.hidden(CALL.format("begin"), buffers=self._buffers())
        if source.kind == "ipynb":
            await self._notebook(cells)
        self._go_on()
        if is_guest:
            await cells.hidden(AWAIT.format("finish"), is_last=True)
        else:
            self.frames.result = events.Result(value=events.Json(text="null"))

    def _go_on(self) -> None:
        """Nothing new begins once the run is to stop, whatever the code made of the interrupt."""
        if self._verdict is not None:
            raise Failed("stopped")

    async def _notebook(self, cells: Cells) -> None:
        source = self.source
        wants = self.unit.is_guest and not source.has_handler and bool(self.request.parameters)
        tagged = [cell.index for cell in source.cells if "parameters" in cell.tags]
        if wants and not tagged:
            await cells.hidden(CALL.format("parameters"))
        for cell in source.cells:
            self._go_on()
            await cells.run(cell)
            if wants and tagged and cell.index == tagged[0]:
                await cells.hidden(CALL.format("parameters"))

    def _buffers(self) -> list[bytes]:
        """What the run is about, as binary buffers: no data in code, no size limit."""
        source = self.source
        names = sorted(source.files)
        head = {
            "nonce": self.frames.nonce,
            "request": self.request.to_dict(),
            "kind": source.kind,
            "entry": source.name,
            "has_handler": source.has_handler,
            "files": names,
            "hidden": bundle.hidden(),
            "result_limit": self.limits.result,
        }
        return [json.dumps(head).encode(), *(source.files[name] for name in names)]

    async def _climb(self, play: asyncio.Task[None]) -> None:
        """The ladder: interrupt, `grace` seconds, kill; at the deadline and when asked."""
        asked = asyncio.ensure_future(self.stop.asked())
        forced = asyncio.ensure_future(self.stop.forced())
        first = asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({asked, play}, timeout=self.limits.timeout, return_when=first)
            if play.done():
                return
            self._verdict = final(self.stop.reason) if self.stop.is_asked else "timed_out"
            await self.outbox.put(events.Status(state="cancelling"), waits=False)
            self.unit.interrupt()
            await asyncio.wait({forced, play}, timeout=self.limits.grace, return_when=first)
            self.unit.kill()
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
