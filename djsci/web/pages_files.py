"""A file's pages: its form, its recent runs, for those who may its source."""

import secrets
from collections.abc import Iterator
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import get_script_prefix

from djsci import runs, uploads, versions
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.errors import BadParameters, DjsciError
from djsci.models import PrivateFile, Version

from . import fields
from .page import admin_page_of, page, render, see_other

RECENT = 10


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
    found = permissions.visible_runs(caller).filter(file=file)
    recent = found.select_related("file", "user", "version").order_by("-created", "-pk")[:RECENT]
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
