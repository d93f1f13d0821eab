"""How long logs, runs and idempotency keys are kept. Only ended runs are touched."""

from django.db import transaction

from djsci import conf
from djsci.core.events import FINAL
from djsci.models import LogRow, Run

from .log import from_now

_BATCH = 200
_DAY = 86_400.0


def purge() -> tuple[int, int]:
    """Remove all that is past its retention; returns how many logs and how many runs went."""
    logs = runs = 0
    while any(went := purge_some()):
        logs, runs = logs + went[0], runs + went[1]
    return logs, runs


def purge_some(*, most: int = _BATCH) -> tuple[int, int]:
    """As `purge`, but at most `most` of each: for the tick, which must be back to renew leases."""
    kept = conf.get("RETENTION")
    Run.objects.filter(key__isnull=False, created__lt=from_now(-conf.intervals.kept_key)).update(
        key=None
    )
    logs = _purge_logs(kept["logs"], most) if kept.get("logs") is not None else 0
    runs = _purge_runs(kept["runs"], most) if kept.get("runs") is not None else 0
    return logs, runs


def _purge_logs(days: float, most: int) -> int:
    """A log goes whole: the row stays and says so."""
    old = Run.objects.filter(state__in=FINAL, pruned=False, ended__lt=from_now(-days * _DAY))
    keys = list(old.values_list("pk", flat=True)[:most])
    with transaction.atomic():
        Run.objects.filter(pk__in=keys).update(pruned=True)
        LogRow.objects.filter(run__in=keys).delete()
    return len(keys)


def _purge_runs(days: float, most: int) -> int:
    old = Run.objects.filter(state__in=FINAL, ended__lt=from_now(-days * _DAY))
    keys = list(old.values_list("pk", flat=True)[:most])
    Run.objects.filter(pk__in=keys).delete()
    return len(keys)
