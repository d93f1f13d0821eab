"""`api/v1/`: the JSON API, its errors as problems, its document and its one page."""

from typing import cast

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

import djsci
from djsci import problems, surface
from djsci.core.errors import BadRequest

from . import (
    api_artifacts,
    api_docs,
    api_files,
    api_notebook,
    api_outputs,
    api_runs,
    api_tickets,
    api_tokens,
)

api = NinjaAPI(
    title="djsci",
    version=djsci.__version__,
    description="Files that are notebooks or Python, their runs, and what the runs say.",
    urls_namespace="djsci-api",
    docs_url=None,
    openapi_url=None,
)
api.add_router("files/", api_files.router)
api.add_router("files/", api_runs.of_files)
api.add_router("runs/", api_runs.router)
api.add_router("runs/", api_outputs.router)
api.add_router("runs/", api_artifacts.router)
api.add_router("runs/", api_notebook.router)
api.add_router("tokens/", api_tokens.router)
api.add_router("tickets/", api_tickets.router)


@api.exception_handler(Exception)
@api.exception_handler(Http404)
@api.exception_handler(HttpError)
def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    if isinstance(error, HttpError):
        error = BadRequest(str(error))
    return problems.failure(error)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [
        {"field": str(item["loc"][-1]) if item.get("loc") else "", "message": item["msg"]}
        for item in error.errors
    ]
    return problems.response(BadRequest("Some values cannot be read.", errors=errors))


def patterns() -> dict[str, surface.View]:
    """The API's routes with their views, which have our headers, methods and errors."""
    found = cast(list[URLPattern], api.urls[0])
    views = {str(pattern.pattern): pattern.callback for pattern in found}
    del views[""]  # a page of the library's own
    return {route: surface.readable(view) for route, view in views.items()}


openapi, docs = api_docs.views(api)
