"""The wire's two descriptions agree: `core/events.py`, and the console's `events.ts`."""

import dataclasses
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from djsci.core import events

SOURCE = Path(__file__).parent.parent / "frontend" / "src" / "events.ts"
_NAMES = {"ErrorEvent": "Error"}  # TypeScript's own Error keeps its name
_SCALARS = {str: "string", int: "number", float: "number", bool: "boolean"}


def written() -> dict[str, dict[str, str]]:
    """Each interface of `events.ts`: its fields (`name` or `name?`) and their types, own first."""
    text = re.sub(r"//[^\n]*", "", SOURCE.read_text())
    found: dict[str, dict[str, str]] = {}
    for name, base, body in re.findall(
        r"export interface (\w+)(?: extends (\w+))? \{(.*?)\n\}", text, re.DOTALL
    ):
        own = dict(re.findall(r"(\w+\??): ([^;]+);", body))
        found[_NAMES.get(name, name)] = own | found.get(base, {})
    return found


def said(kind: type[events.Event]) -> dict[str, str]:
    """The same of a class of `events.py`."""
    hints = get_type_hints(kind)
    fields = {"type": f'"{kind.type}"'} if hasattr(kind, "type") else {}
    for field in dataclasses.fields(kind):
        is_optional = bool(field.metadata.get("optional"))
        fields[field.name + "?" * is_optional] = typed(hints[field.name], is_optional=is_optional)
    return fields


def typed(hint: Any, *, is_optional: bool = False) -> str:
    if hint == events.State:
        return "State"
    if hint == events.FinalState:
        return "FinalState"
    if hint is events.Json:
        return "unknown"
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(f'"{part}"' for part in parts)
    if origin in (Union, types.UnionType):
        inner = " | ".join(typed(part) for part in parts if part is not type(None))
        return inner if is_optional else f"{inner} | null"  # absent, never null
    if origin is tuple:
        return f"{typed(parts[0])}[]"
    return "Bundle" if origin is dict else _SCALARS[hint]


def kinds() -> dict[str, type[events.Event]]:
    return {
        name: kind
        for name, kind in vars(events).items()
        if isinstance(kind, type) and issubclass(kind, events.Event) and hasattr(kind, "type")
    }


def test_the_console_knows_every_event_as_it_is_written():
    interfaces = written()
    assert len(kinds()) == 15
    for name, kind in kinds().items():
        assert interfaces[name] == said(kind), name


def test_the_console_knows_every_event_and_state_there_is():
    text = SOURCE.read_text()
    union = re.search(r"export type Said =([^;]+);", text)
    assert union is not None
    assert {_NAMES.get(name, name) for name in re.findall(r"\w+", union[1])} == kinds().keys()
    states = dict(re.findall(r"export type (\w*State) =([^;]+);", text))
    final = tuple(re.findall(r'"(\w+)"', states["FinalState"]))
    assert final == events.FINAL
    assert tuple(re.findall(r'"(\w+)"', states["State"])) == events.LIVE
    listed = re.search(r"const FINAL[^=]*= \[([^\]]+)\]", text)
    assert listed is not None
    assert tuple(re.findall(r'"(\w+)"', listed[1])) == events.FINAL
