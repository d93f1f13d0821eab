"""What a handler returned becomes JSON text: losslessly, or with an error that names the place."""

import dataclasses
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from . import tables
from .quick import DEPTH, DIGITS, NotPlain, Over, quick, size_of
from .responses import Response, answer
from .times import datetime_text, duration_text, time_text

__all__ = ["DEPTH", "Response", "ResultRefused", "answer", "encode"]

_BITS = 14_286  # an int with more bits has more digits than that
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_text = json.encoder.encode_basestring


class ResultRefused(Exception):
    """The result cannot be JSON: `code` is result_not_json or result_too_large."""

    def __init__(self, code: str, path: str, message: str) -> None:
        self.code = code
        self.path = _printable(path)
        super().__init__(_printable(message))

    @property
    def ename(self) -> str:
        return "ResultTooLarge" if self.code == "result_too_large" else "ResultNotJson"


def encode(value: Any, *, limit: int, path: str = "$") -> str:
    """`value` as compact JSON text of at most `limit` bytes.

    Raises `ResultRefused`. Plain values go through C; the others, and what is refused, are walked.
    """
    try:
        text = quick(value, limit)
    except Over:
        raise _too_large(path, limit) from None
    except (NotPlain, ValueError, RecursionError):
        walk = _Walk(limit, path)
        try:
            walk.add(value, path)
        except RecursionError:
            raise _refused(path, f"is nested deeper than {DEPTH} levels") from None
        text = "".join(walk.parts)
    if size_of(text) > limit:
        raise _too_large(path, limit)
    return text


class _Walk:
    """Writes any value that can be JSON into `parts`, and counts while it does."""

    def __init__(self, limit: int, path: str) -> None:
        self.limit = limit
        self.root = path
        self.size = 0
        self.parts: list[str] = []
        self.inside: list[int] = []

    def write(self, text: str, path: str) -> None:
        try:
            self.size += size_of(text)
        except UnicodeEncodeError:
            raise _refused(
                path, "holds a lone surrogate, which no encoding has; replace it"
            ) from None
        if self.size > self.limit:
            raise _too_large(self.root, self.limit)
        self.parts.append(text)

    def add(self, value: Any, path: str) -> None:
        if value is None or value is True or value is False:
            self.write("null" if value is None else str(value).lower(), path)
        elif isinstance(value, Enum):
            self.add(value.value, path)
        elif isinstance(value, str):
            self.write(_text(str.__str__(value)), path)
        elif isinstance(value, int):
            self.write(_integer(value, path), path)
        elif isinstance(value, float):
            self.write(_float(value, path), path)
        else:
            self.add_other(value, path)

    def add_other(self, value: Any, path: str) -> None:
        try:
            plain = tables.scalar(value)
        except ValueError as error:
            raise _refused(path, str(error)) from None
        if plain is not value:
            self.add(plain, path)
        elif (text := _as_text(value, path)) is not None:
            self.write(_text(text), path)
        else:
            self.add_more(value, path)

    def add_more(self, value: Any, path: str) -> None:
        with self.within(value, path):
            if isinstance(value, Mapping):
                self.add_mapping(value.items(), path)
            elif isinstance(value, (list, tuple)):
                self.add_items(value, path)
            elif isinstance(value, (set, frozenset)):
                items = list(itertools.islice(value, self.limit))
                self.add_items(_sorted(items), path)
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                names = [item.name for item in dataclasses.fields(value)]
                self.add_mapping(((name, getattr(value, name)) for name in names), path)
            elif tables.is_table(value):
                self.add_table(value, path)
            elif not isinstance(value, type) and callable(getattr(value, "model_dump", None)):
                self.add(value.model_dump(), path)
            else:
                raise _refused(path, f"is a {_type_name(value)}; {_cure(value)}")

    def add_table(self, value: Any, path: str) -> None:
        if tables.cells(value) * 2 > self.limit:
            raise _too_large(self.root, self.limit)
        try:
            plain = tables.plain(value)
        except ValueError as error:
            raise _refused(path, str(error)) from None
        try:
            text = quick(plain, self.limit - self.size)
        except Over:
            raise _too_large(self.root, self.limit) from None
        except (NotPlain, ValueError):
            self.add(plain, path)
        else:
            self.write(text, path)

    def add_mapping(self, items: Iterable[tuple[Any, Any]], path: str) -> None:
        self.write("{", path)
        seen: set[str] = set()
        for key, item in items:
            name = _key(key, path)
            if name in seen:
                raise _refused(path, f"has two keys that are both {name!r} in JSON; rename one")
            place = f"{path}.{name}" if _NAME.match(name) else f"{path}[{_text(name)}]"
            self.write(f"{',' if seen else ''}{_text(name)}:", place)
            seen.add(name)
            self.add(item, place)
        self.write("}", path)

    def add_items(self, items: Iterable[Any], path: str) -> None:
        self.write("[", path)
        for index, item in enumerate(items):
            if index:
                self.write(",", path)
            self.add(item, f"{path}[{index}]")
        self.write("]", path)

    @contextmanager
    def within(self, value: Any, path: str) -> Iterator[None]:
        if id(value) in self.inside:
            raise _refused(path, f"is a {_type_name(value)} that contains itself")
        if len(self.inside) >= DEPTH:
            raise _refused(self.root, f"is nested deeper than {DEPTH} levels")
        self.inside.append(id(value))
        try:
            yield
        finally:
            self.inside.pop()


