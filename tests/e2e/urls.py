"""The stand-alone project's URLs, and an output without what protects it: the tests' control."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.clickjacking import xframe_options_exempt

from asgi_project.urls import urlpatterns as project_urls
from djsci.web import frame_document, frames


@xframe_options_exempt
def without_allowlist(request: HttpRequest, run_id: str, seq: int) -> HttpResponse:
    """The frame as it is, without the one header."""
    response = frames.output_frame(request, run_id, seq)
    del response["Connection-Allowlist"]
    return response


@xframe_options_exempt
def naked(request: HttpRequest, run_id: str, seq: int) -> HttpResponse:
    """What was displayed, as a page of this site that may do anything."""
    text = frame_document.text_of(frames.display(run_id, seq)["text/html"])
    return HttpResponse(f"<!doctype html><body>{text}")


def empty(request: HttpRequest) -> HttpResponse:
    """A page without a policy."""
    return HttpResponse("<!doctype html><title>empty</title>")


urlpatterns: list[Any] = [
    path("bare/<str:run_id>/<int:seq>/", without_allowlist),
    path("naked/<str:run_id>/<int:seq>/", naked),
    path("empty/", empty),
    *project_urls,
]
