"""The thread that ticks for an executor: it renews leases, hears cancels, claims, and sweeps."""

import logging
import threading
from typing import Protocol
from uuid import UUID

from django.db import connections

from djsci import conf

from . import claims, doorbell, sweep
from .execute import Execution
from .role import Role

logger = logging.getLogger("djsci.executor")


class Ticked(Protocol):
    """What a tick needs of an executor."""

    id: UUID
    role: Role
    is_draining: bool

    @property
    def slots(self) -> int: ...

    @property
    def queues(self) -> tuple[str, ...]: ...

    def running(self) -> dict[claims.Claim, Execution]: ...

    def heed(self, execution: Execution, held: claims.Held | None) -> None: ...

    def has_begun(self, claim: claims.Claim) -> bool: ...

    def begin_unheard(self, claim: claims.Claim) -> None: ...

    def ring(self) -> None: ...


class Ticker:
    """Each half heartbeat, on one connection."""

    def __init__(self, executor: Ticked) -> None:
        self._executor = executor
        self._unbegun: set[claims.Claim] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._always, name="djsci-tick", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it; a tick that hangs in the database is left behind after 5 s."""
        self._stopped.set()
        self._thread.join(5)

    def _always(self) -> None:
        looks = sweep.Looks()
        if self._executor.role.executes:
            doorbell.local_executor = self._executor.id
        while not self._stopped.is_set():
            try:
                self._tick(looks)
            except Exception as error:
                logger.warning("a tick failed: %s: %s", type(error).__name__, error)
                connections.close_all()
            self._stopped.wait(conf.get("HEARTBEAT") / 2)
        connections.close_all()

    def _tick(self, looks: sweep.Looks) -> None:
        if self._executor.role.executes:
            self._renew()
            self._begin_unbegun()
        self._executor.ring()
        sweep.sweep(looks)

    def _renew(self) -> None:
        mine, running = self._executor, self._executor.running()
        claims.register(mine.id, slots=mine.slots, queues=mine.queues)
        claims.beat(mine.id, busy=len(running), is_draining=mine.is_draining)
        held = claims.renew(mine.id, {claim.run_id for claim in running})
        for claim, execution in running.items():
            mine.heed(execution, held.get(claim.run_id))

    def _begin_unbegun(self) -> None:
        """Runs whose claim was committed and never heard of: the database's answer was lost.

        Two looks: what was claimed just now is on its way.
        """
        mine = self._executor
        found = {claim for claim in claims.unbegun(mine.id) if not mine.has_begun(claim)}
        for claim in found & self._unbegun:
            mine.begin_unheard(claim)
        self._unbegun = found