def _as_text(value: Any, path: str) -> str | None:
    """What is written as a string, as Django's encoder does; None for everything else."""
    match value:
        case datetime():
            return datetime_text(value)
        case date():
            return value.isoformat()
        case time():
            if value.utcoffset() is not None:
                raise _refused(path, "is a time with a time zone; return a datetime or its text")
            return time_text(value)
        case timedelta():
            return duration_text(value)
        case Decimal() | UUID() | PurePath():
            return str(value)
    lazy = getattr(sys.modules.get("django.utils.functional"), "Promise", None)
    return str(value) if lazy is not None and isinstance(value, lazy) else None


def _integer(value: int, path: str) -> str:
    try:
        text = int.__repr__(value) if value.bit_length() <= _BITS else ""
    except ValueError:
        text = ""
    if not text or len(text.lstrip("-")) > DIGITS:
        raise _refused(path, f"is an int of more than {DIGITS} digits; return it as text")
    return text


def _float(value: float, path: str) -> str:
    if not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        raise _refused(path, f"is {name}, which JSON does not have; return None instead")
    return float.__repr__(value)


def _key(key: Any, path: str) -> str:
    if isinstance(key, Enum):
        return _key(key.value, path)
    if key is None or key is True or key is False:
        return "null" if key is None else str(key).lower()
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int):
        return _integer(key, path)
    if isinstance(key, float):
        return _float(key, path)
    if isinstance(key, (UUID, date, Decimal)) and not tables.is_missing(key):
        return _as_text(key, path) or ""
    if tables.is_integer(key):
        return _integer(int(key), path)
    raise _refused(path, f"has a key that is a {_type_name(key)}; use text")


def _sorted(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, repr(item)))


def _printable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _type_name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else (f"{kind.__module__}.{kind.__qualname__}")
    )


def _cure(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "return it in a djsci.Response, or decode it"
    if isinstance(value, Response):
        return "return the Response itself, not inside another value"
    if hasattr(value, "__aiter__") or hasattr(value, "__iter__"):
        return "make a list of it first"
    return "return its data as dict, list, text or number"


def _refused(path: str, what: str) -> ResultRefused:
    return ResultRefused("result_not_json", path, f"The result is not JSON: {path} {what}.")


def _too_large(path: str, limit: int) -> ResultRefused:
    return ResultRefused(
        "result_too_large",
        path,
        f"The result is larger than {limit} bytes of JSON; return less, or write a file.",
    )
