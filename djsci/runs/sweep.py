"""The one recovery: runs whose executor vanished end as `lost`, or are queued again."""

import logging
import platform
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from djsci import conf
from djsci.access import logs
from djsci.core.events import LIVE, End, Event, Log, Status
from djsci.isolation import container
from djsci.models import Executor, Run

from . import claims, dispatch, doorbell, log, retention, rings, tallies

logger = logging.getLogger("djsci.sweep")

_ROWS = 200


@dataclass(slots=True)
class Looks:
    """What earlier sweeps of this process saw: a lease is judged by two looks, not by a clock."""

    expired: dict[str, tuple[tuple[int, Any], float]] = field(default_factory=dict)
    busy: dict[tuple[str, int], float] = field(default_factory=dict)  # by run and lease: since when
    next_minute: float = 0.0
    next_hour: float = 0.0
    next_purge: float = 0.0  # of environments
    aside: threading.Thread | None = None  # removes what takes long: leases are renewed meanwhile


def sweep(looks: Looks) -> None:
    """One round, each step a conditional statement of at most 200 rows: no election is needed."""
    _reap_expired(looks)
    _end_overdue(looks)
    _end_stale_queued()
    dispatch.current().ring(rings.again())
    now = time.monotonic()
    if now >= looks.next_minute:
        looks.next_minute = now + 60
        reap_dead_neighbours()
        _remove_aside(looks, now)
        _forget_silent_executors()
    if now >= looks.next_hour and not any(retention.purge_some()):
        looks.next_hour = now + 3600  # else the next tick goes on: leases are renewed in between
    tallies.note_swept()


def _reap_expired(looks: Looks) -> None:
    """Runs whose lease was seen expired, unchanged, twice, two heartbeats apart."""
    lease = conf.get("LEASE")
    rows = Run.objects.filter(state__in=LIVE, lease_until__isnull=False).filter(
        Q(lease_until__lt=Now()) | Q(lease_until__gt=log.from_now(2 * lease))
    )
    now = time.monotonic()
    seen = {
        pk: (held, until)
        for pk, held, until in rows.order_by("lease_until").values_list(
            "pk", "lease", "lease_until"
        )[:_ROWS]
    }
    looks.expired = {
        pk: looks.expired[pk]
        if pk in looks.expired and looks.expired[pk][0] == what
        else (what, now)
        for pk, what in seen.items()
    }
    for pk, ((held, until), since) in list(looks.expired.items()):
        if now - since >= 2 * conf.get("HEARTBEAT"):
            _reap(pk, lease=held, lease_until=until)


def reap_dead_neighbours() -> None:
    """Runs of executors of this host, boot and pid namespace whose process is gone."""
    neighbours = Executor.objects.filter(
        host=platform.node(), boot=claims.boot_id(), pid_namespace=claims.pid_namespace()
    )
    for executor in neighbours:
        if claims.is_alive(executor.pid, executor.process_started):
            continue
        rows = Run.objects.filter(executor=executor, state__in=LIVE).exclude(state="queued")
        for pk, held in rows.values_list("pk", "lease"):
            _reap(pk, lease=held)
        executor.delete()


def _remove_aside(looks: Looks, now: float) -> None:
    """A program for containers may not answer, an environment hold very many files."""
    if looks.aside is not None and looks.aside.is_alive():
        return
    purges = now >= looks.next_purge
    if purges:
        looks.next_purge = now + 3600
    looks.aside = threading.Thread(target=_remove, args=[purges], daemon=True)
    looks.aside.start()


def _remove(purges: bool) -> None:
    try:
        remove_containers()
        if purges:
            retention.purge_environments()
    except Exception as error:
        logger.warning("what is left was not removed: %s: %s", type(error).__name__, error)


def remove_containers() -> None:
    """Of this host's processes that are gone, where the site has containers."""
    if not (conf.get("CONTAINER") or conf.get("ISOLATION") == "container"):
        return
    try:
        removed = container.remove_leftovers(conf.container())
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("Left containers were not looked for: %s", error)
    else:
        if removed:
            logger.warning("%d containers were left by processes that are gone: removed.", removed)


