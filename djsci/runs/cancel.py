"""Ask a run to stop: a queued one ends here, a running one is told through its row."""

from typing import Literal

from djsci.access import audit, permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database_soon, writing
from djsci.core.events import LIVE, End
from djsci.models import Run

from . import doorbell, executor, log, reading

Answer = Literal["ended", "already", "asked"]


async def cancel(run_id: str, *, caller: Caller | None = None, force: bool = False) -> Answer:
    """Ask once; `force` kills at once. 'ended': nothing is left to cancel.

    `caller` None is the site itself. Raises `NotFound`, `Forbidden`.
    """
    answer, head = await in_database_soon(_ask, run_id, caller, force=force)
    if head:
        doorbell.ring(run_id, head=head, is_final=True)
    elif answer == "asked":
        executor.cancel(run_id, force=force)
    return answer


@writing()
def _ask(run_id: str, caller: Caller | None, *, force: bool) -> tuple[Answer, int]:
    run = reading.get_now(run_id)
    if caller is not None:
        permissions.require_cancel(caller, run)
    answer, head = _asked(run, force=force)
    if answer == "asked" and caller is not None and run.user_id != caller.user.pk:
        audit.record(caller, "cancel", run, force=force)
    return answer, head


def _asked(run: Run, *, force: bool) -> tuple[Answer, int]:
    wanted = "forced" if force else "asked"
    earlier = ("", "asked") if force else ("",)
    row = Run.objects.filter(pk=run.pk)
    if run.state == "queued" and _end_queued(run.pk, run.lease):
        return "asked", row.values_list("head", flat=True).get()
    if row.filter(state__in=LIVE, cancel__in=earlier).update(cancel=wanted):
        return "asked", 0
    state = row.values_list("state", flat=True).get()
    return ("already" if state in LIVE else "ended"), 0


def _end_queued(run_id: str, lease: int) -> bool:
    end = End(state="cancelled", elapsed=0.0, reason="cancelled before it started")
    return log.take_over(
        run_id, lease=lease, events=[end], columns=log.end_columns(end), state="queued"
    )
