"""What is too large for the log: its bytes are stored, the event holds their reference."""

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from djsci.core.artifacts import ArtifactContent
from djsci.core.events import Artifact, Chunk, Display, Result, clean

OVER = 256 << 10
_INLINE = 2 * OVER  # bytes of one display that stay in its event, all parts together

Store = Callable[[bytes], Awaitable[str]]


class References:
    """Moves large parts of one run's events into storage; `store` gives the SHA-256 of bytes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def display(self, event: Display) -> Display:
        """The display with its parts over 256 KiB, and the largest of many, as references."""
        data = dict(event.data)
        parts = {mime: _raw(mime, part) for mime, part in data.items()}
        inline = sum(map(len, parts.values()))
        for mime, raw in sorted(parts.items(), key=lambda item: -len(item[1])):
            if len(raw) > OVER or inline > _INLINE or _is_like_a_reference(data[mime]):
                data[mime] = await self._reference(raw)
                inline -= len(raw)
        return replace(event, data=data)

    async def artifact(self, event: ArtifactContent) -> Artifact:
        """The artifact, its bytes stored."""
        return event.stored(await self._store(event.content))

    async def chunk(self, event: Chunk) -> Chunk:
        """The chunk, its value as a reference when it is large."""
        if event.value is None or len(event.value.text) <= OVER:
            return event
        return Chunk(**await self._reference(event.value.text.encode()))

    async def result(self, event: Result) -> tuple[Result, dict[str, Any]]:
        """The result, as a reference when it is large, and the run's columns that hold it."""
        text = clean(event.value.text) if event.value is not None else "null"
        body = text.encode()
        columns: dict[str, Any] = {"http": event.http, "result_size": len(body)}
        if len(body) <= OVER:
            return event, columns | {"result": text}
        reference = await self._reference(body)
        return Result(**reference, http=event.http), columns | {"result_ref": reference["ref"]}

    async def _reference(self, raw: bytes) -> dict[str, Any]:
        return {"ref": await self._store(raw), "size": len(raw)}


def _is_like_a_reference(part: Any) -> bool:
    """Whether user code made it look like one of ours, which would show it any stored bytes."""
    return isinstance(part, dict) and "ref" in part


def size_of(event: Display) -> int:
    """Bytes of all parts of a display."""
    return sum(len(_raw(mime, part)) for mime, part in event.data.items())


def _raw(mime: str, part: Any) -> bytes:
    """A part's own bytes: an image's are base64 in the bundle, anything but text is JSON."""
    if not isinstance(part, str):
        return json.dumps(part).encode()
    if mime.startswith("image/") and mime != "image/svg+xml":
        try:
            return base64.b64decode(part)
        except ValueError:
            return part.encode("utf-8", "replace")
    return part.encode("utf-8", "replace")
