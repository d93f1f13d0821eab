"""The HTTP answer that a handler chose, within what its code may say to a browser."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

Answer = TypeVar("Answer", bound=HttpResponseBase)

# A handler chooses body and type: without these its page would be ours.
SANDBOX = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ALLOWED = frozenset(
    {
        "content-type",
        "content-disposition",
        "content-language",
        "cache-control",
        "etag",
        "last-modified",
        "retry-after",
        "location",
    }
)
_NEVER = (  # orders to browsers, and to proxies that would fetch what they name
    "x-frame-options",
    "x-content-",
    "x-permitted-cross-domain-policies",
    "x-accel-",
    "x-sendfile",
    "x-lighttpd-",
    "x-reproxy-",
)
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]{0,4096}")
_BODILESS = (204, 205, 304)
_DEFAULT_TYPES = {
    "json": "application/json",
    "item": "application/json",
    "text": "text/plain; charset=utf-8",
    "base64": "application/octet-stream",
    "item-base64": "application/octet-stream",
}


def chosen(request: HttpRequest, http: Mapping[str, Any], text: str) -> HttpResponse:
    """The answer that `http` describes; `text` is the result's JSON."""
    encoding = http.get("encoding", "json")
    headers = allowed_headers(http.get("headers") or {}, request)
    kind = headers.pop("Content-Type", "")
    status = int(http.get("status", 200))
    body = b"" if status in _BODILESS else _body(encoding, text, kind)
    answer = HttpResponse(body, status=status, content_type=kind or _DEFAULT_TYPES[encoding])
    for name, value in headers.items():
        answer[name] = value
    return answer


def sandboxed(answer: Answer) -> Answer:
    """Close the answer off: whatever it is, it has no origin and no scripts."""
    for name, value in SANDBOX.items():
        answer[name] = value
    answer.setdefault("Cache-Control", "no-store")
    return answer


def allowed_headers(headers: Mapping[str, Any], request: HttpRequest) -> dict[str, str]:
    """Those headers that a handler may set, by their usual names."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        name, value = str(name).strip(), str(value).strip()
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            continue
        lower = name.lower()
        is_own = lower.startswith("x-") and not lower.startswith(_NEVER)
        if lower not in _ALLOWED and not is_own:
            continue
        if lower == "location" and not _is_ours(value, request):
            continue
        kept["ETag" if lower == "etag" else lower.title()] = value
    return kept


def _is_ours(location: str, request: HttpRequest) -> bool:
    """Whether a browser stays on this origin; it reads `\\` as `/` and skips tabs."""
    if not location or "\\" in location or re.search(r"[\s\x00-\x1f]", location):
        return False
    try:
        parts = urlsplit(location)
    except ValueError:
        return False
    if not parts.scheme and not parts.netloc:
        return not location.startswith("//")
    return (parts.scheme, parts.netloc) == (request.scheme, request.get_host())


def _body(encoding: str, text: str, kind: str) -> bytes:
    match encoding:
        case "text":
            return str(json.loads(text)).encode()
        case "base64":
            return base64.b64decode(json.loads(text))
        case "item":
            return _as_is(first_item(text), kind)
        case "item-base64":
            return base64.b64decode(json.loads(first_item(text)))
    return text.encode()


def _as_is(text: str, kind: str) -> bytes:
    """JSON, unless the handler named another type for its text."""
    is_json = not kind or "json" in kind.split(";")[0]
    if not is_json and text.startswith('"'):
        return str(json.loads(text)).encode()
    return text.encode()


def first_item(text: str) -> str:
    """The JSON text of a list's first item, cut out and not written anew."""
    start = len(text) - len(text[1:].lstrip())
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end]
