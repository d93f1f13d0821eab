"""How busy the site is: what waits in each queue, and who could take it. All are sync queries."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, QuerySet
from django.utils import timezone

from djsci import conf
from djsci.core.events import LIVE
from djsci.models import Executor, Run

from . import claims, dispatch, turns
from .log import from_now


@dataclass(slots=True, kw_only=True)
class Queue:
    """A queue's runs by state; no limit holds back the `startable`, of which one is `oldest`."""

    name: str
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(sorted(LIVE), 0))
    startable: int = 0
    oldest: datetime | None = None
    executors: int = 0
    slots: int = 0
    busy: int = 0

    @property
    def waiting(self) -> int:
        return self.states["queued"]

    @property
    def running(self) -> int:
        return sum(self.states.values()) - self.waiting

    @property
    def age(self) -> float:
        """Seconds that its oldest startable run has waited; 0 where none waits."""
        return max(0.0, (timezone.now() - self.oldest).total_seconds()) if self.oldest else 0.0


def living() -> "QuerySet[Executor]":
    """The executors that gave a sign of life within three heartbeats."""
    return Executor.objects.filter(seen__gte=from_now(-3 * conf.get("HEARTBEAT")))


def queues() -> list[Queue]:
    """Every queue that has runs, is served, or stands in QUEUES, by its name."""
    found: dict[str, Queue] = {}

    def of(name: str) -> Queue:
        return found.setdefault(name, Queue(name=name))

    for name in conf.get("QUEUES"):
        of(name)
    counts = Run.objects.filter(state__in=LIVE).values_list("queue", "state").order_by()
    for name, state, count in counts.annotate(count=Count("pk")):
        of(name).states[state] = count
    for name, executors in _by_queue().items():
        _note_executors(of(name), executors)
    if any(queue.waiting for queue in found.values()):
        _note_startable(found)
    return sorted(found.values(), key=lambda queue: queue.name)


def _by_queue() -> dict[str, list[Executor]]:
    serving: dict[str, list[Executor]] = defaultdict(list)
    for executor in living().filter(is_draining=False):
        for name in executor.queues:
            serving[name].append(executor)
    return serving


def _note_executors(queue: Queue, executors: Sequence[Executor]) -> None:
    """The serving processes of one host share its slots; each worker has its own."""
    queue.executors = len(executors)
    queue.busy = sum(executor.busy for executor in executors)
    if dispatch.current().is_local:
        hosts: dict[str, int] = {}
        for executor in executors:
            hosts[executor.host] = max(hosts.get(executor.host, 0), executor.slots)
        queue.slots = sum(hosts.values())
    else:
        queue.slots = sum(executor.slots for executor in executors)


def _note_startable(found: dict[str, Queue]) -> None:
    """Of the oldest `QUEUE` runs: more cannot wait."""
    counts = turns.Counts(Run.objects.filter(claims.IS_BUSY))
    for run in turns.in_order(Run.objects.filter(state="queued", cancel="")):
        if counts.allow(run):
            queue = found.setdefault(run.queue, Queue(name=run.queue))
            queue.startable += 1
            queue.oldest = queue.oldest or run.created
