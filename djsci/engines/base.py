"""What every engine is: a source in, events out."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, ClassVar

from djsci.core.connections import Grant
from djsci.core.events import Event
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use and reach. Times in seconds, sizes in bytes."""

    timeout: float = 300.0
    grace: float = 2.0
    memory: int = 1 << 30
    pids: int = 64
    result: int = 6 << 20
    artifacts: int = 64 << 20  # of all of a run's together
    grant: Grant = Grant()  # noqa: RUF009 - immutable


def known_of(source: Source, limits: Limits) -> dict[str, Any]:
    """What `djsci.run` is for the user's code."""
    named = {"id": source.run, "file": source.file}
    return {name: value for name, value in named.items() if value} | {"timeout": limits.timeout}


class Stop:
    """How a run is told to stop. Used on the loop that executes the run; `reason` says why."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_forced = False
        self._asked = asyncio.Event()
        self._forced = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        return self.reason is not None

    def ask(self, reason: str) -> None:
        """Begin the ladder: interrupt, `grace` seconds, kill. `reason` is the End's state."""
        if self.reason is None:
            self.reason = reason
            self._asked.set()

    def force(self) -> None:
        """Kill now."""
        self.ask("cancelled")
        self.is_forced = True
        self._forced.set()

    async def asked(self) -> None:
        """Return once the run is asked to stop."""
        await self._asked.wait()

    async def forced(self) -> None:
        """Return once the run is to be killed."""
        await self._forced.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What an engine has in its hands: workers, or threads, and the servers that fork them."""

    ready: int = 0
    wanted: int = 0  # that are to be ready
    busy: int = 0
    servers: int = 0
    abandoned: int = 0  # threads whose run has ended and that have not returned


class Engine(ABC):
    """Runs a source and yields its events. Iterate it under `aclosing`: closing kills the run."""

    name: ClassVar[str]
    can_kill: ClassVar[bool] = True

    @abstractmethod
    def execute(
        self, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> AsyncGenerator[Event, None]:
        """Zero or more events, the first of them `Status(running)`, then exactly one `End`.

        An exception of the user's code is an `Error` event and `End(failed)`, never raised.
        The engine keeps the deadline (`limits.timeout` from `running`) itself.
        """

    async def open(self) -> None:  # noqa: B027 - not every engine has something to prepare
        """Prepare what makes the next run fast. Called once, on the executor's loop."""

    async def close(self) -> None:  # noqa: B027
        """End every process and thread that this engine started."""

    def stock(self) -> Stock:
        """What it keeps ready, and what is at work."""
        return Stock()

    @abstractmethod
    async def check(self) -> str | None:
        """Why this engine does not work here, or None: for `djsci doctor`."""
