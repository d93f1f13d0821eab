"""An ASGI wrapper that ends a request whose body is too large, before Django reads it whole.

Bytes are counted as they come, whatever length was declared. What a page of the host project
takes is its own affair, unless `elsewhere` gives that a cap too.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from djsci import conf
from djsci.core.errors import DiskFull, DjsciError, NoCapacity, TooLarge

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

SMALL = 1 << 20  # a JSON body, and what a form adds to the files that it carries
MOST_LARGE = 16  # bodies over SMALL that come in at once
LINGER_SECONDS = 1.0  # so long a refused client may go on sending: a reset would eat the answer
_LARGE = re.compile(r"(?:^|/)djsci/(?:call/|sync_py/|sync_ipynb/|privatefile/)")
_UPLOAD = re.compile(
    r"(?:^|/)djsci/(?:api/v1/files(?:/[^/]*)?|console/files/(?:new|[^/]*/(?:versions|run)))/?\Z"
)
_OURS = re.compile(r"(?:^|/)djsci/")
_HEADERS = (
    (b"content-type", b"application/problem+json"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
)


class BodyCap:
    """Wraps an ASGI application; only HTTP is looked at."""

    def __init__(self, application: Application, *, elsewhere: int | None = None) -> None:
        self.application = application
        self.elsewhere = elsewhere
        self.large = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        cap = self._cap(scope) if scope["type"] == "http" else None
        if cap is None:
            await self.application(scope, receive, send)
            return
        await _Body(self, cap, receive, send).serve(scope)

    def _cap(self, scope: MutableMapping[str, Any]) -> int | None:
        path, method = str(scope["path"]), scope["method"]
        if _LARGE.search(path) or (method in ("POST", "PUT") and _UPLOAD.search(path)):
            return int(conf.get("UPLOAD_LIMIT")) + SMALL
        return SMALL if _OURS.search(path) else self.elsewhere


class _Body:
    """One request's body on its way to the application."""

    def __init__(self, cap: BodyCap, most: int, receive: Receive, send: Send) -> None:
        self._cap, self._most = cap, most
        self._receive, self._send = receive, send
        self._bytes = 0
        self._is_large = self._is_refused = self._is_answered = False

    async def serve(self, scope: MutableMapping[str, Any]) -> None:
        try:
            refusal = self._refusal(_declared(scope))
            if refusal is not None:
                await self._refuse(refusal)
                return
            await self._cap.application(scope, self._counted, self._answer)
        except OSError as error:  # Django spools a large body before anything of ours sees it
            if self._is_answered or error.errno not in DiskFull.errnos:
                raise
            await self._refuse(DiskFull())
        finally:
            self._leave()

    async def _counted(self) -> Message:
        if self._is_refused:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        self._bytes += len(message.get("body", b""))
        refusal = self._refusal(self._bytes)
        if refusal is not None:
            await self._refuse(refusal)
            return {"type": "http.disconnect"}
        if not message.get("more_body", False):
            self._leave()
        return message

    async def _answer(self, message: Message) -> None:
        if self._is_refused:
            return
        self._is_answered = True
        await self._send(message)

    def _refusal(self, size: int) -> DjsciError | None:
        """Why a body of `size` bytes cannot come in; takes a place among the large ones."""
        if size > self._most:
            return TooLarge(f"The body has more than {self._most:,} bytes.")
        if size <= SMALL or self._is_large:
            return None
        if self._cap.large >= MOST_LARGE:
            return NoCapacity("Too many large bodies are coming in; try again.", retry_after=2)
        self._cap.large += 1
        self._is_large = True
        return None

    def _leave(self) -> None:
        if self._is_large:
            self._cap.large -= 1
            self._is_large = False

    async def _refuse(self, error: DjsciError) -> None:
        """Answer, then let the client finish what it is sending for a moment, unread."""
        self._is_refused = True
        self._leave()
        if self._is_answered:
            return
        body = json.dumps(
            {
                "type": error.code,
                "title": error.title,
                "status": error.status,
                "detail": error.detail,
            }
        ).encode()
        headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
        if error.retry_after is not None:
            headers.append((b"retry-after", str(error.retry_after).encode()))
        await self._send(
            {"type": "http.response.start", "status": error.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        with suppress(TimeoutError):
            await asyncio.wait_for(self._drain(), LINGER_SECONDS)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return


def _declared(scope: MutableMapping[str, Any]) -> int:
    """The largest declared length, or 0; the server refuses what is no number."""
    values = [value for name, value in scope.get("headers", ()) if name == b"content-length"]
    return max((int(value[:30]) for value in values if value.isdigit()), default=0)
