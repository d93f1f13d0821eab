"""An engine's events become numbered log lines: merged, capped, batched, fenced."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from djsci import conf
from djsci.core.artifacts import ArtifactContent
from djsci.core.events import (
    Chunk,
    ClearOutput,
    Display,
    End,
    Error,
    Event,
    Log,
    Progress,
    Result,
    Status,
    Stream,
    clean,
)

from .log import QUEUED_AGAIN, Append, end_columns, numbered
from .output import OutputCap
from .pace import Pace
from .references import References, Store, size_of

_TEXT_BYTES = 64 << 10
_FLUSH_BYTES = 32 << 10
_FLUSH_EVENTS = 256
_BEHIND_BYTES = 8 << 20
_BEHIND_SECONDS = 10.0
_DISPLAY_BYTES = 64 << 20
_EVENT_BYTES = 900 << 10

Write = Callable[[Append], Awaitable[bool]]


class LeaseLost(Exception):
    """Another process has this run now; nothing more may be written."""


class Recorder:
    """Records one run from its claim to its `end`. Used on one loop.

    `write` appends under the lease, `store` keeps bytes and gives their SHA-256. What goes wrong
    in the background is raised by the next call of `add` or `end`; `on_failure` hears it at once.
    """

    def __init__(
        self,
        *,
        run_id: str,
        lease: int,
        head: int,
        write: Write,
        store: Store,
        output_limit: int,
        running_columns: dict[str, Any] | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._run_id = run_id
        self._lease = lease
        self._head = head
        self._write = write
        self._references = References(store)
        self._on_failure = on_failure
        self._running_columns = running_columns or {}
        self._cap = OutputCap(output_limit)
        self._pending: list[tuple[float, str]] = []
        self._pending_bytes = 0
        self._text: list[str] = []
        self._text_bytes = 0
        self._text_of: Stream | None = None
        self._text_since = 0.0
        self._progress: dict[str | None, tuple[float, Progress]] = {}
        self._columns: dict[str, Any] = {}
        self._display_bytes = 0
        self._result: Result | None = None
        self._error: Error | None = None
        self._pace = Pace()
        self._drained = asyncio.Event()
        self._failure: Exception | None = None
        self._is_closed = False
        self._task = asyncio.create_task(self._flush_always())

    async def add(self, event: Event) -> None:
        """Record one event; waits while the log is too far behind. Raises what stops the run."""
        if self._failure is not None:
            raise self._failure
        await self._wait_until_near()
        match event:
            case Stream():
                for piece in self._cap.take(replace(event, text=clean(event.text))):
                    self._add_now(piece)
            case Display():
                if self._has_room(size_of(event)):
                    self._line(await self._references.display(event))
            case Log() | ClearOutput():
                if self._has_room(len(event.to_json())):
                    self._line(event)
            case Chunk():
                self._line(await self._references.chunk(event))
            case ArtifactContent():
                self._line(await self._references.artifact(event))
            case Result():
                self._result = event
            case Progress():
                self._progress[event.label] = (time.time(), event)
                if len(self._progress) >= _FLUSH_EVENTS:
                    self._close_text()
                    self._close_progress()
            case Error():
                self._error = event
                self._line(event)
                self._pace.hurry()
            case Status():
                self._status(event)
            case _:
                self._line(event)
        self._pace.note()

    def _status(self, event: Status) -> None:
        """The claim has written `starting`; `running` is due soon: a short run is one append."""
        self._columns["state"] = event.state
        self._line(event)
        if event.state == "starting":
            self._pace.within(conf.intervals.window)
        elif event.state == "running":
            self._columns |= self._running_columns
            self._pace.within(conf.intervals.company)
        else:
            self._pace.hurry()

    def _add_now(self, piece: Event) -> None:
        if isinstance(piece, Stream):
            self._add_text(piece)
        else:
            self._line(piece)

    async def end(self, end: End) -> None:
        """Write all that waits, the tail of the output, the result, and `end` with the state."""
        if self._failure is not None:
            raise self._failure
        for piece in self._cap.finish():
            self._add_now(piece)
        result_columns: dict[str, Any] = {}
        if self._result is not None and end.state == "succeeded":
            try:
                result, result_columns = await self._references.result(self._result)
                self._line(result)
            except Exception as error:
                reason = f"its result could not be stored: {type(error).__name__}"
                end = replace(end, state="crashed", reason=reason)
        self._line(end)
        await self._close(end_columns(end, error=self._error) | result_columns)

    async def hand_back(self, why: str) -> None:
        """Queue the run again instead of ending it: its log goes on with its next executor."""
        for piece in self._cap.finish():
            self._add_now(piece)
        self._line(Status(state="queued", detail=why))
        await self._close(dict(QUEUED_AGAIN))

    async def _close(self, columns: dict[str, Any]) -> None:
        self._is_closed = True
        self._columns |= columns
        self._pace.hurry()
        await self._task
        if self._failure is not None:
            raise self._failure

    async def abort(self) -> None:
        """Stop without an `end`: the lease is lost, or the process ends."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _add_text(self, event: Stream) -> None:
        same = self._text_of
        if same is None or (same.name, same.cell) != (event.name, event.cell):
            self._close_text()
            self._text_of, self._text_since = event, time.time()
        self._text.append(event.text)
        self._text_bytes += len(event.text)
        self._pending_bytes += len(event.text)
        if self._text_bytes >= _TEXT_BYTES // 2:
            self._close_text()

    def _close_text(self) -> None:
        """The open text becomes events of at most 64 KiB."""
        if self._text_of is None:
            return
        text = "".join(self._text)
        self._pending_bytes -= len(text)
        step = _TEXT_BYTES if text.isascii() else _TEXT_BYTES // 4
        for start in range(0, len(text), step):
            piece = replace(self._text_of, text=text[start : start + step])
            self._append(self._text_since, piece.to_json())
        self._text, self._text_bytes, self._text_of = [], 0, None

    def _line(self, event: Event) -> None:
        self._close_text()
        if not isinstance(event, Progress):
            self._close_progress()
        line = event.to_json()
        if len(line) > _EVENT_BYTES:
            line = self._too_large(event, len(line)).to_json()
        self._append(time.time(), line)

    def _close_progress(self) -> None:
        waiting, self._progress = self._progress, {}
        for t, event in waiting.values():
            self._append(t, event.to_json())

    def _too_large(self, event: Event, size: int) -> Log:
        self._cap.drop(size)
        return Log(level="warning", message=f"A {event.type} event of {size} bytes was dropped.")

    def _append(self, t: float, line: str) -> None:
        self._pending.append((t, line))
        self._pending_bytes += len(line)
        if self._pending_bytes > _FLUSH_BYTES or len(self._pending) >= _FLUSH_EVENTS:
            self._pace.hurry()

    def _has_room(self, size: int) -> bool:
        """Whether displays and notes of the run may grow by `size` bytes; else it is counted."""
        self._display_bytes += size
        if self._display_bytes > _DISPLAY_BYTES:
            self._cap.drop(size)
            return False
        return True

    async def _wait_until_near(self) -> None:
        """Let the log catch up; the engine reads nothing meanwhile, so the run waits in `write`."""
        until = time.monotonic() + _BEHIND_SECONDS
        while self._pending_bytes > _BEHIND_BYTES and self._failure is None:
            self._drained.clear()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await self._drained.wait()
            except TimeoutError:
                self._drop_text()
                return

    def _drop_text(self) -> None:
        """Give up what was printed and not yet written, counted."""
        self._close_text()
        kept: list[tuple[float, str]] = []
        for t, line in self._pending:
            if line.startswith('{"type":"stream"'):
                text = json.loads(line)["text"]
                self._cap.drop(len(text.encode()), text.count("\n"))
                self._pending_bytes -= len(line)
            else:
                kept.append((t, line))
        self._pending = kept

    async def _flush_always(self) -> None:
        try:
            while not (self._is_closed and self._is_empty):
                await self._pace.turn()
                await self._flush()
                if self._is_closed:
                    continue
                await self._pace.pause()
                if not self._is_empty:
                    self._pace.note()
        except Exception as failure:
            self._failure = failure
            self._drained.set()
            self._on_failure()

    @property
    def _is_empty(self) -> bool:
        return not (self._pending or self._text_of or self._progress or self._columns)

    async def _flush(self) -> None:
        self._close_text()
        self._close_progress()
        if self._is_empty:
            return
        pending, self._pending = self._pending, []
        columns, self._columns = self._columns, {}
        size = self._pending_bytes
        lines = [
            numbered(line, seq=self._head + place, t=t)
            for place, (t, line) in enumerate(pending, 1)
        ]
        item = Append(
            run_id=self._run_id, lease=self._lease, head=self._head, lines=lines, columns=columns
        )
        if not await self._write(item):
            raise LeaseLost(self._run_id)
        self._head += len(lines)
        self._pending_bytes -= size
        self._drained.set()
