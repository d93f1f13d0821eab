"""Makes the request that a handler receives, without what would let it act as its caller."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from djsci.guest.requests import (
    FileValues,
    HandlerRequest,
    Headers,
    QueryValues,
    UploadedFile,
    User,
)

__all__ = ["HandlerRequest", "UploadedFile", "User", "build", "from_parameters"]

SECRET = ("__host-", "__secure-", "sess", "sid", "token", "auth", "jwt", "csrf")
# A cookie header is what COOKIES says with nothing left out; a ticket travels as a subprotocol.
DROPPED = ("cookie", "sec-websocket-protocol")
META = (
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "PATH_INFO",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_PORT",
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
)


def build(
    *,
    method: str = "GET",
    path: str = "/",
    path_info: str | None = None,
    query: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    body: bytes = b"",
    content_type: str = "",
    post: Iterable[tuple[str, str]] = (),
    files: Iterable[tuple[str, UploadedFile]] = (),
    user: User | None = None,
    meta: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    dropped_cookies: Iterable[str] = (),
) -> HandlerRequest:
    """The request from its parts, redacted.

    `post` and `files` are (field name, value) in order. `dropped_cookies` are the site's own names
    of its session, CSRF and messages cookies. `meta` may be the whole environment.
    """
    text = query.decode("utf-8", "replace") if isinstance(query, bytes) else query
    kept = public_headers(headers or {})
    if content_type and "content-type" not in {name.lower() for name in kept}:
        kept["Content-Type"] = content_type
    return HandlerRequest(
        method=method.upper(),
        path=path,
        path_info=path if path_info is None else path_info,
        GET=QueryValues(_lists(parse_qsl(text, keep_blank_values=True, errors="replace"))),
        POST=QueryValues(_lists(post)),
        FILES=FileValues(_lists(files)),
        COOKIES=public_cookies(cookies or {}, dropped_cookies),
        headers=Headers(kept),
        META=public_meta(meta or {}, kept)
        | {"REQUEST_METHOD": method.upper(), "QUERY_STRING": text},
        body=body,
        content_type=content_type.partition(";")[0].strip().lower(),
        user=user or User(),
        parameters=dict(parameters or {}),
    )


def from_parameters(
    parameters: Mapping[str, Any], *, user: User | None = None, path: str = "/"
) -> HandlerRequest:
    """The request of a run that has only parameters: a POST whose JSON body they are.

    `path` is the file's own address, of which nothing is left for `path_info`.
    """
    body = json.dumps(dict(parameters), ensure_ascii=False).encode("utf-8", "replace")
    return build(
        method="POST",
        path=path,
        path_info="/",
        headers={"Content-Type": "application/json", "Content-Length": str(len(body))},
        body=body,
        content_type="application/json",
        user=user,
        meta={"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))},
        parameters=parameters,
    )


def with_files(files: FileValues, more: Iterable[tuple[str, UploadedFile]]) -> FileValues:
    """The files and those of `more` that are not among them."""
    lists = dict(files.lists())
    here = {id(file) for each in lists.values() for file in each}
    for name, file in more:
        if id(file) not in here:
            lists[name] = [*lists.get(name, []), file]
    return FileValues(lists)


def public_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without credentials."""
    return {
        name: value
        for name, value in headers.items()
        if not _is_secret(name) and name.lower() not in DROPPED
    }


def public_cookies(cookies: Mapping[str, str], dropped: Iterable[str]) -> dict[str, str]:
    """The cookies without those named in `dropped` and those that look like credentials."""
    named = {name.lower() for name in dropped}
    return {
        name: value
        for name, value in cookies.items()
        if name.lower() not in named and not _is_secret(name)
    }


def public_meta(meta: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, str]:
    """What may be known of the environment, and the headers that were kept."""
    kept = {name: str(meta[name]) for name in META if meta.get(name) is not None}
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        kept[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return kept


def _is_secret(name: str) -> bool:
    lower = name.lower()
    return any(part in lower for part in SECRET)


def _lists(items: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in items:
        found.setdefault(name, []).append(value)
    return found
