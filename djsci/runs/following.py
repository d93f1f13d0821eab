"""Everybody who waits for a run: pages as they come, its end, or any news of it."""

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress

from djsci import conf
from djsci.access.database import in_database
from djsci.core.errors import NotFound

from . import doorbell, draining, log
from .hub import Hub, in_background

logger = logging.getLogger("djsci.runs")


class Hubs:
    """The hubs of one loop and their one poller."""

    def __init__(self) -> None:
        self._hubs: dict[str, Hub] = {}
        self._poller: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def use(self, run_id: str, *, reads: bool) -> Iterator[Hub]:
        """The run's hub; made by its first user, closed after the last, a while after a reader."""
        hub = self._hubs.get(run_id)
        if hub is None:
            hub = self._hubs[run_id] = Hub(run_id)
            hub.open()
        if self._poller is None:
            self._poller = in_background(self._poll())
        hub.users += 1
        hub.readers += reads
        try:
            yield hub
        finally:
            hub.users -= 1
            hub.readers -= reads
            if hub.users == 0:
                pause = conf.intervals.hub_idle if reads and not hub.is_ended else 0.0
                task = in_background(self._close_unused(hub, pause))
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
        """Ask for all followed runs in one query: what the bell did not say is heard here.

        Whoever makes a hub has asked for its run just now, so the first round waits too.
        """
        is_remote = True  # until it is known that none is
        while True:
            await asyncio.sleep(conf.intervals.poll_remote if is_remote else conf.intervals.poll)
            is_remote = False
            try:
                is_remote = await self._poll_once()
            except Exception as error:
                logger.warning("polling the runs failed: %s", type(error).__name__)

    async def _poll_once(self) -> bool:
        followed = {key: hub for key, hub in self._hubs.items() if not hub.is_ended}
        found = await in_database(log.heads, list(followed))
        for run_id, hub in followed.items():
            if run_id in found:
                hub.note(found[run_id].head, is_ended=found[run_id].is_ended)
            else:
                hub.note_gone()
        return doorbell.shared_layer() is None and any(
            doorbell.is_elsewhere(run.executor) for run in found.values()
        )


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
    with hubs().use(run_id, reads=True) as hub:
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
    """Return True once the run's `end` is committed; False when `wait` seconds pass first.

    False also when this server has drained: nobody waits in it any more.
    """
    async with _watching(run_id) as hub:
        try:
            async with _patience(wait, draining.ending):
                await hub.ended()
        except TimeoutError:
            if not draining.is_over():
                return False
            await hub.look()  # the drain itself may have ended the run
        return hub.is_ended or hub.is_gone


async def wait_news(run_id: str, *, after: int, wait: float) -> None:
    """Return when the log is longer than `after`, at the run's end, or after `wait` seconds.

    Sooner when this server drains.
    """
    async with _watching(run_id) as hub:
        with suppress(TimeoutError):
            async with _patience(wait, draining.leaving):
                await hub.news(after)


@asynccontextmanager
async def _patience(
    wait: float | None, told: Callable[[Callable[[], None]], AbstractContextManager[None]]
) -> AsyncGenerator[None, None]:
    """As `asyncio.timeout(wait)`, and over as soon as this is told."""
    async with asyncio.timeout(wait) as timer:

        def lose() -> None:
            if not timer.expired():
                timer.reschedule(0)

        with told(lose):
            yield


@asynccontextmanager
async def _watching(run_id: str) -> AsyncGenerator[Hub, None]:
    """The run's hub, told what the database says now; it needs no tail. Raises `NotFound`."""
    with hubs().use(run_id, reads=False) as hub:
        await hub.look()
        if hub.is_gone:
            raise NotFound
        yield hub
