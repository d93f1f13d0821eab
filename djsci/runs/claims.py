"""The statements by which executors take runs and keep them. All functions are sync."""

import os
import platform
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from djsci import __version__, conf
from djsci.core.events import LIVE
from djsci.models import Executor, Run

from .gate import enter_gate
from .log import from_now

FORMAT = 1
_BUSY = ("starting", "running", "cancelling")


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this executor holds under `lease`; `head` is its last seq."""

    run_id: str
    lease: int
    head: int


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


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def register(executor: uuid.UUID, *, slots: int) -> None:
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
            "queues": conf.get("QUEUES"),
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


def claim(executor: uuid.UUID, *, slots: int, queues: Collection[str]) -> Taken:
    """Take at most `slots` startable runs: of who has the fewest running, then the oldest."""
    queued = Run.objects.filter(state="queued", cancel="", format__lte=FORMAT, queue__in=queues)
    # Looked at first without the lock: an idle executor must not hold up those who write.
    return _claim(executor, slots, queued) if queued.exists() else Taken([], False)


@transaction.atomic
def _claim(executor: uuid.UUID, slots: int, runs: QuerySet[Run]) -> Taken:
    enter_gate()
    register(executor, slots=slots)
    waiting = runs.order_by("created")[: conf.get("QUEUE")]
    queued = list(waiting.values("pk", "user", "file", "timeout", "file__settings"))
    found = len(queued)
    counts = _Counts()
    claims: list[Claim] = []
    while queued and len(claims) < slots and counts.host < conf.running_slots():
        queued = [run for run in queued if counts.allow(run)]
        if not queued:
            break
        run = min(queued, key=lambda run: counts.users[run["user"]])
        queued.remove(run)
        taken = _take(executor, run["pk"], run["timeout"])
        if taken:
            claims.append(taken)
            counts.add(run["user"], run["file"])
    return Taken(claims, are_left=found > len(claims))


class _Counts:
    """How many runs are executed: of each user, of each file, on this host."""

    def __init__(self) -> None:
        self.users: Counter[object] = Counter()
        self.files: Counter[object] = Counter()
        self.host = 0
        rows = Run.objects.filter(state__in=_BUSY).values_list("user", "file", "executor__host")
        for user, file, host in rows:
            self.users[user] += 1
            self.files[file] += 1
            self.host += host == platform.node()

    def allow(self, run: Mapping[str, Any]) -> bool:
        """Whether one more of the run's user and of its file may be executed now."""
        per_user = conf.get("RUNNING_PER_USER")
        of_file = [conf.get("RUNNING_PER_FILE"), run["file__settings"].get("concurrency")]
        per_file = min((limit for limit in of_file if limit is not None), default=None)
        return (per_user is None or self.users[run["user"]] < per_user) and (
            per_file is None or self.files[run["file"]] < per_file
        )

    def add(self, user: object, file: object) -> None:
        self.users[user] += 1
        self.files[file] += 1
        self.host += 1


def _take(executor: uuid.UUID, run_id: str, timeout: float) -> Claim | None:
    changed = Run.objects.filter(pk=run_id, state="queued", cancel="", format__lte=FORMAT).update(
        state="starting",
        lease=F("lease") + 1,
        starts=F("starts") + 1,
        executor=executor,
        lease_until=from_now(conf.get("LEASE")),
        deadline=from_now(timeout),
    )
    if not changed:
        return None
    lease, head = Run.objects.values_list("lease", "head").get(pk=run_id)
    return Claim(run_id, lease, head)


def renew(executor: uuid.UUID, run_ids: Collection[str]) -> dict[str, Held]:
    """Renew the leases of the runs executed here, and read back whether they are still ours."""
    if not run_ids:
        return {}
    Run.objects.filter(executor=executor, pk__in=run_ids, state__in=LIVE).update(
        lease_until=from_now(conf.get("LEASE"))
    )
    rows = Run.objects.filter(executor=executor, pk__in=run_ids)
    return {
        pk: Held(lease, cancel) for pk, lease, cancel in rows.values_list("pk", "lease", "cancel")
    }
