"""The contract's JSON: a run, a file, a version, a token, a list, with their links."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpResponse
from django.urls import get_script_prefix

from djsci import runs, uploads, versions
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import BadRequest, DjsciError
from djsci.core.jsontext import parse_json
from djsci.models import PrivateFile, Run, Token, Version

MOST_ITEMS = 100
Item = TypeVar("Item", bound=Model)


def root() -> str:
    """The path of all that is ours."""
    return f"{get_script_prefix()}djsci/"


def run_path(run_id: str) -> str:
    return f"{root()}api/v1/runs/{run_id}/"


def file_path(file_id: str) -> str:
    return f"{root()}api/v1/files/{file_id}/"


def answer(value: Any, *, status: int = 200) -> HttpResponse:
    """A JSON answer that no cache keeps."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    response = HttpResponse(text, status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    response["Vary"] = "Accept, Authorization, Cookie"
    return response


def indented(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def run_document(run: Run, caller: Caller) -> dict[str, Any]:
    """A run as the caller may see it."""
    path = run_path(run.pk)
    described = runs.describe(run, with_traceback=permissions.may_read(caller, run.file))
    links = {
        "self": path,
        "events": f"{path}events/",
        "result": f"{path}result/",
        "cancel": f"{path}cancel/",
        "page": f"{root()}console/runs/{run.pk}/",
        "socket": f"{root()}ws/runs/{run.pk}/",
    }
    return {**described, "links": links}


async def run_answer(run_id: str, *, caller: Caller, status: int) -> HttpResponse:
    """The run as it is now; a 202 says where to look for it."""

    def look_up() -> dict[str, Any]:
        return run_document(runs.get_now(run_id), caller)

    response = answer(await in_database(look_up), status=status)
    if status == 202:
        response["Location"] = run_path(run_id)
    return response


def file_document(file: PrivateFile) -> dict[str, Any]:
    """A file; one whose content cannot be read has no version."""
    version = present_version(file)
    path = file_path(file.pk)
    return {
        "id": file.pk,
        "name": file.name,
        "kind": version.kind if version else _kind_by_name(file),
        "version": version.sha256 if version else None,
        "entry": version.entry if version else None,
        "files": version.files if version else {},
        "access": file.access,
        "owner": file.owner.get_username() if file.owner else None,
        "settings": file.settings or {},
        "parameters": version.parameters if version else None,
        "adapter": version.adapter if version else None,
        "created": runs.iso(file.created),
        "changed": runs.iso(file.changed),
        "links": {
            "self": path,
            "runs": f"{path}runs/",
            "source": f"{path}source/",
            "versions": f"{path}versions/",
            "call": f"{root()}call/{file.pk}/",
            "page": f"{root()}console/files/{file.pk}/",
            "socket": f"{root()}ws/call/{file.pk}/",
        },
    }


def requirements_document(version: Version) -> dict[str, Any] | None:
    """What the PEP 723 header of a version asks for; None without one. It reads the content."""
    try:
        asked = versions.source(version).requirements
    except DjsciError:
        return None
    if asked is None:
        return None
    return {"dependencies": list(asked.dependencies), "python": asked.python or None}


def present_version(file: PrivateFile) -> Version | None:
    """The version that a call would run; None when there is none that can be read."""
    try:
        return uploads.current_version(file)
    except DjsciError:
        return None


def _kind_by_name(file: PrivateFile) -> str | None:
    ending = (file.file.name or "").rpartition(".")[2].lower()
    return ending if ending in ("py", "ipynb") else None


def version_document(version: Version) -> dict[str, Any]:
    return {
        "version": version.sha256,
        "kind": version.kind,
        "entry": version.entry,
        "files": version.files,
        "parameters": version.parameters,
        "trusted": version.pk == version.file.trusted_version_id,
        "uploader": version.uploader.get_username() if version.uploader else None,
        "created": runs.iso(version.created),
    }


def token_document(token: Token) -> dict[str, Any]:
    limited = token.is_limited_to_files
    return {
        "id": token.pk,
        "name": token.name,
        "scopes": token.scopes,
        "files": sorted(token.files.values_list("pk", flat=True)) if limited else None,
        "created": runs.iso(token.created),
        "expires": runs.iso(token.expires),
        "last_used": runs.iso(token.last_used),
        "revoked": runs.iso(token.revoked),
    }


def page(
    rows: "QuerySet[Item]",
    describe: Callable[[Item], dict[str, Any]],
    *,
    cursor: str | None,
    limit: int,
) -> dict[str, Any]:
    """The contract's list, newest first: `created`, then the key; rows without a time come last."""
    limit = min(limit, MOST_ITEMS)
    if cursor:
        rows = rows.filter(after(cursor, rows.model))
    found: Sequence[Item] = list(_newest_first(rows)[: limit + 1])
    more = len(found) > limit
    return {
        "items": [describe(row) for row in found[:limit]],
        "next": cursor_of(found[limit - 1]) if more else None,
    }


def _newest_first(rows: "QuerySet[Item]") -> "QuerySet[Item]":
    return rows.order_by(F("created").desc(nulls_last=True), "-pk")


def cursor_of(row: Any) -> str:
    """Where a list goes on after this row."""
    created = row.created.isoformat() if row.created else None
    return base64.urlsafe_b64encode(json.dumps([created, row.pk]).encode()).decode().rstrip("=")


def place_of(cursor: str, rows: type[Model]) -> tuple[datetime | None, Any]:
    """The time and key that a cursor names in a list of `rows`. Raises `BadRequest`."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created, key = parse_json(base64.urlsafe_b64decode(padded.encode("ascii")))
        time = datetime.fromisoformat(created).astimezone(UTC) if created else None
        if key is None:
            raise ValueError("a cursor names a row")
        return time, rows._meta.pk.to_python(key)
    except (ValueError, TypeError, OverflowError, BadRequest, ValidationError) as error:
        raise BadRequest("This cursor is not one of ours.") from error


def after(cursor: str, rows: type[Model]) -> Q:
    """The rows that come later in a list, newest first."""
    time, key = place_of(cursor, rows)
    if time is None:
        return Q(created=None, pk__lt=key)
    return Q(created=None) | Q(created__lt=time) | Q(created=time, pk__lt=key)
