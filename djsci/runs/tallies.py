"""What is counted for good: rows are removed after their retention, a counter may not fall."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from django.db.models import F
from django.db.models.functions import Now

from djsci.core.events import FINAL
from djsci.models import Tally

_ENDED = "ended:"
_REAPED = "reaped"
_SWEPT = "swept"


def note_ended(states: Iterable[str]) -> None:
    """Count runs that end, in the transaction that ends them and as its last statement."""
    for state, count in sorted(Counter(states).items()):
        _add(_ENDED + state, count)


def note_reaped() -> None:
    """A run was taken from an executor that vanished."""
    _add(_REAPED, 1)


def note_swept() -> None:
    """A round of the sweep is complete."""
    _add(_SWEPT, 1)


def _add(name: str, count: int) -> None:
    row = Tally.objects.filter(name=name)
    if not row.update(count=F("count") + count, changed=Now()):
        Tally.objects.bulk_create([Tally(name=name)], ignore_conflicts=True)
        row.update(count=F("count") + count, changed=Now())


def ended() -> dict[str, int]:
    """How many runs have ended, by each final state."""
    counts = dict(Tally.objects.values_list("name", "count"))
    return {state: counts.get(_ENDED + state, 0) for state in sorted(FINAL)}


def reaped() -> int:
    """How often a run was taken from an executor that vanished."""
    return sum(Tally.objects.filter(name=_REAPED).values_list("count", flat=True))


def last_sweep() -> datetime | None:
    """When somebody last completed a round; None: nobody ever did."""
    return Tally.objects.filter(name=_SWEPT).values_list("changed", flat=True).first()
