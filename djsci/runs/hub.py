"""The one reader of a run's log in a loop; it feeds every follower there."""

import asyncio
import contextvars
import logging
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

from djsci import conf
from djsci.access.database import in_database
from djsci.core.errors import NotFound
from djsci.core.events import LIVE
from djsci.models import Run

from . import doorbell, log

logger = logging.getLogger("djsci.hub")

_TAIL_BYTES = 4 << 20
_TAIL_EVENTS = 2000
_LAYER_REJOIN = 3600.0


class Hub:
    """What one loop knows of a live run: its head, whether it ended, and the log's tail."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.head = 0
        self.is_ended = False
        self.is_gone = False
        self.users = 0
        self._news = asyncio.Event()
        self._tail: list[str] = []
        self._tail_first = 1
        self._tail_bytes = 0
        self._reading = asyncio.Lock()
        self._bell = doorbell.listening(run_id, self._on_ring)
        self._layer_task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Listen to the bell; to the layer's too, where one reaches other processes."""
        self._bell.__enter__()
        layer = doorbell.shared_layer()
        if layer is not None:
            self._layer_task = _in_background(self._listen(layer))

    async def close(self) -> None:
        """Stop listening."""
        self._bell.__exit__(None, None, None)
        if self._layer_task is not None:
            self._layer_task.cancel()
            await asyncio.gather(self._layer_task, return_exceptions=True)

    def note(self, head: int, *, is_ended: bool) -> None:
        """Take over what a ring or a poll says; wake the followers if it is news."""
        if head > self.head or (is_ended and not self.is_ended):
            self.head = max(self.head, head)
            self.is_ended = self.is_ended or is_ended
            self._wake()

    def note_gone(self) -> None:
        """The run's row no longer exists."""
        self.is_gone = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _on_ring(self, ring: doorbell.Ring) -> None:
        self.note(ring.head, is_ended=ring.is_final)

    async def news(self, after: int) -> None:
        """Return once the log is longer than `after`, or the run has ended or is gone."""
        while self.head <= after and not self.is_ended and not self.is_gone:
            await self._news.wait()

    async def ended(self) -> None:
        """Return once the run's `end` is committed, or its row is gone."""
        while not self.is_ended and not self.is_gone:
            await self._news.wait()

    async def page(self, after: int) -> log.Page:
        """What follows `after`: from the tail if it reaches back so far, else from the log."""
        async with self._reading:
            if not self._tail or after + 1 < self._tail_first or self._tail_last <= after:
                page = await in_database(log.read, self.run_id, after=after)
                self._keep(page)
                self.note(page.head, is_ended=page.is_ended)
                return page
        return self._tail_page(after)

    @property
    def _tail_last(self) -> int:
        return self._tail_first + len(self._tail) - 1

    def _keep(self, page: log.Page) -> None:
        is_next = page.first == self._tail_last + 1
        if not page.lines or not (is_next or page.last == page.head):
            return
        if not is_next:
            self._tail, self._tail_first, self._tail_bytes = [], page.first, 0
        self._tail.extend(page.lines)
        self._tail_bytes += sum(map(len, page.lines))
        drop = max(0, len(self._tail) - _TAIL_EVENTS)
        size = self._tail_bytes - sum(map(len, self._tail[:drop]))
        while size > _TAIL_BYTES and drop < len(self._tail) - 1:
            size -= len(self._tail[drop])
            drop += 1
        if drop:
            del self._tail[:drop]
            self._tail_first += drop
        self._tail_bytes = size

    def _tail_page(self, after: int) -> log.Page:
        lines: list[str] = []
        size = 0
        for line in self._tail[after + 1 - self._tail_first :]:
            if lines and size + len(line) > log.ROW_BYTES:
                break
            lines.append(line)
            size += len(line)
        return log.Page(
            first=after + 1,
            last=after + len(lines),
            lines=tuple(lines),
            head=self.head,
            is_ended=self.is_ended,
        )

    async def _listen(self, layer: Any) -> None:
        """Hear the layer's rings; a receiver that died with its server is made anew."""
        while True:
            channel = None
            try:
                channel = await layer.new_channel()
                await layer.group_add(doorbell.group(self.run_id), channel)
                async with asyncio.timeout(_LAYER_REJOIN):
                    while True:
                        message = await layer.receive(channel)
                        self.note(message["seq"], is_ended=message["final"])
            except TimeoutError:
                continue
            except Exception as error:
                logger.warning("the channel layer is away: %s", type(error).__name__)
                await asyncio.sleep(1)
            finally:
                await _leave(layer, self.run_id, channel)


