"""The API's OpenAPI document, with one operation per file that the caller may run, and its page."""

import copy
from functools import cache
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from ninja import NinjaAPI

from djsci import calling, surface
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import PrivateFile

from . import documents

MOST_FILES = 500
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "The bare code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
        "run": {"type": "string"},
        "error": {"type": "object"},
    },
}


@cache
def _of_api(api: NinjaAPI, prefix: str) -> dict[str, Any]:
    document: dict[str, Any] = dict(api.get_openapi_schema(path_prefix=prefix))
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "djsci_…"},
        "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
    }
    document["security"] = [{"token": []}, {"session": []}]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.setdefault("responses", {})["default"] = {
                "description": "What went wrong.",
                "content": {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                },
            }
    return document


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
            "content": {"application/json": {"schema": schema}},
        },
        "responses": {
            "200": {
                "description": "What the handler returned.",
                "content": {"application/json": {"schema": {}}},
            },
            "202": {"description": "The run, which has not ended in time."},
            "default": {
                "description": "What went wrong.",
                "content": {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                },
            },
        },
    }


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
        return render(request, "djsci/api_docs.html", {"rows": rows})

    return openapi, docs
