"""Plain values become JSON text through C; what is not plain, or too large, is told apart first."""

import json
import sys
from collections.abc import Iterable
from typing import Any

DEPTH = 200  # containers within each other
DIGITS = 4300  # of an int: what Python itself reads back
_dumps = json.dumps  # kept: user code may replace the module's


class NotPlain(Exception):
    """The quick way does not do for this value."""


class Over(Exception):
    """It is larger than the limit."""


def quick(value: Any, limit: int) -> str:
    """The text of a plain value. Raises `NotPlain`, `Over`, `ValueError`, `RecursionError`."""
    if sys.get_int_max_str_digits() != DIGITS:
        raise NotPlain
    _least(value, 1, limit)
    text = _dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    size_of(text)  # a lone surrogate is a ValueError
    return text


def _least(value: Any, depth: int, limit: int) -> int:
    """At least so many bytes it is; `NotPlain` unless C json writes all of it as it should be.

    `Over` as soon as it is more than `limit`: a small list may hold another many times over.
    """
    kind = type(value)
    if kind is str:
        size = len(value) + 2
    elif kind is int or kind is float or kind is bool or value is None:
        size = 1
    elif depth > DEPTH:
        raise NotPlain
    elif kind is dict:
        if not all(type(key) is str for key in value):
            raise NotPlain
        size = sum(map(len, value)) + 2 * len(value) + _least_of(value.values(), depth, limit)
    elif kind is list or kind is tuple:
        size = _least_of(value, depth, limit)
    else:
        raise NotPlain
    if size > limit:
        raise Over
    return size


def _least_of(items: Iterable[Any], depth: int, limit: int) -> int:
    size = 1
    for item in items:
        kind = type(item)
        if kind is int or kind is float:
            size += 2
        else:
            size += 1 + _least(item, depth + 1, limit - size)
        if size > limit:
            raise Over
    return size


def size_of(text: str) -> int:
    """Its bytes in UTF-8. Raises `UnicodeEncodeError` for a lone surrogate."""
    return len(text) if text.isascii() else len(text.encode())