def lose_open(reason: str) -> int:
    """End every run that is open, queued or not, as `lost`; how many. For a restored database."""
    count = 0
    for pk, lease in Run.objects.filter(state__in=LIVE).values_list("pk", "lease"):
        end = End(state="lost", reason=reason)
        count += _take_over(pk, lease=lease, events=[end], columns=log.end_columns(end))
    return count


def _reap(pk: str, *, lease: int, **seen: Any) -> None:
    run = Run.objects.filter(pk=pk).values("starts", "retries", "cancel").first()
    if run is None:
        return
    reason = "its executor vanished"
    events: list[Event]
    if run["starts"] <= run["retries"] and not run["cancel"]:
        message = f"{reason}; it is started again"
        events = [Log(level="warning", message=message), Status(state="queued", detail=message)]
        columns: dict[str, Any] = dict(log.QUEUED_AGAIN)
    else:
        if run["cancel"]:
            reason += "; a cancel had been asked for"
        end = End(state="lost", reason=reason)
        events, columns = [end], log.end_columns(end)
    if _take_over(pk, lease=lease, events=events, columns=columns, **seen):
        tallies.note_reaped()
        with logs.about(run=pk, lease=lease):
            logger.warning("run %s: its executor vanished; now %s", pk, columns["state"])


def _end_overdue(looks: Looks) -> None:
    """Runs that live past their deadline under a living lease: the engine's own timer failed.

    The deadline is the database's time, which may have stepped. So this process must have watched
    the run for as long too, by a clock that neither steps nor counts a suspended host's time.
    """
    patience = conf.get("GRACE") + conf.get("LEASE")
    rows = Run.objects.filter(claims.IS_BUSY)
    now = time.monotonic()
    timeouts = {(pk, lease): most for pk, lease, most in rows.values_list("pk", "lease", "timeout")}
    looks.busy = {what: looks.busy.get(what, now) for what in timeouts}
    watched = [
        what for what, since in looks.busy.items() if now - since >= timeouts[what] + patience
    ]
    late = rows.filter(deadline__lt=log.from_now(-patience), pk__in=[pk for pk, _ in watched])
    for pk, lease in late.values_list("pk", "lease")[:_ROWS] if watched else ():
        end = End(state="timed_out", reason="its deadline has passed", abandoned=True)
        _take_over(pk, lease=lease, events=[end], columns=log.end_columns(end))


def _end_stale_queued() -> None:
    """Runs that nobody took for a day, and those queued again just as a cancel was asked for.

    One that has started counts from its last deadline: it may be older than a day by then.
    """
    old = log.from_now(-conf.intervals.queued_for)
    is_old = Q(starts=0, created__lt=old) | Q(starts__gt=0, deadline__lt=old)
    rows = Run.objects.filter(~Q(cancel="") | is_old, state="queued")
    for pk, lease, cancel in rows.values_list("pk", "lease", "cancel")[:_ROWS]:
        reason = "cancelled before it started again" if cancel else "it was queued for too long"
        end = End(state="cancelled", elapsed=0.0, reason=reason)
        _take_over(pk, lease=lease, events=[end], columns=log.end_columns(end), state="queued")


def _take_over(
    pk: str, *, lease: int, events: list[Event], columns: dict[str, Any], **seen: Any
) -> bool:
    if not log.take_over(pk, lease=lease, events=events, columns=columns, **seen):
        return False
    head, state = Run.objects.values_list("head", "state").get(pk=pk)
    doorbell.ring(pk, head=head, is_final=state not in LIVE)
    return True


def _forget_silent_executors() -> None:
    """Rows of executors that were not seen for ten leases and hold no run."""
    silent = Executor.objects.filter(seen__lt=log.from_now(-10 * conf.get("LEASE")))
    silent.exclude(
        pk__in=Run.objects.filter(state__in=LIVE, executor__isnull=False).values("executor")
    ).delete()
