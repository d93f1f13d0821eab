"""Secrets that a run says by accident are masked: in prints, displays, errors and results.

No wall: who wants to tell a secret can spell it backwards.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from djsci.core import events
from djsci.core.events import Event

MASK = "•••"
LEAST = 6  # characters: a shorter one would mask half of what is printed


class Masker:
    """Events in, events out; the end of a text that may begin a secret waits for what follows."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {text for secret in secrets for text in (secret, *secret.splitlines())}
        spelled = {form for text in found if len(text) >= LEAST for form in _spellings(text)}
        self._secrets = sorted(spelled, key=len, reverse=True)
        self._held: events.Stream | None = None

    def take(self, event: Event) -> Iterator[Event]:
        """What may be shown now."""
        held, self._held = self._held, None
        if isinstance(event, events.Stream):
            if held is not None and (held.name, held.cell) == (event.name, event.cell):
                event = replace(event, text=held.text + event.text)
                held = None
            text = self._masked(event.text)
            kept = self._unfinished(text)
            if held is not None:
                yield held
            if kept:
                self._held = replace(event, text=text[len(text) - kept :])
            if len(text) > kept:
                yield replace(event, text=text[: len(text) - kept])
            return
        if held is not None:
            yield held
        yield self._walk(event) if self._secrets else event

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def _unfinished(self, text: str) -> int:
        """How many of the last characters are the beginning of a secret, or could be."""
        longest = min(len(text), max(map(len, self._secrets), default=1) - 1)
        ends = (
            size
            for size in range(longest, 0, -1)
            if any(secret.startswith(text[-size:]) for secret in self._secrets)
        )
        return next(ends, 0)

    def _walk(self, value: Any) -> Any:
        match value:
            case str():
                return self._masked(value)
            case dict():
                return {self._walk(key): self._walk(item) for key, item in value.items()}
            case list() | tuple():
                return type(value)(map(self._walk, value))
        if is_dataclass(value) and not isinstance(value, type):
            changed = {each.name: self._walk(getattr(value, each.name)) for each in fields(value)}
            return replace(value, **changed)
        return value


def _spellings(secret: str) -> set[str]:
    """As it is, and as JSON has it."""
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
