"""The catalogue: the files that the caller may see, each with its last run."""

from django.db.models import F, OuterRef, Q, Subquery, TextField, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import HttpRequest, HttpResponse

from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.models import Run

from .page import page, render

# What a file is called: its name, or its id where it has none.
_LABEL = Coalesce(NullIf(F("name"), Value("")), F("pk"), output_field=TextField())
PAGE_ITEMS = 50


@page("GET")
def catalogue(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The files that the caller may see, each with its last run."""
    last = permissions.visible_runs(caller).filter(file=OuterRef("pk")).order_by("-created", "-pk")
    files = (
        permissions.visible_files(caller)
        .select_related("owner", "version")
        .annotate(label=_LABEL)
        .annotate(last_run=Subquery(last.values("pk")[:1]))
        .order_by("label", "pk")
    )
    sought = request.GET.get("q", "").strip()
    if sought:
        files = files.filter(Q(label__icontains=sought) | Q(pk=sought))
    beyond = request.GET.get("after", "")
    if beyond:
        files = files.filter(label__gt=beyond)
    found = list(files[: PAGE_ITEMS + 1])
    shown = found[:PAGE_ITEMS]
    last_runs = Run.objects.in_bulk([file.last_run for file in shown if file.last_run])
    among = [file.pk for file in shown]
    runnable = set(
        permissions.runnable_files(caller).filter(pk__in=among).values_list("pk", flat=True)
    )
    rows = [
        {
            "file": file,
            "run": last_runs.get(file.last_run),
            "may_run": file.pk in runnable,
        }
        for file in shown
    ]
    following = shown[-1].label if len(found) > PAGE_ITEMS else ""
    context = {"rows": rows, "sought": sought, "next": following, "beyond": beyond}
    return render(request, "catalogue.html", context, caller)
