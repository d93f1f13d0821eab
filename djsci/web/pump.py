"""Everything that a socket sends: whole frames, one after the other, and nothing after the last."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from djsci import conf
from djsci.core.events import dumps
from djsci.runs import Page, lines

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Gone(Exception):
    """The peer left, or takes nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """An `events` frame, ready to send, of `size` bytes; `last` is the last seq in it."""

    text: str
    size: int
    last: int


def frames(page: Page, *, run_id: str, with_traceback: bool) -> Sequence[Frame]:
    """A page's events in frames of at most 256 events and 256 KiB, unless one alone is larger."""
    form = ("frames", with_traceback)
    return page.once(form, lambda: tuple(_frames(page, run_id, with_traceback=with_traceback)))


def _frames(page: Page, run_id: str, *, with_traceback: bool) -> Iterator[Frame]:
    most_events, most_bytes = conf.intervals.frame_events, conf.intervals.frame_bytes
    batch: list[str] = []
    size, first = 0, page.first
    for raw in page.lines:
        line = lines.public(raw, run_id=run_id, with_traceback=with_traceback)
        length = len(line) if line.isascii() else len(line.encode())
        if batch and (len(batch) >= most_events or size + length > most_bytes):
            yield _frame(first, batch, size)
            first, batch, size = first + len(batch), [], 0
        batch.append(line)
        size += length + 1
    if batch:
        yield _frame(first, batch, size)


def _frame(first: int, batch: list[str], size: int) -> Frame:
    last = first + len(batch) - 1
    text = f'{{"type":"events","first":{first},"last":{last},"events":[{",".join(batch)}]}}'
    return Frame(text=text, size=size, last=last)


class Watch:
    """Ends what takes longer than `seconds`, as `asyncio.timeout` does, for many that do not.

    A timer for each frame would cost as much as the frame. One is set where none is running, and
    looks, when it rings, at how long what goes on now has taken.
    """

    def __init__(self, seconds: float, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._seconds = seconds
        self._loop = loop or asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._began = 0.0
        self._is_late = False

    def __enter__(self) -> None:
        self._task, self._began = asyncio.current_task(), self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self._task = self._task, None
        if self._is_late and task is not None and kind is asyncio.CancelledError:
            self._is_late = False
            if not task.uncancel():
                raise TimeoutError

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return
        left = self._began + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._is_late = True
            self._task.cancel()


class Pump:
    """The sending half of one socket. Its frames never interleave; a stalled peer ends it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = asyncio.Lock()
        self._watch = Watch(conf.intervals.send_blocked)
        self._is_over = False
        self.lost = asyncio.Event()
        self.bytes = 0
        self.last = 0
        self.spoke = time.monotonic()

    async def events(self, frame: Frame, *, is_more: bool) -> None:
        """Send events. Where `is_more` is at hand others have their turn: `send` may not yield."""
        async with self._turn:
            if await self._put(frame.text, frame.size):
                self.last = frame.last
        if is_more:
            await asyncio.sleep(0)

    async def say(self, frame: dict[str, Any]) -> None:
        """Send any other frame."""
        async with self._turn:
            await self._put(dumps(frame), 0)

    async def close(self, code: int, words: dict[str, Any] | None = None) -> None:
        """Say the last words, if any, and close; whatever others try to send is dropped."""
        async with self._turn:
            await self._finish(code, words)

    async def next(self) -> None:
        """Tell the peer to come back at once for what follows, and close."""
        async with self._turn:
            await self._finish(1000, {"type": "next", "after": self.last})

    async def _finish(self, code: int, words: dict[str, Any] | None) -> None:
        if self._is_over:
            return
        if words:
            await self._put(dumps(words), 0)
        self._is_over = True
        if code == 1000:
            await self._let_it_arrive()
        await self._within_limit({"type": "websocket.close", "code": code})

    async def _put(self, text: str, size: int) -> bool:
        if self._is_over:
            return False
        self.bytes += size
        await self._within_limit({"type": "websocket.send", "text": text})
        self.spoke = time.monotonic()
        return True

    async def _within_limit(self, message: dict[str, Any]) -> None:
        try:
            with self._watch:
                await self._send(message)
        except (TimeoutError, OSError) as error:
            self._is_over = True
            self.lost.set()
            raise Gone from error

    async def _let_it_arrive(self) -> None:
        """Give a slow peer the time to read, where the server would cut it off.

        Daphne resets the connection a second after its own close frame, with all that is still
        buffered, unless `djsci up` told it to wait. So the peer is let to close first.
        """
        protocol = next(iter(getattr(self._send, "args", ())), None)
        patience = getattr(protocol, "closeHandshakeTimeout", None)
        is_hasty = patience is not None and patience < conf.intervals.send_blocked
        if is_hasty and self.bytes > conf.intervals.frame_bytes:
            await asyncio.sleep(conf.intervals.send_blocked)
