"""The API's OpenAPI document, with one operation per file that the caller may run, and its page."""

import copy
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import NinjaAPI

from djsci import calling, policy, problems, surface
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import PrivateFile, Version

from . import api_operations, api_schemas, documents, fields, page, typed

MOST_FILES = 500
_OTHER_KINDS = ("text/event-stream", "application/x-ndjson", "*/*")
_OTHERWISE = {
    "description": "A problem, whose `type` says which, or what the handler chose to answer.",
    "content": {
        problems.CONTENT_TYPE: {"schema": api_schemas.reference("Problem")},
        "*/*": {"schema": {}},
    },
}


@cache
def _of_api(api: NinjaAPI, prefix: str) -> dict[str, Any]:
    document: dict[str, Any] = dict(api.get_openapi_schema(path_prefix=prefix))
    document["components"] = {
        "schemas": api_schemas.SCHEMAS,
        "responses": api_schemas.PROBLEMS,
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "djsci_…"},
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": settings.SESSION_COOKIE_NAME,
                "description": "Unsafe methods need Django's CSRF token too.",
            },
        },
    }
    document["security"] = [{"token": []}, {"session": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            api_operations.complete(operation, (method, path.removeprefix(prefix)))
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
    schema = _schema(version) if version else {"type": "object"}
    return {
        "operationId": f"call_{file.pk}",
        "summary": f"Run {file}",
        "description": schema.get("description", ""),
        "tags": ["call"],
        "requestBody": {
            "required": bool(schema.get("required")),
            "content": {kind: {"schema": schema} for kind in _kinds(schema)},
        },
        "parameters": [api_operations.PREFER],
        "responses": {
            "200": api_operations.answer("What the handler returned.", {}, *_OTHER_KINDS),
            "202": api_operations.STARTED,
            "default": _OTHERWISE,
        },
    }


def _kinds(schema: dict[str, Any]) -> list[str]:
    """How a body may come: as a form too, where a parameter is a file."""
    has_files = typed.file_fields(fields.of_schema(schema))
    return ["application/json", *(["multipart/form-data"] if has_files else [])]


def _schema(version: Version) -> dict[str, Any]:
    """The parameters; what else is in a body is the handler's own affair.

    With an `$id` a schema's own `#/…` references hold inside the larger document.
    """
    schema = dict(version.parameters)
    if schema.get("additionalProperties") is False:
        del schema["additionalProperties"]
    return {"$id": f"urn:djsci:{version.pk}", **schema} if "$defs" in schema else schema


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
