"""Ask a run to stop: a queued one ends here, a running one is told through its row."""

from typing import Literal

from django.db import transaction

from djsci.access.database import in_database
from djsci.core.errors import NotFound
from djsci.core.events import LIVE, End
from djsci.models import Run

from . import doorbell, executor, log

Answer = Literal["ended", "already", "asked"]


async def cancel(run_id: str, *, force: bool = False) -> Answer:
    """Ask once; `force` kills at once. 'ended': nothing is left to cancel. Raises `NotFound`."""
    answer, head = await in_database(_ask, run_id, force=force)
    if head:
        doorbell.ring(run_id, head=head, is_final=True)
    elif answer == "asked":
        executor.cancel(run_id, force=force)
    return answer


def _ask(run_id: str, *, force: bool) -> tuple[Answer, int]:
    wanted = "forced" if force else "asked"
    earlier = ("", "asked") if force else ("",)
    run = Run.objects.filter(pk=run_id).values("state", "lease").first()
    if run is None:
        raise NotFound
    if run["state"] == "queued" and _end_queued(run_id, run["lease"]):
        return "asked", Run.objects.values_list("head", flat=True).get(pk=run_id)
    with transaction.atomic():
        changed = Run.objects.filter(pk=run_id, state__in=LIVE, cancel__in=earlier).update(
            cancel=wanted
        )
    if changed:
        return "asked", 0
    state = Run.objects.values_list("state", flat=True).get(pk=run_id)
    return ("already" if state in LIVE else "ended"), 0


def _end_queued(run_id: str, lease: int) -> bool:
    end = End(state="cancelled", elapsed=0.0, reason="cancelled before it started")
    return log.take_over(
        run_id, lease=lease, events=[end], columns=log.end_columns(end), state="queued"
    )
