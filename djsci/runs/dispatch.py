"""Who executes an admitted run, and how that one hears of it: the dispatchers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, NamedTuple

from django.utils.module_loading import import_string

from djsci import conf

ALIASES = {"local": "djsci.runs.local.Local", "celery": "djsci.runs.bells.Celery"}


class Bell(NamedTuple):
    """A run that may start now, and the queue whose executors are told."""

    run_id: str
    queue: str


class Dispatcher(ABC):
    """One way to an executor; made once in a process.

    `is_local`: serving processes execute; else they sweep alone. `failures`: bells that were lost.
    """

    is_local: ClassVar[bool]
    failures = 0

    @abstractmethod
    def ring(self, bells: Sequence[Bell]) -> None:
        """Tell executors, from any thread; never waits, never raises. A lost bell costs time."""

    def reach(self) -> None:  # noqa: B027 - most need nobody
        """Try what bells go through; in seconds, by a thread that may wait. Raises its errors."""

    def close(self, seconds: float) -> None:  # noqa: B027 - not all have something to end
        """Send what waits, within so many seconds, and end; the next ring begins anew."""


def path() -> str:
    """The dotted path of the dispatcher that `DISPATCHER` names, by its alias or so."""
    name = str(conf.get("DISPATCHER"))
    return ALIASES.get(name, name)


def current() -> Dispatcher:
    """The dispatcher that the settings name. Raises `ImportError` when there is none."""
    return _made(path())


@lru_cache
def _made(name: str) -> Dispatcher:
    made: Dispatcher = import_string(name)()
    return made
