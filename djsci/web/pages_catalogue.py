"""The catalogue: the files that the caller may see, each with what its last runs tell."""

from collections import defaultdict
from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import F, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import HttpRequest, HttpResponse
from django.utils.http import urlencode

from djsci import names
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.events import FINAL, LIVE
from djsci.models import Run

from . import sparkline
from .page import page, render

# What a file is called: its name, or its id where it has none.
_LABEL = Coalesce(NullIf(F("name"), Value("")), F("pk"), output_field=TextField())
PAGE_ITEMS = 50
KINDS = {"py": "Python", "ipynb": "Notebook"}
_STATES = {
    "live": Q(last_state__in=LIVE),
    "succeeded": Q(last_state="succeeded"),
    "failed": Q(last_state__in=set(FINAL) - {"succeeded"}),
    "never": Q(last_state=None),
}


@page("GET")
def catalogue(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The files that the caller may see."""
    asked = {
        name: value
        for name in ("q", "kind", "state", "owner")
        if (value := request.GET.get(name, "").strip()) and names.is_storable(value)
    }
    newest = (
        permissions.visible_runs(caller).filter(file=OuterRef("pk")).order_by("-created", "-pk")
    )
    files = (
        permissions.visible_files(caller)
        .select_related("owner", "version")
        .annotate(label=_LABEL)
        .annotate(last_state=Subquery(newest.values("state")[:1]))
        # Of each file only its last runs are read, however many it has.
        .annotate(since=Subquery(newest.values("created")[sparkline.MOST - 1 : sparkline.MOST]))
        .order_by("label", "pk")
    )
    files = _filtered(files, asked, caller)
    beyond = request.GET.get("after", "")
    if beyond and names.is_storable(beyond):
        files = files.filter(label__gt=beyond)
    found = list(files[: PAGE_ITEMS + 1])
    shown = found[:PAGE_ITEMS]
    following = {**asked, "after": shown[-1].label} if len(found) > PAGE_ITEMS else None
    context = {
        "rows": _rows(caller, shown),
        "asked": asked,
        "kinds": KINDS,
        "states": {"live": "Live", "succeeded": "Succeeded", "failed": "Failed", "never": "Never"},
        "next": urlencode(following) if following else "",
        "beyond": beyond,
        "may_upload": permissions.may_upload(caller),
    }
    return render(request, "catalogue.html", context, caller)


def _filtered(files: Any, asked: dict[str, str], caller: Caller) -> Any:
    sought = asked.get("q")
    if sought:
        is_told = Q(version__parameters__title__icontains=sought)
        is_told |= Q(version__parameters__description__icontains=sought)
        files = files.filter(Q(label__icontains=sought) | Q(pk=sought) | is_told)
    if asked.get("kind") in KINDS:
        files = files.filter(version__kind=asked["kind"])
    if asked.get("state") in _STATES:
        files = files.filter(_STATES[asked["state"]])
    owner = asked.get("owner")
    if owner == "me":
        files = files.filter(owner=caller.user)
    elif owner:
        files = files.filter(**{f"owner__{caller.user.USERNAME_FIELD}": owner})
    return files


def _rows(caller: Caller, files: Sequence[Any]) -> list[dict[str, Any]]:
    runs = _last_runs(caller, files)
    among = [file.pk for file in files]
    runnable = set(
        permissions.runnable_files(caller).filter(pk__in=among).values_list("pk", flat=True)
    )
    return [
        {
            "file": file,
            "kind": KINDS.get(file.version.kind if file.version else "", "–"),
            "run": runs[file.pk][0] if runs[file.pk] else None,
            "bars": sparkline.draw(
                [
                    (run.elapsed, run.state == "succeeded")
                    for run in reversed(runs[file.pk])
                    if run.elapsed is not None
                ]
            ),
            "may_run": file.pk in runnable and bool(file.version or file.file),
        }
        for file in files
    ]


def _last_runs(caller: Caller, files: Sequence[Any]) -> dict[str, list[Run]]:
    """The last runs of each file, newest first."""
    runs: dict[str, list[Run]] = defaultdict(list)
    if not files:
        return runs
    wanted = reduce(or_, (_of(file) for file in files))
    found: QuerySet[Run] = permissions.visible_runs(caller).filter(wanted)
    found = found.only("pk", "file_id", "state", "created", "elapsed")
    for run in found.order_by("-created", "-pk"):
        if len(runs[run.file_id]) < sparkline.MOST:
            runs[run.file_id].append(run)
    return runs


def _of(file: Any) -> Q:
    return Q(file=file.pk, created__gte=file.since) if file.since else Q(file=file.pk)
