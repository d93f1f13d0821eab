"""A file's source, its versions, what two differ in; new content, and former content again."""

from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse

from djsci import blobs, uploads, versions
from djsci.access import audit, permissions
from djsci.access.callers import Caller
from djsci.access.database import writing
from djsci.core.errors import BadRequest, DjsciError, NotFound
from djsci.models import PrivateFile, Version

from . import diffs, documents, file_tabs, source_view
from .page import page, see_other
from .pages_upload import by_field, parts

PAGE_ITEMS = 50
_LEAST_SHA = 7


@page("GET")
def file_source(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """The entry cell by cell, or the companion that `part` names."""
    file = file_tabs.read(caller, name_id)
    asked = request.GET.get("version", "")
    version, problem = (find(file, asked), None) if asked else file_tabs.present(file)
    if version is None:
        return file_tabs.render_tab(request, caller, file, "source", {"problem": problem})
    part = request.GET.get("part") or version.entry
    if part not in version.files:
        raise NotFound
    context: dict[str, Any] = {
        "version": version,
        "is_present": version.pk == file.version_id,
        "part": part,
        "parts": [version.entry, *sorted(set(version.files) - {version.entry})],
        "download_url": f"{documents.file_path(file.pk)}source/{quote(part)}"
        f"?version={version.sha256}",
    }
    if part == version.entry:
        context["cells"] = source_view.cells(version)
    else:
        context |= _companion(part, blobs.get(version.files[part]))
    return file_tabs.render_tab(request, caller, file, "source", context)


def _companion(part: str, data: bytes) -> dict[str, Any]:
    text = source_view.text_of(data)
    if text is None:
        return {"bytes": len(data)}
    shown = text[: source_view.MOST_TEXT]
    return {
        "text": source_view.numbered(shown, source_view.language_of(part)),
        "cut": len(text) - len(shown),
    }


@page("GET", "POST")
def file_versions(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """The versions, newest first; a POST brings new content."""
    if request.method != "POST":
        return _versions(request, caller, file_tabs.read(caller, name_id), None)
    file = file_tabs.changed(caller, name_id)
    try:
        source = uploads.read(*_content(request, file))
        with writing():
            uploads.bring(file, source, uploader=caller.user)
            audit.record(caller, "upload", file)
    except DjsciError as error:
        return _versions(request, caller, file, error)
    name = "djsci_file_versions" if permissions.may_read(caller, file) else "djsci_file"
    return see_other(request, name, file.pk)


def _content(request: HttpRequest, file: PrivateFile) -> tuple[str, dict[str, bytes]]:
    """What was given, with what stays of the present version."""
    entry, given = parts(request, entry_needed=False)
    if not given:
        message = "Choose a file."
        raise BadRequest(message, errors=[{"field": "file", "message": message}])
    present, _ = file_tabs.present(file)
    kept = versions.contents(present) if present and request.POST.get("keep") == "true" else {}
    if entry:
        if present:
            kept.pop(present.entry, None)
        return entry, {**kept, **given}
    if present is None:
        message = "Companions need a notebook or a Python file beside them."
        raise BadRequest(message, errors=[{"field": "file", "message": message}])
    return present.entry, {**versions.contents(present), **given}


def _versions(
    request: HttpRequest, caller: Caller, file: PrivateFile, problem: DjsciError | None
) -> HttpResponse:
    present, unreadable = file_tabs.present(file)
    rows = file.versions.select_related("uploader")
    before = request.GET.get("before", "")
    if before.isdecimal():
        rows = rows.filter(pk__lt=int(before[:18]))
    may_read = permissions.may_read(caller, file)
    found = list(rows[: PAGE_ITEMS + 1]) if may_read else []
    shown = found[:PAGE_ITEMS]
    context: dict[str, Any] = {
        "version": present,
        "rows": [
            {"version": version, "former": former}
            for version, former in zip(shown, [*found[1:], None], strict=False)
        ],
        "next": shown[-1].pk if len(found) > PAGE_ITEMS else "",
        "may_change": permissions.may_change(caller, file),
        "refused": problem,
        "problem": unreadable,
        "errors": by_field(problem),
    }
    status = problem.status if problem else 200
    return file_tabs.render_tab(request, caller, file, "versions", context, status=status)


@page("GET")
def file_diff(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """What the version `to` (the present one) changed of the version `from`."""
    file = file_tabs.read(caller, name_id)
    to = request.GET.get("to", "")
    new = find(file, to) if to else uploads.current_version(file)
    old = find(file, request.GET.get("from", ""))
    context = {
        "old": old,
        "new": new,
        "changes": diffs.compare(old, new),
        "all": file.versions.all()[:PAGE_ITEMS],
    }
    return file_tabs.render_tab(request, caller, file, "diff", {**context, "tab": "versions"})


@page("POST")
def file_restore(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """Make a former version the present one."""
    file = file_tabs.changed(caller, name_id)
    version = find(file, request.POST.get("version", ""))
    source = uploads.read(version.entry, versions.contents(version))
    with writing():
        uploads.bring(file, source, uploader=caller.user)
        audit.record(caller, "upload", file)
    name = "djsci_file_versions" if permissions.may_read(caller, file) else "djsci_file"
    return see_other(request, name, file.pk)


def find(file: PrivateFile, sha256: str) -> Version:
    """The version whose id begins so. Raises `NotFound`."""
    if len(sha256) < _LEAST_SHA or not sha256.isalnum() or not sha256.isascii():
        raise NotFound
    found = file.versions.filter(sha256__startswith=sha256).first()
    if found is None:
        raise NotFound
    return found
