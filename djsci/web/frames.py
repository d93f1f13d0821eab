"""A rich output of a run, or its notebook, in a page that can do nothing but be looked at."""

import ipaddress
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.clickjacking import xframe_options_exempt

from djsci import problems, runs, surface
from djsci.access import permissions
from djsci.access import requests as access
from djsci.access.callers import Caller
from djsci.core.errors import DjsciError, NotAuthenticated, NotFound
from djsci.models import Run
from djsci.runs import log, receipts

from . import documents, frame_document, notebook_document
from .frame_document import Level
from .reading import watched_run

DISPLAYS = ("display_data", "execute_result", "update_display_data")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_SCRIPTS: dict[Level, str] = {
    "static": f"'sha256-{frame_document.REPORTER_HASH}'",
    "interactive": "'unsafe-inline' 'unsafe-eval'",
}
_ALONE_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_ALONE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Shown inside its run only</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
</head><body><main><h1>This output is shown inside its run only</h1>
<p>What a run displays may hold code of somebody else. It is safe inside the page of the run.</p>
<p><a href="{}">Open the run</a></p>
<p><a href="{}" download>Download the output as it is</a></p></main></body></html>
"""


def policy(level: Level) -> str:
    """The Content-Security-Policy of a frame."""
    return (
        f"sandbox allow-scripts; default-src 'none'; script-src {_SCRIPTS[level]}; "
        "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src 'none'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    )


def may_run_scripts(caller: Caller, run: Run) -> bool:
    """Whether the run's outputs may run their scripts at once; else the reader clicks first."""
    if (run.file.settings or {}).get("output") == "interactive":
        return True
    uploader = run.version.uploader_id
    return uploader is not None and bool(uploader == caller.user.pk)


@xframe_options_exempt
def output_frame(request: HttpRequest, run_id: str, seq: int) -> HttpResponse:
    """What event `seq` displays, at the level asked for: for frames of our own, for programs."""

    def page(caller: Caller, level: Level) -> HttpResponse:
        permissions.require_watch(caller, runs.get_now(run_id))
        data = display(run_id, seq)
        if not _may_be_shown(request, caller):
            kind = next((kind for kind in frame_document.RANKED if kind in data), "text/plain")
            path = reverse("djsci_output_frame", args=(run_id, seq))
            return _alone(run_id, f"{path.removesuffix('frame/')}data/?type={kind}")
        text = frame_document.document(data, seq=seq, level=level)
        if text is None:
            raise NotFound
        return _shown(text)

    return _answer(request, page, title=f"Output {seq}")


@xframe_options_exempt
def notebook_frame(request: HttpRequest, run_id: str) -> HttpResponse:
    """The executed notebook, in the same way, for those who may read its source."""

    def page(caller: Caller, level: Level) -> HttpResponse:
        run = watched_run(caller, run_id)
        permissions.require_read(caller, run.file, scope="runs:read")
        receipts.require(run)
        if not _may_be_shown(request, caller):
            return _alone(run_id, f"{documents.run_path(run_id)}notebook/")
        notebook = receipts.document(receipts.gather(run))
        return _shown(notebook_document.document(notebook, title="Notebook", level=level))

    return _answer(request, page, title="Notebook")


def _signed_in(request: HttpRequest) -> Caller:
    access.refuse_told_token(request)
    caller = access.caller_of(request)
    if not caller.is_authenticated:
        raise NotAuthenticated
    return caller


def _answer(
    request: HttpRequest, page: Callable[[Caller, Level], HttpResponse], *, title: str
) -> HttpResponse:
    level: Level = "interactive" if request.GET.get("level") == "interactive" else "static"
    try:
        match request.method:
            case "GET" | "HEAD":
                response = page(_signed_in(request), level)
            case "OPTIONS":
                response = surface.without_content(("GET",))
            case _:
                response = surface.refused_method(("GET",))
    except Exception as error:
        response = _failed(request, title, problems.failure(error))
    response.setdefault("Content-Security-Policy", policy(level))
    for name, value in _HEADERS.items():
        response[name] = value
    return response


def _shown(text: str) -> HttpResponse:
    """A frame's page; no connection at all, by whatever means: CSP knows nothing of WebRTC."""
    return HttpResponse(text, headers={"Connection-Allowlist": "()"})


def _failed(request: HttpRequest, title: str, failure: HttpResponse) -> HttpResponse:
    """A frame says it in words; everybody else has the problem as JSON."""
    if request.headers.get("Sec-Fetch-Dest") != "iframe":
        return failure
    text = frame_document.notice(f"This cannot be shown ({failure.status_code}).", title=title)
    return HttpResponse(text, status=failure.status_code)


def _alone(run_id: str, download: str) -> HttpResponse:
    """403 for a tab of its own: where the output is shown, and the output as a file."""
    body = format_html(_ALONE, reverse("djsci_run", args=(run_id,)), download)
    return HttpResponse(body, status=403, headers={"Content-Security-Policy": _ALONE_POLICY})


def _may_be_shown(request: HttpRequest, caller: Caller) -> bool:
    """Not in a tab of its own; who sends a token is a program, which no page can make ask."""
    return caller.via == "token" or _is_framed(request)


def _is_framed(request: HttpRequest) -> bool:
    """Whether a frame of our own page asks.

    Browsers say so only where they trust the connection; plain http to another host says nothing.
    """
    site, place = (request.headers.get(f"Sec-Fetch-{name}") for name in ("Site", "Dest"))
    if site is None and place is None and not _is_trustworthy(request):
        return True
    return (site, place) == ("same-origin", "iframe")


def _is_trustworthy(request: HttpRequest) -> bool:
    host = urlsplit(f"//{request.get_host()}").hostname or ""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost" or host.endswith(".localhost")
    return request.is_secure() or is_loopback


def display(run_id: str, seq: int) -> dict[str, Any]:
    """The MIME bundle of event `seq`, as the log has it. Raises `NotFound`."""
    try:
        page = log.read(run_id, after=seq - 1, events=1)
    except DjsciError as error:
        raise NotFound from error
    event: dict[str, Any] = json.loads(page.lines[0]) if page.lines else {}
    if event.get("type") not in DISPLAYS:
        raise NotFound
    data: dict[str, Any] = event["data"]
    return data
