"""Dispatcher `local`: the serving processes execute; together they work off one queue."""

from collections.abc import Sequence

from . import executor
from .dispatch import Bell, Dispatcher


class Local(Dispatcher):
    """Rings this process's executor. What it cannot take, others find at their next tick."""

    is_local = True

    def ring(self, bells: Sequence[Bell]) -> None:
        if bells:
            executor.start().ring()
