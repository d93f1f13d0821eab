"""Runs in threads of this process: fast, for trusted versions only; a thread cannot be killed."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import ClassVar, get_args

from djsci.core.events import End, Event, FinalState, Status
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest

from .base import Engine, Limits, Stock, Stop
from .capture import capture
from .outbox import Outbox
from .playing import Play

logger = logging.getLogger("djsci.engines")
CLOSING = 2.0  # seconds that threads which are not abandoned get when the engine closes


def _nothing() -> None:
    """No hook."""


class _Execution:
    """A run and its thread, as the loop sees them."""

    def __init__(self, play: Play, limits: Limits, stop: Stop) -> None:
        self.play = play
        self.limits = limits
        self.stop = stop
        self.began = time.monotonic()
        self.is_done = False
        self.is_abandoned = False
        self.verdict: FinalState | None = None

    async def climb(self) -> None:
        """The ladder: the flag, `grace` seconds; then the run ends without its thread."""
        asked = asyncio.ensure_future(self.stop.asked())
        forced = asyncio.ensure_future(self.stop.forced())
        try:
            await asyncio.wait({asked}, timeout=self.limits.timeout)
            asked_for = self.stop.reason or "timed_out"
            known = get_args(FinalState)
            self.verdict = asked_for if asked_for in known else "cancelled"  # type: ignore[assignment]
            self.play.is_cancelled.set()
            self.play.outbox.add(Status(state="cancelling"))
            await asyncio.wait({forced}, timeout=self.limits.grace)
            self.is_abandoned = not self.is_done
            self.play.outbox.wake()
        finally:
            asked.cancel()
            forced.cancel()

    def end(self) -> list[Event]:
        """The result, if the run has one, and the end."""
        state, reason = self.play.outcome
        if self.verdict is not None:
            state, reason = self.verdict, ""
        if self.verdict == "timed_out":
            reason = f"over the limit of {self.limits.timeout:g} s"
        elapsed = time.monotonic() - self.began
        said: list[Event] = []
        if state == "succeeded" and self.play.result is not None:
            said.append(self.play.result)
        abandoned = self.is_abandoned
        return [*said, End(state=state, elapsed=elapsed, reason=reason, abandoned=abandoned)]


class ThreadEngine(Engine):
    """`size` runs at once. What a run prints follows it into threads and executors it starts.

    Not held apart: the working directory, memory, `os._exit`, output of subprocesses and of C.
    `before` and `after` are called in the thread around each run.
    """

    name: ClassVar[str] = "thread"
    can_kill: ClassVar[bool] = False

    def __init__(
        self,
        size: int = 32,
        *,
        before: Callable[[], None] = _nothing,
        after: Callable[[], None] = _nothing,
    ) -> None:
        self._slots = asyncio.Semaphore(size)
        self._before = before
        self._after = after
        self._threads: dict[threading.Thread, _Execution] = {}
        self._freed = asyncio.Event()
        self._is_open = False

    async def open(self) -> None:
        if not self._is_open:
            self._is_open = True
            capture.open()

    async def close(self) -> None:
        """Wait for the threads that return; those that were abandoned stay."""
        for execution in self._threads.values():
            execution.play.is_cancelled.set()
            execution.play.outbox.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                while not all(execution.is_abandoned for execution in self._threads.values()):
                    self._freed.clear()
                    await self._freed.wait()
        for execution in self._threads.values():
            execution.play.remove_folder()
        if self._is_open:
            self._is_open = False
            capture.close()

    def stock(self) -> Stock:
        executions = list(self._threads.values())
        abandoned = sum(execution.is_abandoned for execution in executions)
        return Stock(busy=len(executions) - abandoned, abandoned=abandoned)

    async def check(self) -> str | None:
        return None

    async def execute(
        self, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> AsyncGenerator[Event, None]:
        if not await self._slot(stop):
            yield End(state="cancelled", elapsed=0.0)
            return
        outbox = Outbox()
        play = Play(source, request, limits=limits, outbox=outbox)
        execution = _Execution(play, limits, stop)
        ladder: asyncio.Task[None] | None = None
        try:
            outbox.add(Status(state="running"))
            self._start(execution)
            ladder = asyncio.create_task(execution.climb())
            is_over = False
            while not is_over:
                await outbox.wait()
                is_over = execution.is_done or execution.is_abandoned
                while (event := outbox.take()) is not None:
                    yield event
            for event in execution.end():
                yield event
        finally:
            play.is_cancelled.set()
            outbox.close()
            if ladder is not None:
                ladder.cancel()
                await asyncio.gather(ladder, return_exceptions=True)

    async def _slot(self, stop: Stop) -> bool:
        """Take a slot; False when the run is asked to stop before there is one."""
        asked = asyncio.ensure_future(stop.asked())
        taking = asyncio.ensure_future(self._slots.acquire())
        is_taken = False
        try:
            await asyncio.wait({asked, taking}, return_when=asyncio.FIRST_COMPLETED)
            is_taken = taking.done() and not stop.is_asked
        finally:
            asked.cancel()
            taking.cancel()
            if not is_taken and taking.done() and not taking.cancelled():
                self._slots.release()
        return is_taken

    def _start(self, execution: _Execution) -> None:
        """A thread of its own, and a daemon: one that never returns does not keep the process."""
        loop = asyncio.get_running_loop()
        capture.stand_in()

        def work() -> None:
            try:
                self._run(execution)
            finally:
                execution.is_done = True
                execution.play.outbox.wake()
                with contextlib.suppress(RuntimeError):  # the loop is gone
                    loop.call_soon_threadsafe(self._free, thread)

        thread = threading.Thread(target=work, name="djsci-run", daemon=True)
        self._threads[thread] = execution
        thread.start()

    def _run(self, execution: _Execution) -> None:
        try:
            self._before()
            try:
                execution.play.run()
            finally:
                self._after()
        except Exception:
            logger.exception("a run in a thread failed outside its own code")
            execution.play.outcome = ("crashed", "the thread engine failed")

    def _free(self, thread: threading.Thread) -> None:
        thread.join()  # it has nothing left to do
        self._threads.pop(thread, None)
        self._slots.release()
        self._freed.set()
