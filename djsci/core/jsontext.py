"""JSON text -> values, strictly, with its nesting counted before it is parsed."""

import collections
import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from .errors import BadParameters, BadRequest
from .events import clean

DEPTH_LIMIT = 100
_READABLE_DEPTH = 500  # deeper JSON is not even read to name the place
_INTEGER_BITS = 14_280  # Python refuses to write or read integers of over 4,300 digits

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS = bytes(set(range(256)) - set(_STEP))


def depth(data: bytes) -> int:
    """How deep the JSON in `data` nests, by one scan that ends even where the JSON is broken."""
    brackets = _STRING.sub(b"", data).translate(None, _NOT_BRACKETS)
    return max(itertools.accumulate(map(_STEP.__getitem__, brackets)), default=0)


def parse_json(text: str | bytes) -> Any:
    """The value of strict JSON text.

    Raises `BadRequest`, which names the problem, for anything JSON is not (NaN, Infinity, invalid
    UTF-8) and for what Python or a database would take differently: duplicate keys, numbers too
    large for a float, lone surrogates, NUL, nesting over 100. `errors` names the field of what is
    JSON, but odd; it is empty where the text is no JSON at all.
    """
    try:
        data = text.encode() if isinstance(text, str) else text
        text = data.decode("utf-8")
    except UnicodeError as error:
        raise BadRequest(f"The JSON is not valid UTF-8: {error}.") from error
    if depth(data) > _READABLE_DEPTH:
        message = f"nests more than {DEPTH_LIMIT} deep"
        raise BadRequest(f"The JSON {message}.", errors=[{"field": "", "message": message}])
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except ValueError as error:
        raise BadRequest(f"The JSON cannot be read: {error}.") from error
    for path, problem in oddities(value):
        place = printable(path)
        raise BadRequest(
            f"The JSON {problem} at {place or '$'}.", errors=[{"field": place, "message": problem}]
        )
    return value


def strict_json(body: bytes) -> Any:
    """The value of a JSON body. Raises `BadRequest`; `BadParameters` for what cannot be kept."""
    try:
        return parse_json(body)
    except BadRequest as error:
        if not error.errors:
            raise
        fields = [
            {**item, "field": str(item["field"]).removeprefix("parameters.") or "parameters"}
            for item in error.errors
        ]
        raise BadParameters(error.detail, errors=fields) from error


def oddities(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each place of a JSON value that cannot be stored as it is, with what is wrong there."""
    stack = [(path, value, 1)]
    while stack:
        path, value, level = stack.pop()
        if isinstance(value, str):
            if problem := _text_problem(value):
                yield path, problem
        elif isinstance(value, float) and not math.isfinite(value):
            yield path, "holds NaN, Infinity or too large a number"
        elif isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
            yield path, "holds a number of more than 4,298 digits"
        elif isinstance(value, dict | list) and level > DEPTH_LIMIT:
            yield path, f"nests more than {DEPTH_LIMIT} deep"
        elif isinstance(value, dict):
            if isinstance(value, _Repeated):
                yield path, f"has the key {value.twice[:100]!r} twice"
            for key in value:
                if problem := _text_problem(key):
                    yield path, f"{problem} in a key"
            stack += [(join(path, key), item, level + 1) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [(f"{path}[{index}]", item, level + 1) for index, item in enumerate(value)]


def join(path: str, key: str) -> str:
    """The path of `key` below `path`, as people write it."""
    return f"{path}.{key}" if path else key


def _text_problem(text: str) -> str | None:
    if "\x00" in text:
        return "holds a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "holds half of a surrogate pair"
    return None


class _Repeated(dict[str, Any]):
    """An object whose text gave the key `twice` more than once."""

    twice = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    count = collections.Counter(name for name, _ in pairs)
    repeated = _Repeated(value)
    repeated.twice = next(name for name, times in count.items() if times > 1)
    return repeated


def printable(path: str) -> str:
    """A path as text that can be stored and shown: cleaned, at most 200 characters."""
    path = clean(path)
    return path if len(path) <= 200 else f"{path[:199]}…"
