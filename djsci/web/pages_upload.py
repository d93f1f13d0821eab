"""Uploading by a form: a new file, or new content of one. Nothing of it is executed."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from djsci import changes, conf, uploads
from djsci.access import audit, permissions
from djsci.access.callers import Caller
from djsci.access.database import writing
from djsci.core.errors import BadRequest, DjsciError
from djsci.models import PrivateFile

from . import documents
from .page import page, render, see_other


@page("GET", "POST")
def file_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a new file; 303 to the file's page when it is made."""
    permissions.require_upload(caller)
    if request.method != "POST":
        return _form(request, caller, None)
    try:
        entry, files = parts(request)
        file = _create(request, caller, entry, files)
    except DjsciError as error:
        return _form(request, caller, error)
    return see_other(request, "djsci_file", file.pk)


def _create(
    request: HttpRequest, caller: Caller, entry: str, files: dict[str, bytes]
) -> PrivateFile:
    source = uploads.read(entry, files)
    with writing():
        name = request.POST.get("name", "").strip() or entry
        file = uploads.create_from(source, name=name, owner=caller.user)
        if request.POST.get("access"):
            changes.change_settings(file, {"access": request.POST["access"]}, caller)
        audit.record(caller, "upload", file)
    return file


def _form(request: HttpRequest, caller: Caller, problem: DjsciError | None) -> HttpResponse:
    context: dict[str, Any] = {
        "problem": problem,
        "errors": by_field(problem),
        "name": request.POST.get("name", ""),
        "access": request.POST.get("access", PrivateFile.Access.PRIVATE),
        "accesses": PrivateFile.Access.choices,
        "limit": conf.get("UPLOAD_LIMIT"),
        "api": f"{documents.root()}api/v1/files/",
    }
    status = problem.status if problem else 200
    return render(request, "upload.html", context, caller, status=status)


def parts(request: HttpRequest, *, entry_needed: bool = True) -> tuple[str, dict[str, bytes]]:
    """The entry's name (or '') and each part's bytes. Raises `BadRequest`."""
    entries = request.FILES.getlist("file")
    if len(entries) > 1 or (entry_needed and not entries):
        message = "Choose one notebook or Python file."
        raise BadRequest(message, errors=[{"field": "file", "message": message}])
    files: dict[str, bytes] = {}
    for part in [*entries, *request.FILES.getlist("files")]:
        name = part.name or ""
        if name in files:
            message = f"Two files are named {name}."
            raise BadRequest(message, errors=[{"field": "files", "message": message}])
        files[name] = part.read()
    return (entries[0].name or "" if entries else ""), files


def by_field(problem: DjsciError | None) -> dict[str, str]:
    """The messages that belong to a field."""
    errors = problem.errors if problem else ()
    return {str(each["field"]): str(each["message"]) for each in errors if each.get("field")}
