"""Which queued runs are rung: only those that may start, so that no backlog fills a queue.

A run with `rung_at` counts as running here: a bell is on its way to an executor. Who refuses it
for a limit, or fails to send it, takes `rung_at` away. Needed where executors do not look for
runs themselves: with `local` nothing is marked. All functions are sync.
"""

from collections import Counter
from collections.abc import Collection

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from djsci import conf
from djsci.access.database import taking_turns
from djsci.core.events import LIVE
from djsci.models import Executor, Run

from . import claims, dispatch, turns
from .dispatch import Bell
from .gate import enter_gate
from .log import from_now

_MOST_AFTER_END = 16
_RUNG = Q(state="queued", rung_at__isnull=False)
_UNRUNG = Q(rung_at__isnull=True)


def admitted(run: Run) -> list[Bell]:
    """The bell of a run that was just inserted, if it may start; under the gate."""
    bell = Bell(run.pk, run.queue)
    if dispatch.current().is_local:
        return [bell]
    owed = turns.owed_by(run)
    if turns.is_limited(owed):
        # With the states, or SQLite reads every run that the user or the file ever had.
        near = Q(user=run.user_id, state__in=LIVE) | Q(file=run.file_id, state__in=LIVE)
        counted = Run.objects.filter(near).filter(claims.IS_BUSY | _RUNG)
        if not turns.Counts(counted).allow(owed):
            return []
    _note([run.pk])
    return [bell]


def after_end() -> list[Bell]:
    """The bells of runs that may start now and were held back, after another's end."""
    if dispatch.current().is_local or not _waiting().exists():
        return []
    unrung = _waiting().filter(_UNRUNG)
    with taking_turns():
        enter_gate()  # a claim that is just refused has put its run back by then
        counts = turns.Counts(Run.objects.filter(claims.IS_BUSY | _RUNG))
        return _ring(unrung, counts, Counter(dict.fromkeys(_queues(unrung), _MOST_AFTER_END)))


def again() -> list[Bell]:
    """The bells of startable runs whose own may be lost: as many as executors have free slots."""
    if dispatch.current().is_local:
        return []
    again = conf.intervals.ring_again  # before and after: the database's clock may go back
    recent = Q(rung_at__gte=from_now(-again), rung_at__lte=from_now(again))
    waiting = _waiting().filter(_UNRUNG | ~recent)
    if not waiting.exists():
        return []
    with taking_turns():
        enter_gate()
        free = _free_slots()
        free.subtract(_waiting().filter(recent).values_list("queue", flat=True))
        counts = turns.Counts(Run.objects.filter(claims.IS_BUSY | (recent & _RUNG)))
        return _ring(waiting, counts, free)


def unring(run_ids: Collection[str]) -> None:
    """Their bells are gone, and they are queued still."""
    Run.objects.filter(pk__in=run_ids, state="queued").update(rung_at=None)


def _waiting() -> QuerySet[Run]:
    return Run.objects.filter(state="queued", cancel="")


def _queues(runs: QuerySet[Run]) -> set[str]:
    return set(runs.values_list("queue", flat=True).distinct())


def _free_slots() -> "Counter[str]":
    """How many runs the live executors of each queue could take."""
    free: Counter[str] = Counter()
    live = Executor.objects.filter(
        seen__gte=from_now(-3 * conf.get("HEARTBEAT")), is_draining=False
    )
    for queues, slots, busy in live.values_list("queues", "slots", "busy"):
        free.update(dict.fromkeys(queues, max(0, slots - busy)))
    return free


def _ring(runs: QuerySet[Run], counts: "turns.Counts", most: "Counter[str]") -> list[Bell]:
    """Mark those that are rung now, in their turn: at most so many of each queue."""
    most = +most  # those above zero
    waiting = turns.in_order(runs.filter(queue__in=most)) if most else []
    bells: list[Bell] = []
    for run in turns.in_turn(waiting, counts, has_room=lambda run: most[run.queue] > 0):
        most[run.queue] -= 1
        counts.add(run)
        bells.append(Bell(run.pk, run.queue))
    _note([bell.run_id for bell in bells])
    return bells


def _note(run_ids: list[str]) -> None:
    Run.objects.filter(pk__in=run_ids).update(rung_at=Now(), rings=F("rings") + 1)
