"""The one reader of a run's log in a loop; it feeds every follower there."""

import asyncio
import contextvars
import logging
from typing import Any

from djsci.access.database import in_database, in_database_soon

from . import doorbell, log

logger = logging.getLogger("djsci.hub")

_TAIL_BYTES = 4 << 20
_TAIL_EVENTS = 2000
_LAYER_REJOIN = 3600.0
_FAR_BEHIND = 4  # who read at the same time what the tail no longer holds


class Hub:
    """What one loop knows of a live run: its head, whether it ended, and the log's tail."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.head = 0
        self.is_ended = False
        self.is_gone = False
        self.users = 0
        self.readers = 0
        self._heard = asyncio.Event()
        self._grown = asyncio.Event()
        self._tail: list[str] = []
        self._tail_first = 1
        self._tail_bytes = 0
        self._newest: log.Page | None = None
        self._reading = asyncio.Lock()
        self._reading_back = asyncio.Semaphore(_FAR_BEHIND)
        self._filling: asyncio.Task[None] | None = None
        self._bell = doorbell.listening(run_id, self._on_ring)
        self._layer_task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Listen to the bell; to the layer's too, where one reaches other processes."""
        self._bell.__enter__()
        layer = doorbell.shared_layer()
        if layer is not None:
            self._layer_task = in_background(self._listen(layer))

    async def close(self) -> None:
        """Stop listening."""
        self._bell.__exit__(None, None, None)
        tasks = [task for task in (self._layer_task, self._filling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def note(self, head: int, *, is_ended: bool) -> None:
        """Take over what a ring or a poll says; wake all who wait if it is news."""
        if head > self.head or (is_ended and not self.is_ended):
            self.head = max(self.head, head)
            self.is_ended = self.is_ended or is_ended
            self._wake()

    def note_gone(self) -> None:
        """The run's row no longer exists."""
        self.is_gone = True
        self._wake()

    def _wake(self) -> None:
        """Who waits for the end hears at once; who reads, when the tail holds what is new."""
        self._heard.set()
        self._heard = asyncio.Event()
        if self._filling is not None:
            return
        if self.is_gone or not self.readers:
            self._forget(first=1)
        if self._tail and self._tail_last < self.head:
            self._filling = in_background(self._fill())
        else:
            self._let_read()

    def _let_read(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def _fill(self) -> None:
        """Read a page for all. What goes wrong here goes wrong for each who then reads himself."""
        try:
            await self.page(self._tail_last)
        except Exception as error:
            logger.debug("a tail was not read: %s", type(error).__name__)
        finally:
            self._filling = None
            self._let_read()

    def _on_ring(self, ring: doorbell.Ring) -> None:
        self.note(ring.head, is_ended=ring.is_final)

    async def news(self, after: int) -> None:
        """Return once the log is longer than `after`, or the run has ended or is gone."""
        while self.head <= after and not self.is_ended and not self.is_gone:
            await self._grown.wait()

    async def ended(self) -> None:
        """Return once the run's `end` is committed, or its row is gone."""
        while not self.is_ended and not self.is_gone:
            await self._heard.wait()

    async def page(self, after: int) -> log.Page:
        """What follows `after`: from the tail if that holds it, else from the log."""
        if self._tail and after + 1 < self._tail_first:  # must not hold up who reads on
            async with self._reading_back:
                return await self._read(after)
        if not self._holds(after):
            async with self._reading:
                if not self._holds(after):
                    page = await self._read(after)
                    self._keep(page)
                    self.note(page.head, is_ended=page.is_ended)
                    return page
        return self._tail_page(after)

    async def _read(self, after: int) -> log.Page:
        return await in_database(log.read, self.run_id, after=after)

    def _holds(self, after: int) -> bool:
        return bool(self._tail) and self._tail_first <= after + 1 <= self._tail_last

    @property
    def _tail_last(self) -> int:
        return self._tail_first + len(self._tail) - 1

    def _forget(self, *, first: int) -> None:
        self._tail, self._tail_first, self._tail_bytes = [], first, 0
        self._newest = None

    def _keep(self, page: log.Page) -> None:
        is_next = page.first == self._tail_last + 1
        if not page.lines or (self._tail and not is_next and page.last < page.head):
            return
        if not is_next:
            self._forget(first=page.first)
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
        """The very same page for all who ask for it, so that what is made of it is made once."""
        newest = self._newest
        asked = (after + 1, self.head, self.is_ended)
        if newest is None or (newest.first, newest.head, newest.is_ended) != asked:
            newest = self._newest = self._cut(after)
        return newest

    def _cut(self, after: int) -> log.Page:
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

    async def look(self) -> None:
        """Ask the database: what a layer's message says is a hint that anybody may have sent."""
        found = (await in_database_soon(log.heads, [self.run_id])).get(self.run_id)
        if found is None:
            self.note_gone()
        else:
            self.note(found.head, is_ended=found.is_ended)

    async def _listen(self, layer: Any) -> None:
        """Hear the layer's rings; a receiver that died with its server is made anew."""
        while True:
            channel = None
            rejoining = asyncio.timeout(_LAYER_REJOIN)
            try:
                channel = await layer.new_channel()
                await layer.group_add(doorbell.group(self.run_id), channel)
                async with rejoining:
                    while True:
                        await layer.receive(channel)
                        await self.look()
            except Exception as error:
                if isinstance(error, TimeoutError) and rejoining.expired():
                    continue
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


def in_background(work: Any) -> asyncio.Task[None]:
    """A task that keeps nothing of the request that started it."""
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())
