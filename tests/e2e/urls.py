"""The stand-alone project's URLs, and an output without what protects it: the tests' control."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import path
from django.views.decorators.clickjacking import xframe_options_exempt

from asgi_project.urls import urlpatterns as project_urls
from djsci import policy
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


HOST = """
{% load djsci %}<!doctype html><html lang="en"><title>Host</title>
<body class="host"><h1>Ours</h1><p><a href="/">A link</a> <button>A button</button></p>
{% if run %}{% djsci_console run %}{% endif %}
"""
HOST_POLICY = (
    "default-src 'none'; script-src 'nonce-{}'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)


def host(request: HttpRequest, run_id: str = "") -> HttpResponse:
    """A page of somebody else's with the console in it."""
    page = Template(HOST).render(RequestContext(request, {"run": run_id}))
    response = HttpResponse(page)
    response["Content-Security-Policy"] = HOST_POLICY.format(policy.nonce(request))
    return response


urlpatterns: list[Any] = [
    path("host/", host),
    path("host/<str:run_id>/", host),
    path("bare/<str:run_id>/<int:seq>/", without_allowlist),
    path("naked/<str:run_id>/<int:seq>/", naked),
    path("empty/", empty),
    *project_urls,
]
