"""The executor itself: one thread with its own loop, in which runs are claimed and executed."""

import asyncio
import logging
import os
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from djsci import conf
from djsci.access import logs
from djsci.access.database import in_database
from djsci.engines.base import Stock
from djsci.engines.opening import Engines
from djsci.engines.registry import Choice
from djsci.isolation import process

from . import claims, dispatch, doorbell, rings
from .execute import Execution, Outcome, execute
from .in_hand import InHand
from .role import SERVER, Role
from .tick import Ticker
from .writer import Writer

logger = logging.getLogger("djsci.executor")


class Executor:
    """Claims runs while it has slots, holds their leases, ends them when told to."""

    def __init__(self, role: Role = SERVER) -> None:
        process.hide()
        self.role = role
        self.pid = os.getpid()
        self.id = uuid.uuid4()
        if role.executes:
            logs.of_process(executor=str(self.id))
        self.is_draining = False
        self._is_stopping = False
        self._running: dict[claims.Claim, Execution] = {}
        self._given_up: set[claims.Claim] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._in_hand = InHand()
        self._claiming = asyncio.Lock()
        self._claim_again = False
        self._are_left = True  # runs that wait for a slot or for the end of another
        self._next_claim: asyncio.TimerHandle | None = None
        self._engines = Engines()
        self._writer = Writer()
        self._loop = asyncio.new_event_loop()
        self._broadcast_layer()
        self._thread = threading.Thread(target=self._run_loop, name="djsci", daemon=True)
        self._thread.start()
        self._ticker = Ticker(self)
        self._ticker.start()

    def _broadcast_layer(self) -> None:
        layer = doorbell.shared_layer()
        if layer is not None:
            doorbell.set_broadcast(
                doorbell.LayerBroadcast(layer, self._loop, window=conf.intervals.window)
            )

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        watching = self._loop.create_task(self._stop_unrenewed())
        self._loop.run_forever()
        watching.cancel()
        self._loop.run_until_complete(asyncio.wait({watching}))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    @property
    def slots(self) -> int:
        """How many runs this process executes at once: no more than its host may."""
        if self.role.slots is None:
            return conf.running_slots()
        most = conf.get("RUNNING")
        return self.role.slots if most is None else min(self.role.slots, int(most))

    @property
    def queues(self) -> tuple[str, ...]:
        """Whose runs it executes."""
        return tuple(conf.get("QUEUES")) if self.role.queues is None else self.role.queues

    def soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine on the executor's loop, from any thread."""

        def begin() -> None:
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(begin)

    def warm(self) -> None:
        """Make the site's own engines ready before the first run asks for them."""
        if self.role.executes:
            self.soon(self._engines.warm())

    def stock(self) -> dict[Choice, Stock]:
        """What this process's engines keep ready, and what is at work in them."""
        return self._engines.stock()

    def ring(self) -> None:
        """A run may be startable: claim, if a slot is free."""
        if self.role.claims:
            self.soon(self._claim())

    def execute(self, run_id: str) -> Outcome:
        """Claim this one run and execute it to its end, while the calling thread waits."""
        asked = asyncio.run_coroutine_threadsafe(self._execute_told(run_id), self._loop)
        while self._thread.is_alive():
            with suppress(TimeoutError):
                return asked.result(1)
        return "lost"

    @contextmanager
    def admitting(self) -> Iterator[bool]:
        """Whether a run that is admitted meanwhile may be claimed for here; a drain waits."""
        with self._in_hand.held():
            yield self.role.claims and not self.is_draining

    def begin(self, claim: claims.Claim) -> None:
        """Execute a run that was claimed for here, from any thread."""
        self._in_hand.take()
        try:
            self._loop.call_soon_threadsafe(self._begin, Execution(claim=claim))
        except RuntimeError:  # the loop is closed: the lease runs out
            self._in_hand.put_down()

    def begin_unheard(self, claim: claims.Claim) -> None:
        """The same of a claim whose answer was lost, unless it has been begun all the same."""
        self._in_hand.take()
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._begin_unheard, claim)
            return
        self._in_hand.put_down()

    def _begin_unheard(self, claim: claims.Claim) -> None:
        """On the loop, where everything begins; what has ended since is told apart as it loads."""
        if self.has_begun(claim):
            self._in_hand.put_down()
            return
        logger.warning("run %s: its claim went unheard; it begins now", claim.run_id)
        self._begin(Execution(claim=claim))

    def has_begun(self, claim: claims.Claim) -> bool:
        """Whether it is executed here, or was until its lease was given up."""
        return claim in self._running or claim in self._given_up

    async def _execute_told(self, run_id: str) -> Outcome:
        with self._in_hand.held():
            claim = await self._claim_told(run_id)
            if claim is None:
                return "refused"
            self._in_hand.take()
            try:
                return await self._begin(Execution(claim=claim))
            finally:
                self.soon(self._ring_held_back())

    async def _claim_told(self, run_id: str) -> claims.Claim | None:
        try:
            if self.is_draining or not self.role.executes:
                return await in_database(rings.unring, [run_id])
            queues = self.role.queues or None
            return await in_database(
                claims.claim_one, self.id, run_id, slots=self.slots, queues=queues
            )
        except Exception as error:  # its bell is eaten; the sweep rings again
            logger.warning("claiming %.40r failed: %s", run_id, type(error).__name__)
            return None

    async def _ring_held_back(self) -> None:
        try:
            dispatch.current().ring(await in_database(rings.after_end))
        except Exception as error:
            logger.warning("ringing the next run failed: %s", type(error).__name__)

    async def _claim(self) -> None:
        """Claim until nothing is startable; a ring during a claim makes one more round."""
        self._claim_again = True
        if self._claiming.locked():
            return
        async with self._claiming:
            while self._claim_again:
                self._claim_again = False
                with self._in_hand.held():
                    await self._claim_once()

    async def _claim_once(self) -> None:
        try:
            self._are_left = True  # unless the claim itself says otherwise
            free = self.slots - len(self._running)
            if self.is_draining or free <= 0:
                return
            taken = await in_database(claims.claim, self.id, slots=free, queues=conf.get("QUEUES"))
            for item in taken.claims:
                self._in_hand.take()
                self._begin(Execution(claim=item))
            self._are_left = taken.are_left
        except Exception as error:
            logger.warning("claiming failed: %s", type(error).__name__)

    def _begin(self, execution: Execution) -> "asyncio.Task[Outcome]":
        """On the loop; a claim is begun once, though its answer may come late."""
        present = self._running.get(execution.claim)
        if present is not None and present.task is not None:
            self._in_hand.put_down()
            return present.task
        self._running[execution.claim] = execution
        if self._is_stopping:
            self._stop(execution)
        task = execution.task = self._loop.create_task(self._execute(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _execute(self, execution: Execution) -> Outcome:
        try:
            outcome = await execute(execution, engines=self._engines, writer=self._writer)
            if outcome == "lost":
                self._given_up.add(execution.claim)
            return outcome
        finally:
            del self._running[execution.claim]
            self._in_hand.put_down()
            if self.role.claims and self._are_left:
                await self._claim()
            elif self.role.claims:
                self._claim_later()

    def _claim_later(self) -> None:
        """Nothing is known to wait here: the look at the queue must not race with the answer."""
        if self._next_claim is None:
            self._next_claim = self._loop.call_later(conf.intervals.next_claim, self._claim_next)

    def _claim_next(self) -> None:
        self._next_claim = None
        self.ring()

    def cancel(self, run_id: str, *, force: bool) -> None:
        """Stop a run that is executed here; others are reached by their own tick."""
        self._loop.call_soon_threadsafe(self._cancel, run_id, force)

    def _cancel(self, run_id: str, force: bool) -> None:
        for execution in self._executions(run_id):
            execution.was_cancelled = True
            execution.stop.ask("cancelled")
            if force:
                execution.stop.force()

    def _executions(self, run_id: str) -> list[Execution]:
        """The run's here: one that lost its lease may still be ending as the next begins."""
        return [each for claim, each in self._running.items() if claim.run_id == run_id]

    def running(self) -> dict[claims.Claim, Execution]:
        """What is executed here at this moment."""
        return dict(self._running)

    def heed(self, execution: Execution, held: claims.Held | None) -> None:
        """Take over what the database says of a run's lease, from any thread."""
        self._loop.call_soon_threadsafe(self._heed, execution, held)

    def _heed(self, execution: Execution, held: claims.Held | None) -> None:
        if held is None or held.lease != execution.claim.lease:
            if execution.claim in self._running:
                execution.lose()
            return
        execution.renewed = time.monotonic()
        if held.cancel:
            self._cancel(execution.claim.run_id, held.cancel == "forced")

    async def _stop_unrenewed(self) -> None:
        """Who cannot renew stops: the sweep of another process may have given the run away.

        Not in the tick, which a silent database holds up. Two looks: a process that was suspended
        gets to renew what nobody took meanwhile.
        """
        late: set[claims.Claim] = set()
        while True:
            await asyncio.sleep(conf.get("HEARTBEAT"))
            are_late = {key for key, run in self._running.items() if run.is_unrenewed}
            for key in late & are_late:
                self._running[key].lose()
            late = are_late

    def drain(self, timeout: float) -> bool:
        """Take nothing new; wait for what runs, then end it as `cancelled`, reason `shutdown`."""
        self.is_draining = True
        if not self._in_hand.wait(timeout):
            self._loop.call_soon_threadsafe(self._stop_all)
            return self._in_hand.wait(conf.get("GRACE") + 5)
        return True

    def hurry(self) -> None:
        """Skip what is left of the waiting in `drain`."""
        self._loop.call_soon_threadsafe(self._stop_all)

    def _stop_all(self) -> None:
        self._is_stopping = True  # what is just being claimed is stopped as it begins
        for execution in self._running.values():
            self._stop(execution)

    def _stop(self, execution: Execution) -> None:
        execution.reason = "shutdown"
        execution.stop.ask("cancelled")

    def stop(self) -> None:
        """Close engines and writer and end both threads. What still runs is killed."""
        self.is_draining = True
        self._ticker.stop()
        closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        try:
            closing.result(10)
        except TimeoutError:
            logger.warning("the executor did not close in time")
        self._writer.close()
        doorbell.set_broadcast(None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _close(self) -> None:
        for execution in list(self._running.values()):
            execution.reason = "shutdown"
            execution.stop.force()
        mine = asyncio.current_task()
        waiting = [task for task in self._tasks if task is not mine]
        if waiting:
            await asyncio.wait(waiting, timeout=5)
        await self._engines.close()
        try:
            await in_database(claims.unregister, self.id)
        except Exception:
            logger.debug("the executor's row could not be removed")
