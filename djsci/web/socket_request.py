"""The `start` frame of a socket as `runs.start` takes it."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from djsci.core import requests
from djsci.core.errors import BadRequest
from djsci.guest.requests import HandlerRequest

from .incoming import Start

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_FORM = "application/x-www-form-urlencoded"


def call_of(start: Start, *, path: str) -> dict[str, Any]:
    """Keyword arguments of `runs.start`; `path` is where `call/` serves the file."""
    if start.request is None:
        return {"parameters": dict(start.parameters)}
    request = _request(start.request, path=path)
    return {
        "request": request,
        "text_parameters": {**dict(request.GET.lists()), **dict(request.POST.lists())},
    }


def _request(values: Mapping[str, Any], *, path: str) -> HandlerRequest:
    method = _text(values, "method", "GET").upper()
    if method not in METHODS:
        raise BadRequest(f"`method` is one of {', '.join(METHODS)}.")
    headers = _headers(values.get("headers") or {})
    kind = next((each for name, each in headers.items() if name.lower() == "content-type"), "")
    rest = _text(values, "path", "/")
    rest = rest if rest.startswith("/") else f"/{rest}"
    body = _body(values)
    is_form = kind.partition(";")[0].strip().lower() == _FORM
    return requests.build(
        method=method,
        path=path.rstrip("/") + rest,
        path_info=rest,
        query=_query(values.get("query") or ""),
        headers=headers,
        body=body,
        content_type=kind,
        post=parse_qsl(body.decode(errors="replace"), keep_blank_values=True) if is_form else (),
        meta={"PATH_INFO": rest, "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body))},
    )


def _text(values: Mapping[str, Any], name: str, default: str) -> str:
    value = values.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise BadRequest(f"`request.{name}` is text.")
    return value


def _headers(values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
        raise BadRequest("`request.headers` is an object of text.")
    return values


def _query(values: Any) -> str:
    """A query string, out of an object of texts and lists of texts too."""
    if isinstance(values, str):
        return values.removeprefix("?")
    if not isinstance(values, dict):
        raise BadRequest("`request.query` is a query string or an object.")
    lists = {key: each if isinstance(each, list) else [each] for key, each in values.items()}
    if not all(isinstance(text, str) for texts in lists.values() for text in texts):
        raise BadRequest("`request.query` holds text and lists of text.")
    return urlencode(lists, doseq=True)


def _body(values: Mapping[str, Any]) -> bytes:
    encoded = values.get("body_base64")
    if encoded is None:
        return _text(values, "body", "").encode()
    if not isinstance(encoded, str) or values.get("body") is not None:
        raise BadRequest("A request has a `body` or a `body_base64`, which are text.")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("`request.body_base64` is not base64.") from error
