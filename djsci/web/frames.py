"""One rich output of a run in a page of its own, which can do nothing but be looked at."""

import ipaddress
import json
import re
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.views.decorators.clickjacking import xframe_options_exempt

from djsci import blobs, problems, runs
from djsci.access import permissions
from djsci.access import requests as access
from djsci.core.errors import BadMethod, DjsciError, Forbidden, NotAuthenticated, NotFound
from djsci.runs import log

DISPLAYS = ("display_data", "execute_result", "update_display_data")
_HEADERS = {
    "Connection-Allowlist": "()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; connect-src 'none'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
# What would load, embed or lead elsewhere is renamed: unknown elements do nothing.
_TAGS = re.compile(
    r"<(/?)(?=(?:meta|iframe|frame|object|embed|link|base|portal|fencedframe)(?![\w:-]))",
    re.IGNORECASE,
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Output {seq}</title><style>
:root {{ color-scheme: light dark; }}
body {{ margin: 8px; font: 13px/1.45 system-ui, sans-serif; }}
table {{ border-collapse: collapse; border: 0; font-variant-numeric: tabular-nums; }}
th, td {{ border: 0; border-bottom: 1px solid light-dark(#dfe2e8, #30353e); padding: 3px 10px; text-align: right; white-space: nowrap; }}
th {{ font-weight: 600; }}
</style></head><body>{body}</body></html>
"""  # noqa: E501


@xframe_options_exempt
def output_frame(request: HttpRequest, run_id: str, seq: int) -> HttpResponse:
    """The HTML of event `seq`, without scripts; for frames of our own pages only."""
    try:
        if request.method not in ("GET", "HEAD"):
            raise BadMethod
        body = _html_of(request, run_id, seq)
    except Exception as error:
        response = problems.failure(error)
    else:
        response = HttpResponse(_PAGE.format(seq=seq, body=inert(body)))
    response["Content-Security-Policy"] = POLICY
    for name, value in _HEADERS.items():
        response[name] = value
    return response


def _html_of(request: HttpRequest, run_id: str, seq: int) -> str:
    caller = access.caller_of(request)
    if not caller.is_authenticated:
        raise NotAuthenticated
    permissions.require_watch(caller, runs.get_now(run_id))
    if not _is_framed(request):
        raise Forbidden("An output is shown inside the page of its run only.")
    data = display(run_id, seq)
    part = data.get("text/html")
    if part is None:
        raise NotFound
    return text_of(part)


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


def inert(markup: str) -> str:
    """The markup with every tag renamed that would load or lead elsewhere."""
    return _TAGS.sub(r"<\1x-", markup)


def text_of(part: Any) -> str:
    """A part of a bundle: text, a list of lines, or stored for its size."""
    if isinstance(part, dict):
        return blobs.get(part["ref"]).decode(errors="replace")
    return "".join(part) if isinstance(part, list) else str(part)
