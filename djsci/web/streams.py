"""A run's events over HTTP: JSON pages, Server-Sent Events, one line an event."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from django.db import DatabaseError, close_old_connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from djsci import conf, runs, surface
from djsci.access.database import in_database
from djsci.core.errors import DjsciError
from djsci.runs import draining, lines, log

from .stream_limits import Budget, Place

logger = logging.getLogger("djsci.streams")

Answer = TypeVar("Answer", bound=HttpResponseBase)
Form = Literal["json", "sse", "ndjson"]
TYPES: dict[str, Form] = {
    "application/json": "json",
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
}
HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",  # else GZipMiddleware holds the stream back
}
_RETRY = b"retry: 1000\n\n"


def wanted_form(request: HttpRequest) -> Form:
    """What `Accept` asks for; JSON when it asks for nothing that there is."""
    chosen = request.get_preferred_type(list(TYPES))
    return TYPES.get(chosen or "", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reader of a run: from where, in which form, and what it may see.

    `allowed` is asked again and again; the stream ends when it says no. `prefix` is put before
    each id of Server-Sent Events.
    """

    run_id: str
    after: int
    form: Form
    with_traceback: bool
    allowed: Callable[[], bool]
    user_id: Hashable
    prefix: str = ""

    def public(self, page: log.Page) -> list[str]:
        """The page's lines as this reader may see them."""
        return [
            lines.public(line, run_id=self.run_id, with_traceback=self.with_traceback)
            for line in page.lines
        ]

    def encode(self, page: log.Page) -> bytes:
        """One write for all events of a page, made once for all readers of the same form."""
        form = (self.form, self.prefix, self.with_traceback)
        return page.once(form, lambda: self._encoded(page))

    def _encoded(self, page: log.Page) -> bytes:
        texts = self.public(page)
        if self.form == "ndjson":
            return "".join(f"{text}\n" for text in texts).encode()
        numbered = enumerate(texts, page.first)
        return "".join(
            f"id: {self.prefix}{seq}\ndata: {text}\n\n" for seq, text in numbered
        ).encode()

    @property
    def heartbeat(self) -> bytes:
        """What is said in silence: nothing where every line is an event."""
        return b": hb\n\n" if self.form == "sse" else b""

    def cut(self, after: int) -> bytes:
        """What closes a stream that is cut; an EventSource comes back by its last id."""
        return f'{{"type":"next","after":{after}}}\n'.encode() if self.form == "ndjson" else b""


async def json_page(reading: Reading, *, wait: float) -> HttpResponse:
    """The next page as JSON; with `wait` it comes at the first event or after so many seconds."""
    page = await runs.page(reading.run_id, after=reading.after)
    if not page.lines and not page.is_ended and wait > 0:
        await surface.release_connections()
        await runs.wait_news(reading.run_id, after=reading.after, wait=wait)
        page = await runs.page(reading.run_id, after=reading.after)
    events = ",".join(reading.public(page))
    ended = "true" if page.is_last else "false"
    body = f'{{"events":[{events}],"after":{page.last},"ended":{ended}}}'
    answer = HttpResponse(body, content_type="application/json")
    answer["Cache-Control"] = "no-store"
    return answer


async def stream(
    request: HttpRequest, reading: Reading, place: Place | None = None
) -> HttpResponseBase:
    """The events as they happen; 204 once the run has ended and nothing is left.

    `place` is the stream's from here on. Raises `BadRequest` beyond the head, `Pruned`,
    `NotFound`, `LimitReached`, `NoCapacity`.
    """
    is_given_away = False
    try:
        page = await runs.page(reading.run_id, after=reading.after, events=1)
        is_over = page.is_last and not page.lines
        if is_over or surface.is_head(request):
            return _without_events(reading, is_over=is_over)
        place = place or Place(request, reading.user_id)
        place.join(reading.run_id)
        await surface.release_connections()
        follow = _follow_blocking if place.is_blocking else _follow
        answer = _closing(_answer(reading, follow(reading)), place.close)
        is_given_away = True
        return answer
    finally:
        if place is not None and not is_given_away:
            place.close()


def _without_events(reading: Reading, *, is_over: bool) -> HttpResponse:
    """204 after the end; to a HEAD the headers of the stream."""
    if is_over:
        return HttpResponse(status=204)
    return _with_headers(HttpResponse(content_type=_content_type(reading.form)))


