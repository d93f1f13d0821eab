"""The artifacts that a worker sends: the worker is the user's, so they are held to the limits."""

import base64
from typing import Any

from djsci.core import events
from djsci.core.artifacts import ArtifactContent, content_type
from djsci.guest.quota import LONGEST_PART, MOST, Quota

_REFUSALS = MOST  # that are told; a guest of ours asks before it sends


class Artifacts:
    """Those of one run."""

    def __init__(self, limit: int) -> None:
        self._quota = Quota(limit)
        self._limit = limit
        self._of: Any = None
        self._parts: list[bytes] = []
        self._size = 0
        self._refused = 0

    def take(self, name: str, content: bytes) -> list[events.Event]:
        """The event of a whole artifact, or the warning that says why it was left out."""
        reason = self._quota.take(name, len(content))
        if reason is None:
            return [
                ArtifactContent(
                    name=name,
                    size=len(content),
                    content_type=content_type(name),
                    content=content,
                )
            ]
        self._refused += 1
        if self._refused > _REFUSALS:
            return []
        text = f"Left out of the artifacts: {name[:LONGEST_PART]!r} ({reason})."
        return [events.Log(level="warning", message=text, fields={"left_out": 1})]

    def take_part(self, of: Any, name: str, data: str) -> list[events.Event]:
        """One part, in base64; an empty one is the last. Parts of one that broke off are dropped.

        Raises `ValueError`.
        """
        if of != self._of:
            self._of, self._parts, self._size = of, [], 0
        piece = base64.b64decode(data, validate=True)
        self._size += len(piece)
        if self._size > self._limit:
            self._parts.clear()
            raise ValueError("more than a run may have")
        if piece:
            self._parts.append(piece)
            return []
        content, self._of, self._parts = b"".join(self._parts), None, []
        return self.take(name, content)
