"""How long logs, runs, idempotency keys and stored bytes are kept. Live runs lose nothing."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from django.db import transaction
from django.db.models import Max, Min, Q, QuerySet
from django.db.models.functions import Now

from djsci import blobs, conf
from djsci.core.events import FINAL
from djsci.engines import environments, registry
from djsci.models import LogRow, Run, Ticket, Version

from .log import from_now

REFERENCE = re.compile(r'"(?:ref|sha256)":"([0-9a-f]{64})"')  # the latter of artifacts
_BATCH = 200
_BYTES = 64 << 20  # of logs that one statement removes: others wait for it to write
_PAGE = 1000
_DAY = 86_400.0
_MOST_DAYS = 365_000  # no calendar goes further back


class Went(NamedTuple):
    """How many of each are past their retention. Audit rows never are."""

    logs: int = 0
    runs: int = 0
    keys: int = 0
    tickets: int = 0


def purge() -> Went:
    """Remove all that is past its retention, in batches: a server that runs is not held up."""
    all_went = Went()
    while any(went := purge_some()):
        all_went = Went(*map(sum, zip(all_went, went, strict=True)))
    return all_went


def purge_some(*, most: int = _BATCH) -> Went:
    """As `purge`, but at most `most` of each: for the tick, which must be back to renew leases."""
    return Went(
        keys=Run.objects.filter(pk__in=_first(_old_keys(), most)).update(key=None),
        logs=_purge_logs(_sized(_old_logs(), most)),
        runs=_purge_runs(_sized(_old_runs(), most)),
        tickets=Ticket.objects.filter(pk__in=_first(_old_tickets(), most)).delete()[0],
    )


def purge_environments(*, most: int = _BATCH, rehearses: bool = False) -> int:
    """Remove at most `most` environments of headers that no run has used for long; how many."""
    days, site = _days("environments"), registry.site()
    if days is None or site is None:
        return 0
    return environments.purge(site.folder, days=days, most=most, rehearses=rehearses)


def rehearse() -> Went:
    """What `purge` would remove now."""
    old = (_old_logs(), _old_runs(), _old_keys(), _old_tickets())
    return Went(*(rows.count() for rows in old))


def purge_blobs(*, older_than: float = blobs.KEPT_SECONDS, rehearses: bool = False) -> int:
    """Remove stored bytes that no version, run or log refers to; how many blobs went.

    It reads every log that holds a reference, so it is for `djsci_purge`, not for the tick. Bytes
    that are younger than `older_than` seconds stay: their row may be about to be written.
    `rehearses`: nothing goes, and what only old logs and runs refer to is counted as gone.
    """
    named = set(referenced(without_old=rehearses))
    return blobs.purge(named, older_than=older_than, rehearses=rehearses)


def referenced(*, without_old: bool = False) -> Iterator[str]:
    """The SHA-256 of all that versions, runs and logs refer to, some more than once.

    `without_old`: as if what is past its retention were gone.
    """
    runs, logs = Run.objects.all(), LogRow.objects.all()
    if without_old:
        runs = runs.exclude(pk__in=_old_runs().values("pk"))
        logs = logs.exclude(run__in=_old_runs().values("pk"))
        logs = logs.exclude(run__in=_old_logs().values("pk"))
    for manifest in Version.objects.values_list("manifest", flat=True).iterator():
        yield from manifest["files"].values()
    yield from _paged(runs.exclude(result_ref=""), "result_ref")
    for request in _paged(runs.filter(request__startswith="blob:"), "request"):
        yield request.removeprefix("blob:")
    yield from _logged(logs)


def _old_logs() -> QuerySet[Run]:
    return _ended_before(_days("logs")).filter(pruned=False)


def _old_runs() -> QuerySet[Run]:
    return _ended_before(_days("runs"))


def _days(what: str) -> float | None:
    """How long it is kept; None: for ever, and so for what is no number of days."""
    days = conf.get("RETENTION").get(what)
    is_number = isinstance(days, int | float) and not isinstance(days, bool)
    return days if is_number and 0 <= days <= _MOST_DAYS else None


def _ended_before(days: float | None) -> QuerySet[Run]:
    if days is None:
        return Run.objects.none()
    return Run.objects.filter(state__in=FINAL, ended__lt=from_now(-days * _DAY))


def _old_keys() -> QuerySet[Run]:
    return Run.objects.filter(key__isnull=False, created__lt=from_now(-conf.intervals.kept_key))


def _old_tickets() -> QuerySet[Ticket]:
    return Ticket.objects.filter(expires__lt=Now())


def _first(rows: QuerySet[Run] | QuerySet[Ticket], most: int) -> list[str]:
    return list(rows.values_list("pk", flat=True)[:most])


def _sized(rows: QuerySet[Run], most: int) -> list[str]:
    """The first runs whose logs have about `_BYTES` together; one at least."""
    keys, size = [], 0
    for key, log_bytes in rows.values_list("pk", "bytes")[:most]:
        keys.append(key)
        size += log_bytes
        if size >= _BYTES:
            break
    return keys


def _purge_logs(keys: list[str]) -> int:
    """A log goes whole: the row stays and says so."""
    with transaction.atomic():
        Run.objects.filter(pk__in=keys).update(pruned=True)
        LogRow.objects.filter(run__in=keys).delete()
    return len(keys)


def _purge_runs(keys: list[str]) -> int:
    Run.objects.filter(pk__in=keys).delete()
    return len(keys)


def _paged(runs: QuerySet[Run], column: str) -> Iterator[str]:
    """A column in statements of bounded length, between which nothing is held."""
    last = ""
    while page := list(runs.filter(pk__gt=last).order_by("pk").values_list("pk", column)[:_PAGE]):
        yield from (value for _, value in page)
        last = page[-1][0]


def _logged(logs: QuerySet[LogRow]) -> Iterator[str]:
    ends = LogRow.objects.aggregate(low=Min("pk"), high=Max("pk"))
    holds = logs.filter(Q(data__contains='"ref":"') | Q(data__contains='"sha256":"'))
    for low in range(ends["low"] or 1, (ends["high"] or 0) + 1, _PAGE):
        rows = holds.filter(pk__gte=low, pk__lt=low + _PAGE).values_list("data", flat=True)
        for data in rows.iterator(chunk_size=8):
            yield from REFERENCE.findall(data)
