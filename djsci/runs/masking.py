"""Secrets that a run says by accident are masked: in prints, displays, errors and results.

No wall: who wants to tell a secret can spell it backwards.
"""

import json
import re
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
        self._secrets = sorted(spelled, key=len, reverse=True)  # a longer one comes first
        self._any = re.compile("|".join(map(re.escape, self._secrets)) or r"(?!)")
        self._held: events.Stream | None = None

    def take(self, event: Event) -> Iterator[Event]:
        """What may be shown now."""
        held, self._held = self._held, None
        if isinstance(event, events.Stream):
            if held is not None and (held.name, held.cell) == (event.name, event.cell):
                event, held = replace(event, text=held.text + event.text), None
            place = self._settled(event.text)
            if place < len(event.text):
                self._held = replace(event, text=event.text[place:])
            event = replace(event, text=event.text[:place])
        if held is not None:
            yield self._walk(held)
        if not isinstance(event, events.Stream) or event.text:
            yield self._walk(event) if self._secrets else event

    def _masked(self, text: str) -> str:
        return self._any.sub(MASK, text)

    def _settled(self, text: str) -> int:
        """Up to where nothing that follows can make a secret of it, or a longer one."""
        end = 0
        for found in self._any.finditer(text):
            if self._may_go_on(text[found.start() :]):
                return found.start()
            end = found.end()
        longest = max(map(len, self._secrets), default=1) - 1
        for place in range(max(end, len(text) - longest), len(text)):
            if self._may_go_on(text[place:]):
                return place
        return len(text)

    def _may_go_on(self, text: str) -> bool:
        return any(secret.startswith(text) and secret != text for secret in self._secrets)

    def _walk(self, value: Any) -> Any:
        match value:
            case str():
                return self._masked(value)
            case dict():
                return {self._walk(key): self._walk(item) for key, item in value.items()}
            case list() | tuple():
                return type(value)(map(self._walk, value))
            case events.Json(text=text) if self._any.search(text):  # numbers stay as they are
                return events.Json(text=events.dumps(self._walk(json.loads(text))))
            case events.Json():
                return value
        if is_dataclass(value) and not isinstance(value, type):
            changed = {each.name: self._walk(getattr(value, each.name)) for each in fields(value)}
            return replace(value, **changed)
        return value


def _spellings(secret: str) -> set[str]:
    """As it is, and as JSON has it."""
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
