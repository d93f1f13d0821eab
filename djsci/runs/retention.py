"""How long logs, runs, idempotency keys and stored bytes are kept. Live runs lose nothing."""

import re
from collections.abc import Iterator

from django.db import transaction
from django.db.models import Q

from djsci import blobs, conf
from djsci.core.events import FINAL
from djsci.engines import environments, registry
from djsci.models import LogRow, Run, Version

from .log import from_now

REFERENCE = re.compile(r'"(?:ref|sha256)":"([0-9a-f]{64})"')  # the latter of artifacts
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


def purge_environments(*, most: int = _BATCH) -> int:
    """Remove at most `most` environments of headers that no run has used for long; how many."""
    days, site = conf.get("RETENTION").get("environments"), registry.site()
    if days is None or site is None:
        return 0
    return environments.purge(site.folder, days=days, most=most)


def purge_blobs(*, older_than: float = blobs.KEPT_SECONDS) -> int:
    """Remove stored bytes that no version, run or log refers to; how many blobs went.

    It reads every log that holds a reference, so it is for `djsci_purge`, not for the tick. Bytes
    that are younger than `older_than` seconds stay: their row may be about to be written.
    """
    return blobs.purge(set(_referenced()), older_than=older_than)


def _referenced() -> Iterator[str]:
    for manifest in Version.objects.values_list("manifest", flat=True).iterator():
        yield from manifest["files"].values()
    yield from Run.objects.exclude(result_ref="").values_list("result_ref", flat=True).iterator()
    requests = Run.objects.filter(request__startswith="blob:").values_list("request", flat=True)
    for request in requests.iterator():
        yield request.removeprefix("blob:")
    holds = Q(data__contains='"ref":"') | Q(data__contains='"sha256":"')
    rows = LogRow.objects.filter(holds).values_list("data", flat=True)
    for data in rows.iterator(chunk_size=8):
        yield from REFERENCE.findall(data)


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
