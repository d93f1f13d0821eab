"""The statements by which executors take runs and keep them. All functions are sync."""

import os
import platform
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Collate, Now

from djsci import __version__, conf
from djsci.access.database import taking_turns
from djsci.core.events import LIVE
from djsci.models import Executor, Run

from .gate import enter_gate
from .log import from_now
from .turns import Counts, Queued, in_order, in_turn, owed_by

FORMAT = 1
IS_BUSY = Q(state__in=("starting", "running", "cancelling"))


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this executor holds under `lease`; `head` was its last seq as it was claimed."""

    run_id: str
    lease: int
    head: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one claim took; `are_left`: more was queued, which a slot or a limit kept back."""

    claims: list[Claim]
    are_left: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What the database says of a run that is executed here."""

    lease: int
    cancel: str


def boot_id() -> str:
    """What tells this boot of the host from others."""
    return _read("/proc/sys/kernel/random/boot_id")


def pid_namespace() -> str:
    """The namespace in which this process's pid means something."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def process_started(pid: int) -> int:
    """The start time of a process in clock ticks since boot; 0 when there is none, or no /proc."""
    stat = _read(f"/proc/{pid}/stat")
    fields = stat.rpartition(")")[2].split()
    is_alive = len(fields) > 19 and fields[0] not in "ZX"
    return int(fields[19]) if is_alive else 0


def is_alive(pid: int, started: int) -> bool:
    """Whether the process that began at `started` may live: one that /proc hides may.

    We are not dumpable, so under `hidepid` (systemd's ProtectProc) even our own user sees nothing
    of us but that there is such a pid.
    """
    if not started:
        return True
    return process_started(pid) == started if _read(f"/proc/{pid}/stat") else _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def register(executor: uuid.UUID, *, slots: int, queues: Collection[str]) -> None:
    """Write the row of this process's executor, unless it is there."""
    pid = os.getpid()
    Executor.objects.get_or_create(
        id=executor,
        defaults={
            "host": platform.node(),
            "boot": boot_id(),
            "pid_namespace": pid_namespace(),
            "pid": pid,
            "process_started": process_started(pid),
            "version": __version__,
            "queues": sorted(queues),
            "slots": slots,
            "seen": Now(),
        },
    )


def unregister(executor: uuid.UUID) -> None:
    """Remove the row; no run may name it any more."""
    Executor.objects.filter(pk=executor).delete()


def beat(executor: uuid.UUID, *, busy: int, is_draining: bool) -> None:
    """Show that the executor lives."""
    Executor.objects.filter(pk=executor).update(seen=Now(), busy=busy, is_draining=is_draining)


def claim_new(
    executor: uuid.UUID, run: Run, *, slots: int, queues: Collection[str]
) -> Claim | None:
    """Take a run that is just being admitted, before it is written; under the gate.

    Only where nothing waits: else it has its turn. None: a limit or another queue keeps it back.
    """
    if run.queue not in queues:
        return None
    register(executor, slots=slots, queues=queues)
    counts = Counts(Run.objects.filter(IS_BUSY))
    if counts.host >= conf.running_slots() or not counts.allow(owed_by(run)):
        return None
    run.state, run.lease, run.starts = "starting", 1, 1
    run.executor_id = executor
    run.lease_until, run.deadline = from_now(conf.get("LEASE")), from_now(run.timeout)
    return Claim(run.pk, run.lease, head=1)


def claim(executor: uuid.UUID, *, slots: int, queues: Collection[str]) -> Taken:
    """Take at most `slots` startable runs: of who has the fewest running, then the oldest."""
    queued = _queued().filter(queue__in=queues)
    # Looked at first without the lock: an idle executor must not hold up those who write.
    return _claim(executor, slots, queued) if queued.exists() else Taken([], False)


def _queued() -> QuerySet[Run]:
    return Run.objects.filter(state="queued", cancel="", format__lte=FORMAT)


@taking_turns()
def _claim(executor: uuid.UUID, slots: int, runs: QuerySet[Run]) -> Taken:
    enter_gate()
    register(executor, slots=slots, queues=conf.get("QUEUES"))
    counts = Counts(Run.objects.filter(IS_BUSY))
    waiting = in_order(runs)
    claims: list[Claim] = []
    for run in in_turn(waiting, counts):
        if len(claims) >= slots or counts.host >= conf.running_slots():
            break
        taken = _take(executor, run)
        if taken:
            claims.append(taken)
            counts.add(run)
    return Taken(claims, are_left=len(waiting) > len(claims))


def claim_one(
    executor: uuid.UUID, run_id: str, *, slots: int, queues: Collection[str] | None
) -> Claim | None:
    """Take this one run; None: it is not queued, nor in one of `queues`, or a limit is reached.

    Of these only a limit leaves it to be rung again: its bell was eaten.
    """
    run = _queued().filter(pk=run_id)
    if queues is not None:
        run = run.filter(queue__in=queues)
    return _claim_one(executor, run, slots, queues or ()) if run.exists() else None


@taking_turns()
def _claim_one(
    executor: uuid.UUID, runs: QuerySet[Run], slots: int, queues: Collection[str]
) -> Claim | None:
    enter_gate()
    register(executor, slots=slots, queues=queues)
    counts = Counts(Run.objects.filter(IS_BUSY))
    most = conf.get("RUNNING")
    for run in in_turn(in_order(runs), counts):
        if most is None or counts.host < most:
            return _take(executor, run)
    runs.update(rung_at=None)
    return None


def _take(executor: uuid.UUID, run: Queued) -> Claim | None:
    """None: somebody cancelled it since it was looked at."""
    seen = Run.objects.filter(pk=run.pk, lease=run.lease, head=run.head)
    changed = seen.filter(state="queued", cancel="").update(
        state="starting",
        lease=run.lease + 1,
        starts=F("starts") + 1,
        executor=executor,
        lease_until=from_now(conf.get("LEASE")),
        deadline=from_now(run.timeout),
    )
    return Claim(run.pk, run.lease + 1, run.head) if changed else None


def unbegun(executor: uuid.UUID) -> set[Claim]:
    """What is held here and has not said that it runs: it may never have been begun."""
    rows = Run.objects.filter(executor=executor, state="starting")
    return {Claim(*row) for row in rows.values_list("pk", "lease", "head")}


def renew(executor: uuid.UUID, run_ids: Collection[str]) -> dict[str, Held]:
    """Renew the leases of the runs executed here, and read back whether they are still ours."""
    if not run_ids:
        return {}
    _extend(Run.objects.filter(executor=executor, pk__in=run_ids, state__in=LIVE))
    rows = Run.objects.filter(executor=executor, pk__in=run_ids)
    return {
        pk: Held(lease, cancel) for pk, lease, cancel in rows.values_list("pk", "lease", "cancel")
    }


@taking_turns()
def _extend(runs: QuerySet[Run]) -> None:
    """Rows are locked in the order in which the writer takes them, or the two could deadlock."""
    if connection.features.has_select_for_update:
        in_python_order = Collate("pk", "C")
        list(runs.select_for_update().order_by(in_python_order).values_list("pk"))
    runs.update(lease_until=from_now(conf.get("LEASE")))
