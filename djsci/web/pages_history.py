"""The history of runs: filters, pages in both directions, bulk cancel, news."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from asgiref.sync import async_to_sync
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.http import urlencode

from djsci import runs
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.errors import BadRequest
from djsci.core.events import FINAL, LIVE
from djsci.models import Run

from . import documents, run_filters, run_rows
from .page import page, render, see_other

PAGE_ITEMS = 50
MOST_NEWS = 100
FILTERS = ("file", "state", "user", "since")


@page("GET")
def history(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The runs that the caller may see, newest first."""
    filters = _filters(request.GET)
    problem: BadRequest | None = None
    shown: dict[str, Any] = {"runs": [], "older": "", "newer": ""}
    try:
        found = permissions.visible_runs(caller).filter(_conditions(filters))
        shown = _shown(found, request.GET, caller)
    except BadRequest as error:
        problem = error
    context = {
        **shown,
        "problem": problem,
        "filters": filters,
        "query": urlencode(filters),
        "states": [("live", "live"), *((state, state.replace("_", " ")) for state in FINAL)],
        "news": _news_address(filters, shown),
        "cancelled": _count(request.GET.get("cancelled")),
        "left": _count(request.GET.get("left")),
    }
    return render(request, "runs.html", context, caller, status=problem.status if problem else 200)


def _filters(asked: Mapping[str, str]) -> dict[str, str]:
    """The filters that are set, in one order."""
    return {name: asked[name].strip() for name in FILTERS if asked.get(name, "").strip()}


def _conditions(filters: Mapping[str, str]) -> Q:
    state = filters.get("state")
    return run_filters.conditions(
        filters.get("file"),
        ",".join(LIVE) if state == "live" else state,
        filters.get("user"),
        filters.get("since"),
    )


def _shown(found: "QuerySet[Run]", asked: Mapping[str, str], caller: Caller) -> dict[str, Any]:
    """One page, and the cursors of its neighbours."""
    newer, older = asked.get("newer", ""), asked.get("older", "")
    rows = run_rows.light(found)
    if newer:
        part = list(rows.filter(_before(newer)).order_by("created", "pk")[: PAGE_ITEMS + 1])
        if len(part) > PAGE_ITEMS:
            part = part[:PAGE_ITEMS][::-1]
            return _as_page(part, caller, has_newer=True, has_older=True)
    if older:
        rows = rows.filter(documents.after(older, Run))
    part = list(rows.order_by("-created", "-pk")[: PAGE_ITEMS + 1])
    has_older = len(part) > PAGE_ITEMS
    return _as_page(part[:PAGE_ITEMS], caller, has_newer=bool(older), has_older=has_older)


def _as_page(
    part: Sequence[Run], caller: Caller, *, has_newer: bool, has_older: bool
) -> dict[str, Any]:
    drawn = run_rows.drawn(part, caller)
    return {
        "runs": drawn,
        "newer": documents.cursor_of(drawn[0]) if drawn and has_newer else "",
        "older": documents.cursor_of(drawn[-1]) if drawn and has_older else "",
        "is_first": not has_newer,
        "can_cancel": any(run.is_cancellable for run in drawn),
    }


def _before(cursor: str) -> Q:
    """The runs that come earlier in the list."""
    time, key = documents.place_of(cursor, Run)
    return Q(created__gt=time) | Q(created=time, pk__gt=key) if time else Q()


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 5 else None


def _news_address(filters: Mapping[str, str], shown: Mapping[str, Any]) -> str:
    """Where a script asks for news of this page; only the first page has any."""
    if not shown.get("is_first"):
        return ""
    newest = documents.cursor_of(shown["runs"][0]) if shown["runs"] else ""
    live = [run.pk for run in shown["runs"] if not run.is_final]
    query = urlencode({**filters, "newer": newest, "run": live}, doseq=True)
    return f"{reverse('djsci_runs_news')}?{query}"


@page("GET")
def news(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Since a page was drawn: how many runs came, how many of its live ones have ended."""
    visible = permissions.visible_runs(caller)
    fresh = visible.filter(_conditions(_filters(request.GET)))
    newest = request.GET.get("newer", "")
    if newest:
        fresh = fresh.filter(_before(newest))
    named = request.GET.getlist("run")[:PAGE_ITEMS]
    ended = visible.filter(pk__in=named, state__in=FINAL).count() if named else 0
    return JsonResponse({"new": fresh.order_by()[:MOST_NEWS].count(), "ended": ended})


@page("POST")
def cancel_many(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Cancel the runs that were ticked, those that the caller may."""
    named = request.POST.getlist("run")[:PAGE_ITEMS]
    found = permissions.visible_runs(caller).filter(pk__in=named).select_related("file")
    wanted = [run for run in found if not run.is_final and permissions.may_cancel(caller, run)]
    answers = async_to_sync(_cancel_all)(caller, [run.pk for run in wanted])
    done = sum(answer != "ended" for answer in answers)
    left = len(set(named)) - done
    told: dict[str, str | int] = {**_filters(request.GET), "cancelled": done, "left": left}
    answer = see_other(request, "djsci_runs")
    answer["Location"] += f"?{urlencode(told)}"
    return answer


async def _cancel_all(caller: Caller, run_ids: Sequence[str]) -> list[str]:
    asked = (runs.cancel(run_id, caller=caller) for run_id in run_ids)
    return list(await asyncio.gather(*asked))