async def _leave(layer: Any, run_id: str, channel: str | None) -> None:
    if channel is None:
        return
    try:
        async with asyncio.timeout(2):
            await layer.group_discard(doorbell.group(run_id), channel)
    except Exception:
        logger.debug("could not leave a group of the channel layer")


class Hubs:
    """The hubs of one loop and their one poller."""

    def __init__(self) -> None:
        self._hubs: dict[str, Hub] = {}
        self._poller: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def use(self, run_id: str, *, linger: bool) -> Iterator[Hub]:
        """The run's hub; made by its first user, closed after the last (later, with `linger`)."""
        hub = self._hubs.get(run_id)
        if hub is None:
            hub = self._hubs[run_id] = Hub(run_id)
            hub.open()
        if self._poller is None:
            self._poller = _in_background(self._poll())
        hub.users += 1
        try:
            yield hub
        finally:
            hub.users -= 1
            if hub.users == 0:
                pause = conf.intervals.hub_idle if linger and not hub.is_ended else 0.0
                task = _in_background(self._close_unused(hub, pause))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def _close_unused(self, hub: Hub, pause: float) -> None:
        if pause:
            await asyncio.sleep(pause)
        if hub.users == 0 and self._hubs.get(hub.run_id) is hub:
            del self._hubs[hub.run_id]
            await hub.close()
            if not self._hubs and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def _poll(self) -> None:
        """Ask for all followed runs in one query: what the bell did not say is heard here."""
        while True:
            is_remote = False
            try:
                is_remote = await self._poll_once()
            except Exception as error:
                logger.warning("polling the runs failed: %s", type(error).__name__)
            await asyncio.sleep(conf.intervals.poll_remote if is_remote else conf.intervals.poll)

    async def _poll_once(self) -> bool:
        followed = {key: hub for key, hub in self._hubs.items() if not hub.is_ended}
        rows = await in_database(_heads, list(followed))
        for run_id, hub in followed.items():
            if run_id in rows:
                head, state, _ = rows[run_id]
                hub.note(head, is_ended=state not in LIVE)
            else:
                hub.note_gone()
        return doorbell.shared_layer() is None and any(
            executor is not None and executor != doorbell.local_executor
            for _, _, executor in rows.values()
        )


def _heads(run_ids: list[str]) -> dict[str, tuple[int, str, Any]]:
    rows = Run.objects.filter(pk__in=run_ids).values_list("pk", "head", "state", "executor")
    return {pk: (head, state, executor) for pk, head, state, executor in rows}


def _in_background(work: Any) -> asyncio.Task[None]:
    """A task that keeps nothing of the request that started it."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


_by_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hubs]" = weakref.WeakKeyDictionary()


def hubs() -> Hubs:
    """The hubs of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _by_loop:
        _by_loop[loop] = Hubs()
    return _by_loop[loop]


async def follow(run_id: str, *, after: int) -> AsyncGenerator[log.Page, None]:
    """Pages of a run's log from `after` on, live, until its `end` was yielded.

    Raises `NotFound`, `Pruned`, and `BadRequest` when `after` lies beyond the head.
    """
    with hubs().use(run_id, linger=True) as hub:
        while True:
            page = await hub.page(after)
            if page.lines:
                after = page.last
                yield page
            if page.is_last:
                return
            if page.last >= page.head:
                await hub.news(after)
            if hub.is_gone:
                raise NotFound


async def finish(run_id: str, *, wait: float | None) -> bool:
    """Return True once the run's `end` is committed; False when `wait` seconds pass first."""
    with hubs().use(run_id, linger=False) as hub:
        head = await in_database(_heads, [run_id])
        if run_id not in head:
            raise NotFound
        hub.note(head[run_id][0], is_ended=head[run_id][1] not in LIVE)
        try:
            async with asyncio.timeout(wait):
                await hub.ended()
        except TimeoutError:
            return False
        return True


async def wait_news(run_id: str, *, after: int, wait: float) -> None:
    """Return when the log is longer than `after`, at the run's end, or after `wait` seconds."""
    with hubs().use(run_id, linger=False) as hub:
        head = await in_database(_heads, [run_id])
        if run_id not in head:
            raise NotFound
        hub.note(head[run_id][0], is_ended=head[run_id][1] not in LIVE)
        try:
            async with asyncio.timeout(wait):
                await hub.news(after)
        except TimeoutError:
            return
