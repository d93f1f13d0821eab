"""What two results differ in: the rows of tables, or the places in any JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, NamedTuple

MOST_SHOWN = 200  # places or rows
MOST_COLUMNS = 30
MOST_TEXT = 300  # characters of a value
_ABSENT = object()


class Number(NamedTuple):
    """A number as it was written: 1 is neither 1.0 nor true, and no digit is lost."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value of both, cut for a page; None where there is none."""

    path: str
    before: str | None
    after: str | None
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """The differences of two values: `rows` of the table that both are, else `changes`."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[int, tuple[Change, ...]], ...] = ()
    changes: tuple[Change, ...] = ()
    has_more: bool = False


def load(text: str) -> Any:
    """The value of a result's JSON."""
    return json.loads(text, parse_int=Number, parse_float=Number)


def compare(before: Any, after: Any) -> Diff:
    """The differences of two loaded values, the first of them."""
    columns = _columns(before, after)
    if not columns:
        changes = tuple(islice(_changes(before, after, "$"), MOST_SHOWN + 1))
        return Diff(changes=changes[:MOST_SHOWN], has_more=len(changes) > MOST_SHOWN)
    rows = tuple(islice(_rows(before, after, columns), MOST_SHOWN + 1))
    return Diff(columns=columns, rows=rows[:MOST_SHOWN], has_more=len(rows) > MOST_SHOWN)


def members(before: dict[str, Any], after: dict[str, Any]) -> Diff:
    """The members of two objects beside each other, those too that are the same."""
    names = dict.fromkeys([*before, *after])
    shown = islice(names, MOST_SHOWN)
    changes = (_change(name, before.get(name, _ABSENT), after.get(name, _ABSENT)) for name in shown)
    return Diff(changes=tuple(changes), has_more=len(names) > MOST_SHOWN)


def _columns(*tables: Any) -> tuple[str, ...]:
    """The columns of both, where both are tables that fit a page."""
    names: dict[str, None] = {}
    for rows in tables:
        if not isinstance(rows, list) or not rows:
            return ()
        for row in rows:
            if not isinstance(row, dict) or any(isinstance(v, dict | list) for v in row.values()):
                return ()
            names |= dict.fromkeys(row)
            if len(names) > MOST_COLUMNS:
                return ()
    return tuple(names)


def _rows(
    before: list[Any], after: list[Any], columns: tuple[str, ...]
) -> Iterator[tuple[int, tuple[Change, ...]]]:
    for place, old, new in _unlike(before, after):
        left, right = ({} if row is _ABSENT else row for row in (old, new))
        pairs = ((name, left.get(name, _ABSENT), right.get(name, _ABSENT)) for name in columns)
        yield place, tuple(_change(*pair) for pair in pairs)


def _changes(before: Any, after: Any, path: str) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
            if old != new:
                step = f".{name}" if name.isidentifier() else f"[{json.dumps(name)}]"
                yield from _changes(old, new, path + step)
    elif isinstance(before, list) and isinstance(after, list):
        for place, old, new in _unlike(before, after):
            yield from _changes(old, new, f"{path}[{place}]")
    elif before != after:
        yield _change(path, before, after)


def _unlike(before: Sequence[Any], after: Sequence[Any]) -> Iterator[tuple[int, Any, Any]]:
    """Items that are not the same, by their places between what both begin and end with."""
    shorter = min(len(before), len(after))
    first = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    ends = range(1, shorter - first + 1)
    last = next((n - 1 for n in ends if before[-n] != after[-n]), shorter - first)
    middles = (each[first : len(each) - last] for each in (before, after))
    for place, (old, new) in enumerate(zip_longest(*middles, fillvalue=_ABSENT), first):
        if old != new:
            yield place, old, new


def _change(path: str, before: Any, after: Any) -> Change:
    old, new = (None if value is _ABSENT else _cut(_written(value)) for value in (before, after))
    return Change(path=_cut(path), before=old, after=new, differs=before != after)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"


def _written(value: Any) -> str:
    match value:
        case Number(text=text):
            return text
        case dict():
            parts = (f"{_written(name)}: {_written(each)}" for name, each in value.items())
            return f"{{{', '.join(parts)}}}"
        case list():
            return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value, ensure_ascii=False)
