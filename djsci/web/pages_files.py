"""A file's first page: its form, its recent runs."""

import secrets
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from djsci import runs, uploads
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.errors import BadParameters, DjsciError
from djsci.models import PrivateFile, Run

from . import fields, file_tabs, form_config, typed
from .fields import WHOLE
from .page import page, see_other

RECENT = 8


@page("GET")
def file_page(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """One file: its form, filled with the parameters of the run that `from` names."""
    file = file_tabs.seen(caller, name_id)
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
            parameters=typed.parameters(version.parameters, request.POST),
            files=typed.files(version.parameters, request),
            key=request.POST.get("key") or None,
        )
    except BadParameters as error:
        return _file_page(request, caller, file, posted=request.POST, refused=error)
    return see_other(request, "djsci_run", started.run_id)


@page("GET")
def file_runs(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """The history of one file is the history, filtered."""
    file = file_tabs.seen(caller, name_id)
    response = see_other(request, "djsci_runs")
    response["Location"] += f"?file={file.pk}"
    return response


def _file_page(
    request: HttpRequest,
    caller: Caller,
    file: PrivateFile,
    *,
    posted: QueryDict | None = None,
    refused: BadParameters | None = None,
) -> HttpResponse:
    version, problem = file_tabs.present(file)
    schema = version.parameters if version else {}
    former = _former(request, caller, file) if posted is None else None
    errors = list(refused.errors) if refused else []
    shown = fields.of_schema(
        schema, typed=posted, errors=errors, values=former.parameters if former else None
    )
    may_run = version is not None and permissions.may_run(caller, file)
    recent = permissions.visible_runs(caller).filter(file=file).select_related("user", "version")
    context: dict[str, Any] = {
        "version": version,
        "problem": refused or problem,
        "fields": shown,
        "has_files": bool(typed.file_fields(shown)),
        "other_errors": [each for each in errors if not _is_placed(each, shown)],
        "former": former,
        "not_taken": _not_taken(former, schema) if former else [],
        "key": secrets.token_urlsafe(16),
        "may_run": may_run,
        "recent": list(recent.order_by("-created", "-pk")[:RECENT]),
        "runs_url": f"{reverse('djsci_runs')}?file={file.pk}",
        "config": form_config.config(request, caller, file, version)
        if version and may_run
        else None,
    }
    status = refused.status if refused else 200
    return file_tabs.render_tab(request, caller, file, "run", context, status=status)


def _former(request: HttpRequest, caller: Caller, file: PrivateFile) -> Run | None:
    """The run whose parameters the form is to begin with, where the caller may see it."""
    run_id = request.GET.get("from", "")
    if not run_id:
        return None
    try:
        run = runs.get_now(run_id)
    except DjsciError:
        return None
    is_seen = run.file_id == file.pk and permissions.may_watch(caller, run)
    return run if is_seen else None


def _not_taken(run: Run, schema: dict[str, Any]) -> list[str]:
    """Parameters of a former version's run that this one has no field for."""
    known = schema.get("properties") or {}
    if not known and schema.get("additionalProperties"):
        return []
    return sorted(set(run.parameters or {}) - set(known))


def _is_placed(error: Any, shown: list[fields.Field]) -> bool:
    place = str(error.get("field", ""))
    names = {field.name for field in shown}
    return place in names or place.split(".")[0].split("[")[0] in names or place == WHOLE
