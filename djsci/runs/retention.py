"""How long logs, runs and idempotency keys are kept. Only ended runs are touched."""

from django.db import transaction

from djsci import conf
from djsci.core.events import FINAL
from djsci.models import LogRow, Run

from .log import from_now

_BATCH = 200
_DAY = 86_400.0


def purge() -> tuple[int, int]:
    """Remove what is past its retention; returns how many logs and how many runs went."""
    kept = conf.get("RETENTION")
    Run.objects.filter(key__isnull=False, created__lt=from_now(-conf.intervals.kept_key)).update(
        key=None
    )
    logs = runs = 0
    while kept.get("logs") is not None and (done := _purge_logs(kept["logs"])):
        logs += done
    while kept.get("runs") is not None and (done := _purge_runs(kept["runs"])):
        runs += done
    return logs, runs


def _purge_logs(days: float) -> int:
    """A log goes whole: the row stays and says so."""
    old = Run.objects.filter(state__in=FINAL, pruned=False, ended__lt=from_now(-days * _DAY))
    keys = list(old.values_list("pk", flat=True)[:_BATCH])
    with transaction.atomic():
        Run.objects.filter(pk__in=keys).update(pruned=True)
        LogRow.objects.filter(run__in=keys).delete()
    return len(keys)


def _purge_runs(days: float) -> int:
    old = Run.objects.filter(state__in=FINAL, ended__lt=from_now(-days * _DAY))
    keys = list(old.values_list("pk", flat=True)[:_BATCH])
    Run.objects.filter(pk__in=keys).delete()
    return len(keys)
