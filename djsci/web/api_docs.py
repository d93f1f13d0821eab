"""The API's OpenAPI document, with one operation per file that the caller may run, and its page."""

import copy
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import NinjaAPI

from djsci import calling, policy, surface
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import PrivateFile

from . import api_schemas, documents, fields, page, typed

MOST_FILES = 500


@cache
def _of_api(api: NinjaAPI, prefix: str) -> dict[str, Any]:
    document: dict[str, Any] = dict(api.get_openapi_schema(path_prefix=prefix))
    document["components"] = {
        "schemas": api_schemas.SCHEMAS,
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "djsci_…"},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": settings.SESSION_COOKIE_NAME,
            },
        },
    }
    document["security"] = [{"token": []}, {"session": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, (method, path.removeprefix(prefix)))
    return document


def _complete(operation: dict[str, Any], key: tuple[str, str]) -> None:
    """Say what the views read and answer by themselves."""
    operation["operationId"] = operation["operationId"].rpartition("_api_")[2]
    operation["responses"] = {**api_schemas.ANSWERS[key], "default": api_schemas.PROBLEM}
    if key in api_schemas.BODIES:
        operation["requestBody"] = api_schemas.BODIES[key]
    operation.setdefault("parameters", []).extend(
        {"in": "header", "name": name, "description": text, "schema": {"type": "string"}}
        for name, text in api_schemas.HEADERS.get(key, {}).items()
    )


def document(api: NinjaAPI, caller: Caller) -> dict[str, Any]:
    """The document as this caller sees it; sync, it queries."""
    whole = copy.deepcopy(_of_api(api, f"{documents.root()}api/v1/"))
    permissions.require_scope(caller, "files:read")
    rows = permissions.runnable_files(caller).select_related("version")
    for file in rows.order_by("-created")[:MOST_FILES]:
        whole["paths"][f"{documents.root()}call/{file.pk}/"] = {"post": _operation(file)}
    return whole


def _operation(file: PrivateFile) -> dict[str, Any]:
    version = documents.present_version(file)
    schema = _rooted(version.parameters) if version else {"type": "object"}
    return {
        "operationId": f"call_{file.pk}",
        "summary": f"Run {file}",
        "description": schema.get("description", ""),
        "tags": ["call"],
        "requestBody": {
            "required": bool(schema.get("required")),
            "content": {kind: {"schema": schema} for kind in _kinds(schema)},
        },
        "responses": {
            "200": {
                "description": "What the handler returned.",
                "content": {"application/json": {"schema": {}}},
            },
            "202": {"description": "The run, which has not ended in time."},
            "default": api_schemas.PROBLEM,
        },
    }


def _kinds(schema: dict[str, Any]) -> list[str]:
    """How a body may come: as a form too, where a parameter is a file."""
    has_files = typed.file_fields(fields.of_schema(schema))
    return ["application/json", *(["multipart/form-data"] if has_files else [])]


def _rooted(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose own `#/…` references hold inside a larger document."""
    return {"$id": "urn:djsci:parameters", **schema} if "$defs" in schema else dict(schema)


def views(api: NinjaAPI) -> tuple[surface.View, surface.View]:
    """The views of the document and of its page."""

    @surface.readable
    async def openapi(request: HttpRequest) -> HttpResponseBase:
        if request.method != "GET":
            return surface.refused_method(("GET",))
        caller = await calling.signed_in(request)
        return documents.answer(await in_database(document, api, caller))

    @surface.readable
    async def docs(request: HttpRequest) -> HttpResponseBase:
        if request.method != "GET":
            return surface.refused_method(("GET",))
        caller, _ = await calling.identify(request, is_unsafe=False)
        if not caller.is_authenticated:
            return redirect_to_login(request.get_full_path())
        whole = await in_database(document, api, caller)
        rows = [
            {"method": method.upper(), "path": path, "summary": operation.get("summary", "")}
            for path, operations in whole["paths"].items()
            for method, operation in operations.items()
        ]
        drawn = await in_database(page.render, request, "api_docs.html", {"rows": rows}, caller)
        return policy.with_policy(request, drawn)

    return openapi, docs
