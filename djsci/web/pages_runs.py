"""The pages of runs: the history, a run live or ended, its log as text."""

import json
import re
from collections.abc import Iterator
from typing import Any

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import get_script_prefix
from django.utils import timezone

from djsci import conf, runs
from djsci.access import audit, permissions
from djsci.access.callers import Caller
from djsci.models import Run
from djsci.runs import log

from .page import page, render, see_other

PAGE_ITEMS = 50
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


@page("GET")
def history(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The runs that the caller may see, newest first."""
    found = permissions.visible_runs(caller).select_related("file", "user", "version")
    before = request.GET.get("before", "")
    anchor = found.filter(pk=before).values("created", "pk").first() if before else None
    if anchor:
        is_same = Q(created=anchor["created"], pk__lt=anchor["pk"])
        found = found.filter(Q(created__lt=anchor["created"]) | is_same)
    state = request.GET.get("state", "")
    if state:
        found = found.filter(state=state)
    rows = list(_newest_first(found)[: PAGE_ITEMS + 1])
    shown = rows[:PAGE_ITEMS]
    following = shown[-1].pk if len(rows) > PAGE_ITEMS else ""
    context = {"runs": shown, "next": following, "state": state, "before": before}
    return render(request, "runs.html", context, caller)


def _newest_first(found: "QuerySet[Run]") -> "QuerySet[Run]":
    return found.select_related("file", "user", "version").order_by("-created", "-pk")


@page("GET")
def run_page(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponse:
    """One run, live or ended: the page follows its log."""
    run = _watched_run(caller, run_id)
    prefix = f"{get_script_prefix()}djsci/"
    config = {
        "run": run.pk,
        "state": run.state,
        "pruned": run.pruned,
        "socket": f"{prefix}ws/runs/{run.pk}/" if isinstance(request, ASGIRequest) else None,
        "self": f"{prefix}api/v1/runs/{run.pk}/",
        "outputs": f"{prefix}api/v1/runs/{run.pk}/outputs/",
        "now": timezone.now().timestamp(),
        "created": run.created.timestamp(),
        "started": run.started.timestamp() if run.started else None,
        "grace": conf.get("GRACE"),
        "heartbeat": conf.intervals.head,
    }
    context = {
        "run": run,
        "config": config,
        "parameters": json.dumps(run.parameters, ensure_ascii=False, indent=2),
        "may_cancel": permissions.may_cancel(caller, run),
        "may_run": permissions.may_run(caller, run.file),
        "may_see_file": permissions.may_see(caller, run.file),
        "result": _result_preview(run),
    }
    return render(request, "run.html", context, caller)


def _result_preview(run: Run) -> str:
    """The result as text for pages without scripts."""
    if run.result is None:
        return ""
    return json.dumps(json.loads(run.result), ensure_ascii=False, indent=2)


def _watched_run(caller: Caller, run_id: str) -> Run:
    run = runs.get_now(run_id)
    permissions.require_watch(caller, run)
    return run


@page("POST")
def run_cancel(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponse:
    """Ask a run to stop; asked twice it is killed."""
    run = runs.get_now(run_id)
    permissions.require_cancel(caller, run)
    if run.user_id != caller.user.pk:
        audit.record(caller, "cancel", run_id)
    async_to_sync(runs.cancel)(run_id, force=run.cancel != "")
    return see_other(request, "djsci_run", run_id)


@page("GET")
def run_log(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponse:
    """What a run printed, as plain text."""
    run = _watched_run(caller, run_id)
    text = "".join(_printed(run.pk, with_traceback=permissions.may_read(caller, run.file)))
    if request.GET.get("ansi") == "strip":
        text = _ANSI.sub("", text)
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _printed(run_id: str, *, with_traceback: bool) -> Iterator[str]:
    after, is_last = 0, False
    while not is_last:
        part = log.read(run_id, after=after)
        for line in part.lines:
            yield _as_text(json.loads(line), with_traceback=with_traceback)
        if not part.lines:
            return
        after, is_last = part.last, part.is_last


def _as_text(event: dict[str, Any], *, with_traceback: bool) -> str:
    match event["type"]:
        case "stream":
            return str(event["text"])
        case "log":
            return f"[{event['level']}] {event['message']}\n"
        case "error" if with_traceback and event["traceback"]:
            return "\n".join(event["traceback"]) + "\n"
        case "error":
            return f"{event['ename']}: {event['evalue']}\n"
        case "truncated":
            return f"[{event['dropped_bytes']} bytes were not kept]\n"
    return ""