def _answer(
    reading: Reading, content: AsyncGenerator[bytes, None] | Iterator[bytes]
) -> StreamingHttpResponse:
    return _with_headers(StreamingHttpResponse(content, content_type=_content_type(reading.form)))


def _closing(answer: StreamingHttpResponse, close: Callable[[], None]) -> StreamingHttpResponse:
    """Have `close` called when the server is done with the answer, even if it never began it."""
    answer._resource_closers.append(close)  # type: ignore[attr-defined]
    return answer


def _with_headers(answer: Answer) -> Answer:
    for name, value in HEADERS.items():
        answer[name] = value
    return answer


def _content_type(form: Form) -> str:
    return next(f"{name}; charset=utf-8" for name, kind in TYPES.items() if kind == form)


async def _follow(reading: Reading) -> AsyncGenerator[bytes, None]:
    """The stream's bytes, until the end of the run, of the budget, or of the reader's right."""
    after, budget = reading.after, Budget()
    try:
        if reading.form == "sse":
            yield _RETRY
        async with (
            aclosing(runs.follow(reading.run_id, after=after)) as pages,
            aclosing(_paced(pages, budget)) as paced,
        ):
            async for page in paced:
                if budget.is_check_due and not await in_database(reading.allowed):
                    return
                data = reading.encode(page) if page else reading.heartbeat
                if data:
                    with _given_up_when_stuck():
                        yield data
                after = page.last if page else after
                if page and page.is_last:
                    return
                if budget.is_spent_by(len(data)):
                    yield reading.cut(after)
                    return
    except (DjsciError, DatabaseError) as error:
        logger.info("a stream of run %s broke: %s", reading.run_id, type(error).__name__)


async def _paced(
    pages: AsyncGenerator[runs.Page, None], budget: Budget
) -> AsyncGenerator[runs.Page | None, None]:
    """The pages as they come; None whenever something else is due, as when the server drains."""
    coming: asyncio.Task[runs.Page] | None = None
    spent = asyncio.get_running_loop().create_future()

    def spend() -> None:
        budget.spend()
        if not spent.done():
            spent.set_result(None)

    try:
        with draining.leaving(spend):
            while True:
                coming = coming or asyncio.ensure_future(anext(pages))
                await asyncio.wait(
                    {coming, spent}, timeout=budget.pause, return_when=asyncio.FIRST_COMPLETED
                )
                if not coming.done():
                    yield None
                    continue
                page, coming = coming, None
                try:
                    yield page.result()
                except StopAsyncIteration:
                    return
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


@contextmanager
def _given_up_when_stuck() -> Iterator[None]:
    """End the response when its peer takes nothing for too long."""
    task = asyncio.current_task()
    if task is None:
        yield
        return
    timer = asyncio.get_running_loop().call_later(conf.intervals.send_blocked, task.cancel)
    try:
        yield
    finally:
        timer.cancel()


def _follow_blocking(reading: Reading) -> Iterator[bytes]:
    """The same for a WSGI server, which has no loop: the log is asked four times a second."""
    after, budget, spoken = reading.after, Budget(), time.monotonic()
    if reading.form == "sse":
        yield _RETRY
    while True:
        page = _read_now(reading, after)
        if page is None or (budget.is_check_due and not _still_allowed(reading)):
            return
        data = reading.encode(page)
        if not data and time.monotonic() - spoken >= conf.intervals.head:
            data = reading.heartbeat
        if data:
            yield data
            spoken = time.monotonic()
        after = page.last
        if page.is_last:
            return
        if budget.is_spent_by(len(data)):
            yield reading.cut(after)
            return
        if not page.lines:
            time.sleep(conf.intervals.poll_remote)


def _read_now(reading: Reading, after: int) -> runs.Page | None:
    """A page on a connection that is given back at once; None when there is no reading on."""
    try:
        return log.read(reading.run_id, after=after)
    except (DjsciError, DatabaseError) as error:
        logger.info("a stream of run %s broke: %s", reading.run_id, type(error).__name__)
        return None
    finally:
        close_old_connections()


def _still_allowed(reading: Reading) -> bool:
    try:
        return reading.allowed()
    finally:
        close_old_connections()
