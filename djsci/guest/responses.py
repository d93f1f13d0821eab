"""The HTTP answer that a handler chooses for `call/`: a `Response`, bytes, or `(body, status)`."""

import base64
from collections.abc import Mapping
from typing import Any

BYTES = (bytes, bytearray, memoryview)


class Response:
    """An answer of the handler's own: any body, a status from 200 to 599, headers."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        if not _is_status(status):
            raise ValueError(f"a status is an int from 200 to 599, not {status!r}")
        self.body = body
        self.status = status
        self.headers = dict(headers or {})
        for name, value in self.headers.items():
            if not (_is_header(name) and _is_header(value)):
                raise ValueError(f"a header is one line of text, not {name!r}: {value!r}")

    def __repr__(self) -> str:
        return f"Response({self.body!r}, {self.status}, {self.headers!r})"


def answer(value: Any) -> tuple[Any, dict[str, Any] | None]:
    """The value to encode as the result, and the HTTP answer (`Result.http`) if it chose one."""
    if isinstance(value, BYTES):
        value = Response(value)
    if isinstance(value, Response):
        return _of_response(value)
    if not _is_http_tuple(value):
        return value, None
    http = {"status": value[1], "headers": dict(value[2]) if len(value) == 3 else {}}
    if isinstance(value[0], BYTES):
        return [_base64(value[0]), *value[1:]], {**http, "encoding": "item-base64"}
    return list(value), {**http, "encoding": "item"}


def _of_response(response: Response) -> tuple[Any, dict[str, Any]]:
    body, encoding, content_type = response.body, "json", ""
    if isinstance(body, BYTES):
        body, encoding, content_type = _base64(body), "base64", "application/octet-stream"
    elif isinstance(body, str):
        encoding, content_type = "text", "text/plain; charset=utf-8"
    headers = dict(response.headers)
    if content_type and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    return body, {"status": response.status, "headers": headers, "encoding": encoding}


def _is_http_tuple(value: Any) -> bool:
    if type(value) is not tuple or len(value) not in (2, 3) or not _is_status(value[1]):
        return False
    if len(value) == 2:
        return True
    return isinstance(value[2], dict) and all(
        _is_header(name) and _is_header(text) for name, text in value[2].items()
    )


def _is_status(value: Any) -> bool:
    return type(value) is int and 200 <= value <= 599


def _is_header(text: Any) -> bool:
    return isinstance(text, str) and not any(mark in text for mark in "\r\n\0")


def _base64(body: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(body).decode()
