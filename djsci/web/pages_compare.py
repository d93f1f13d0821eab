"""Two runs side by side: outcome, parameters, result, times."""

import json
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from djsci import blobs
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.errors import BadRequest, NotFound
from djsci.core.events import FINAL
from djsci.models import Run
from djsci.runs.timing import times

from . import documents, result_diffs
from .page import page, problem_page, render
from .reading import watched_run
from .run_words import seconds, sentence

MOST_RESULT = 2 << 20  # bytes of a result that is read and compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """How long something took in both runs, None where nobody knows."""

    name: str
    before: float | None
    after: float | None

    @property
    def difference(self) -> str:
        if self.before is None or self.after is None:
            return ""
        change = round(self.after - self.before, 2)
        return f"{'−' if change < 0 else '+'}{seconds(abs(change))}" if change else "the same"


@page("GET")
def compare(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The two runs that `run` names, the earlier one first; one alone beside the one before it."""
    named = list(dict.fromkeys(request.GET.getlist("run")))
    if len(named) not in (1, 2):
        return problem_page(request, BadRequest("Choose two runs to compare."), caller)
    if any("\x00" in run_id for run_id in named):
        raise NotFound
    found = [watched_run(caller, run_id) for run_id in named]
    if len(found) == 1:
        former = _former(caller, found[0])
        if former is None:
            error = NotFound("No earlier run of this file has ended that you may see.")
            way = (reverse("djsci_run", args=[found[0].pk]), "To the run")
            return problem_page(request, error, caller, ways=[way])
        found.append(former)
    before, after = sorted(found, key=lambda run: (run.created, run.pk))
    context = {
        "sides": [_side(run) for run in (before, after)],
        "before": before,
        "after": after,
        "changes_url": _changes_url(caller, before, after),
        "parameters": result_diffs.members(*map(_parameters, (before, after))),
        "times": _times(before, after),
        **_results(before, after),
    }
    return render(request, "run_compare.html", context, caller)


def _former(caller: Caller, run: Run) -> Run | None:
    """The last run of the same file that was asked for before this one, and has ended."""
    earlier = Q(created__lt=run.created) | Q(created=run.created, pk__lt=run.pk)
    found = permissions.visible_runs(caller).filter(earlier, file=run.file_id, state__in=FINAL)
    return found.select_related("file", "version", "user").order_by("-created", "-pk").first()


def _side(run: Run) -> dict[str, Any]:
    return {
        "run": run,
        "sentence": sentence(run, now=timezone.now()),
        "result": f"{documents.run_path(run.pk)}result/",
        "artifacts": f"{documents.run_path(run.pk)}artifacts/",
    }


def _changes_url(caller: Caller, before: Run, after: Run) -> str:
    """Where the versions' differences are shown, if there are any that the caller may read."""
    is_one_file = before.file_id == after.file_id
    if before.version_id == after.version_id or not is_one_file:
        return ""
    if not permissions.may_read(caller, after.file):
        return ""
    old, new = (run.version.sha256[:16] for run in (before, after))
    return f"{reverse('djsci_file_diff', args=[after.file_id])}?from={old}&to={new}"


def _parameters(run: Run) -> dict[str, Any]:
    loaded = result_diffs.load(json.dumps(run.parameters))
    return loaded if isinstance(loaded, dict) else {"parameters": loaded}


def _results(before: Run, after: Run) -> dict[str, Any]:
    """`diff`, or a `note` that says why there is none."""
    sides = (before, after)
    if any(not _has_result(run) for run in sides):
        has_one = any(map(_has_result, sides))
        return {"note": "Only one of them has a result." if has_one else "Neither has a result."}
    if (before.result, before.result_ref) == (after.result, after.result_ref):
        return {"note": "Both gave the same result."}
    if max(run.result_size for run in sides) > MOST_RESULT:
        return {"note": "The results differ; they are too large to be compared on a page."}
    try:
        values = [result_diffs.load(_result(run)) for run in sides]
    except blobs.BlobMissing:
        return {"note": "A result is not stored any more."}
    diff = result_diffs.compare(*values)
    if not (diff.rows or diff.changes):
        return {"note": "Both gave the same result, its members in another order."}
    return {"diff": diff}


def _has_result(run: Run) -> bool:
    return run.state == "succeeded" and (run.result is not None or bool(run.result_ref))


def _result(run: Run) -> str:
    return blobs.get(run.result_ref).decode() if run.result_ref else str(run.result)


def _times(before: Run, after: Run) -> list[Lapse]:
    old, new = times(before), times(after)
    cells = sorted({*old.cells, *new.cells})
    return [
        Lapse(name="Waited", before=old.waited, after=new.waited),
        Lapse(name="Started up", before=old.starting, after=new.starting),
        Lapse(name="Ran", before=before.elapsed, after=after.elapsed),
        *(
            Lapse(name=f"Cell {cell}", before=old.cells.get(cell), after=new.cells.get(cell))
            for cell in cells
        ),
    ]
