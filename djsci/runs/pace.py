"""When a recorder writes what it holds: at once after silence, then one flush a window."""

import asyncio

from djsci import conf


class Pace:
    """Tells one writing task its turns. Used on one loop."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def note(self) -> None:
        """Something waits; it goes along with what is due anyhow."""
        if self._timer is None or self._urgent.is_set():
            self._wake.set()

    def hurry(self) -> None:
        """Write now; do not wait for the window's end."""
        self._urgent.set()
        self._wake.set()

    def within(self, seconds: float) -> None:
        """Write in so many seconds at the latest; company that comes earlier shares the write."""
        loop = asyncio.get_running_loop()
        if self._timer is not None and self._timer.when() <= loop.time() + seconds:
            return
        self._cancel()
        self._timer = loop.call_later(seconds, self.hurry)

    async def turn(self) -> None:
        """Return when it is time to write."""
        await self._wake.wait()
        self._cancel()
        self._wake.clear()
        self._urgent.clear()

    async def pause(self) -> None:
        """Let a window pass after a write, unless something is urgent."""
        try:
            async with asyncio.timeout(conf.intervals.window):
                await self._urgent.wait()
        except TimeoutError:
            return

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
