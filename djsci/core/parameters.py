"""Values given for a source's parameters: read from text, checked, with messages for people."""

import functools
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from djsci.guest.requests import HandlerRequest

from . import jsontext
from .errors import BadParameters, BadRequest
from .formats import NUMBER, checker
from .patterns import matches
from .refusals import messages

_ERRORS = 50
_WORDS = {"true": True, "on": True, "yes": True, "1": True}
_WORDS |= {"false": False, "off": False, "no": False, "0": False}
_LAST = {"string": 1, "null": 2}  # in a union, what any text fits is tried last
_INTEGER = re.compile(r"[+-]?[0-9]{1,4300}")


def _is_number(_: object, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else value.bit_length() <= 1023


def _pattern(_: object, pattern: str, value: object, __: object) -> Iterator[ValidationError]:
    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"{value!r:.60} does not match")


_Validator: Any = extend(
    Draft202012Validator,
    validators={"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number),
)


@functools.lru_cache(maxsize=512)
def _validator(text: str) -> Any:
    return _Validator(json.loads(text), format_checker=checker)


def validate(
    schema: Mapping[str, Any], values: Mapping[str, Any], *, is_text: bool, is_strict: bool
) -> dict[str, Any]:
    """The values that fit `schema`, defaults not filled in.

    `is_text`: values are lists of strings, as a query or a form gives them. `is_strict`: a name
    that `schema` does not know is an error, else it is dropped. Raises `BadParameters`, which names
    each field that does not fit.
    """
    if not isinstance(values, Mapping):
        raise BadRequest("The parameters are not a JSON object.")
    given = from_text(schema, values) if is_text else dict(values)
    if not is_strict and schema.get("additionalProperties") is False:
        known = schema.get("properties", {})
        given = {name: value for name, value in given.items() if name in known}
    errors = [
        {"field": jsontext.printable(path), "message": problem}
        for path, problem in itertools.islice(jsontext.oddities(given), _ERRORS)
    ]
    if not errors:
        found = _validator(json.dumps(schema)).iter_errors(given)
        errors = [
            {"field": field, "message": message}
            for field, message in dict(itertools.islice(messages(found), _ERRORS)).items()
        ]
    if errors:
        detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:5])
        raise BadParameters(f"The parameters do not fit. {detail}.", errors=errors)
    return given


def of_request(
    schema: Mapping[str, Any],
    request: HandlerRequest,
    text: Mapping[str, list[str]],
    *,
    are_declared: bool,
) -> dict[str, Any]:
    """What an HTTP request gives: `text` (its query and form), then the JSON object in its body.

    Where no parameters `are_declared` the request itself is all that the code is given: what is no
    JSON, or cannot be kept, is left to the code. Else raises `BadRequest`, `BadParameters`.
    """
    values = from_text(schema, text)
    kind = request.content_type
    try:
        if request.body and (kind == "application/json" or kind.endswith("+json")):
            body = jsontext.strict_json(request.body)
            values |= body if isinstance(body, dict) else {}
    except (BadRequest, BadParameters):
        if are_declared:
            raise
    if are_declared:
        return values
    return {key: value for key, value in values.items() if not any(jsontext.oddities({key: value}))}


def from_text(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a query or a form (lists of strings) as JSON values, by what `schema` wants.

    Text that fits nothing stays as it is, for `validate` to refuse.
    """
    properties = schema.get("properties", {})
    read: dict[str, Any] = {}
    for name, texts in values.items():
        texts = [texts] if isinstance(texts, str) else list(texts)
        if texts:
            read[name] = _read(properties.get(name, {}), texts)
    return read


def _read(schema: Mapping[str, Any], texts: Sequence[str]) -> Any:
    branches = list(schema.get("anyOf", [schema]))
    if texts[-1] == "" and any(branch.get("type") == "null" for branch in branches):
        return None
    if not schema.get("type") and "default" in schema and len(schema) == 1:
        branches = [{"type": kind} for kind in _kinds_like(schema["default"])]
    branches.sort(key=lambda branch: _LAST.get(branch.get("type"), 0) if len(branch) == 1 else 0)
    for branch in branches:
        for value in _readings(branch, texts):
            if _validator(json.dumps(branch)).is_valid(value):
                return value
    return _nearest(branches, texts)


def _nearest(branches: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Any:
    """What text means that fits nothing: a number out of bounds is told as a number."""
    for branch in branches:
        kind = branch.get("type")
        for value in _readings(branch, texts) if kind and "enum" not in branch else ():
            if kind != "string" and _validator(json.dumps({"type": kind})).is_valid(value):
                return value
    return texts[-1]


def _kinds_like(default: Any) -> list[str]:
    """How to read text for a parameter that has no annotation, but a default."""
    kinds = {bool: ["boolean"], int: ["integer", "number"], float: ["number"]}
    kinds |= {list: ["array"], dict: ["object"]}
    return kinds.get(type(default), ["string"])


def _readings(branch: Mapping[str, Any], texts: Sequence[str]) -> Iterator[Any]:
    """What `texts` may mean where `branch` is wanted, likeliest first."""
    text = texts[-1]
    kind = branch.get("type")
    if kind == "array":
        yield from _lists(branch, texts)
    elif kind == "object":
        yield from _parsed(text)
    elif kind == "boolean":
        yield _WORDS.get(text.strip().lower(), text)
    elif kind == "null":
        yield from [None] if text in ("", "null") else []
    elif kind in ("integer", "number"):
        yield from _numbers(text.strip())
    elif "enum" in branch and kind is None:
        yield from [text, *_numbers(text), *_parsed(text)]
    else:
        yield text


def _lists(branch: Mapping[str, Any], texts: Sequence[str]) -> Iterator[Any]:
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        yield from _parsed(texts[0])
    first = branch.get("prefixItems", [])
    inner = branch.get("items", {})
    wanted = [*first, *[inner] * len(texts)]
    yield [_read(part, [text]) for part, text in zip(wanted, texts, strict=False)]
    if list(texts) == [""]:
        yield []


def _parsed(text: str) -> Iterator[Any]:
    try:
        yield jsontext.parse_json(text)
    except BadRequest:
        return


def _numbers(text: str) -> Iterator[Any]:
    if _INTEGER.fullmatch(text):
        yield int(text)
    elif NUMBER.fullmatch(text):
        yield float(text)
