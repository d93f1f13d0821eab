"""The console's pages: files, a file with its form, runs, a run live or ended."""

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.db.models import F, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import get_script_prefix
from django.utils import timezone

from djsci import conf, runs, uploads, versions
from djsci.access import audit, permissions
from djsci.access.callers import Caller
from djsci.core.errors import BadParameters, DjsciError
from djsci.models import PrivateFile, Run, Version
from djsci.runs import log

from . import fields
from .page import admin_page_of, page, render, see_other

# What a file is called: its name, or its id where it has none.
_LABEL = Coalesce(NullIf(F("name"), Value("")), F("pk"), output_field=TextField())
PAGE_ITEMS = 50
RECENT = 10
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


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


@page("GET")
def file_page(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """One file: its form, its recent runs, for those who may its source."""
    file = _seen_file(caller, name_id)
    return _file_page(request, caller, file)


@page("POST")
def file_run(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """Start a run with what the form holds."""
    file = uploads.find(name_id)
    permissions.require_run(caller, file)
    version = uploads.current_version(file)
    try:
        started = async_to_sync(runs.start)(
            file.pk,
            caller=caller,
            trigger="form",
            parameters=fields.parameters(version.parameters, request.POST),
            key=request.POST.get("key") or None,
        )
    except BadParameters as error:
        return _file_page(request, caller, file, typed=request.POST, refused=error)
    return see_other(request, "djsci_run", started.run_id)


def _file_page(
    request: HttpRequest,
    caller: Caller,
    file: PrivateFile,
    *,
    typed: QueryDict | None = None,
    refused: BadParameters | None = None,
) -> HttpResponse:
    problem: DjsciError | None = refused
    version: Version | None = None
    try:
        version = uploads.current_version(file)
    except DjsciError as error:
        problem = error
    may_read = version is not None and permissions.may_read(caller, file)
    recent = _newest_first(permissions.visible_runs(caller).filter(file=file))[:RECENT]
    schema = version.parameters if version else {}
    context = {
        "file": file,
        "version": version,
        "schema": schema,
        "fields": fields.of_schema(schema, typed=typed, errors=refused.errors if refused else ()),
        "problem": problem,
        "key": secrets.token_urlsafe(16),
        "may_run": version is not None and permissions.may_run(caller, file),
        "recent": list(recent),
        "sources": list(_sources(version)) if version and may_read else [],
        "edit_url": admin_page_of(caller, file.pk),
        "call_url": request.build_absolute_uri(f"{get_script_prefix()}djsci/call/{file.pk}/"),
    }
    return render(request, "file.html", context, caller, status=refused.status if refused else 200)


def _seen_file(caller: Caller, name_id: str) -> PrivateFile:
    file = uploads.find(name_id)
    permissions.require_see(caller, file)
    return file


def _sources(version: Version) -> Iterator[dict[str, Any]]:
    """The entry's cells as text; the companions by name."""
    source = versions.source(version)
    for place, cell in enumerate(source.cells, 1):
        yield {"place": place, "text": cell.text, "is_alone": len(source.cells) == 1}


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
