"""What is wrong with a value, in words for the person who gave it, each at the field's path."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jsonschema import ValidationError

from . import jsontext
from .formats import PHRASES

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "text of at least {} characters",
    "maxLength": "text of at most {} characters",
    "pattern": "text that matches {}",
    "minItems": "a list of at least {}",
    "maxItems": "a list of at most {}",
    "minProperties": "an object of at least {} members",
    "maxProperties": "an object of at most {} members",
}
_SHOWN = 30  # values of an enum that a message lists


def messages(found: Iterable[ValidationError]) -> Iterator[tuple[str, str]]:
    """Each field that does not fit, as `items[2].price`, and what it must be."""
    for error in found:
        path = path_of(error.absolute_path)
        given: Any = error.instance
        inner = _inner(error) if error.validator == "anyOf" else None
        if inner:
            yield from messages(inner)
        elif error.validator == "required":
            wanted = [name for name in error.validator_value if name not in given]
            name = next(name for name in wanted if error.message.startswith(repr(name)))
            yield jsontext.printable(jsontext.join(path, name)), "is missing"
        elif error.validator == "additionalProperties" and error.validator_value is False:
            yield from _unknown(error, path)
        elif "propertyNames" in error.absolute_schema_path:
            yield path, f"has a key that does not fit: {given!r:.60}"
        else:
            yield path, f"must be {_wanted_by(error)}, not {_given(given)}"


def _unknown(error: ValidationError, path: str) -> Iterator[tuple[str, str]]:
    known = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
    takes = f"known: {', '.join(known)}" if known else "none are known"
    kind = "field" if path else "parameter"
    for name in error.instance:
        if name not in known:
            field = jsontext.printable(jsontext.join(path, str(name)))
            yield field, f"is not a {kind}; {takes}"


def _inner(error: ValidationError) -> list[ValidationError]:
    """What is wrong inside the one branch that the value was meant for; nothing if none was."""
    branches: dict[Any, list[ValidationError]] = {}
    for each in error.context or ():
        branches.setdefault(each.relative_schema_path[0], []).append(each)
    meant = [each for each in branches.values() if not any(map(_is_other_kind, each))]
    if len(meant) > 1:
        meant = [each for each in meant if not any(map(_is_other_tag, each))]
    return meant[0] if len(meant) == 1 else []


def _is_other_kind(error: ValidationError) -> bool:
    return not error.relative_path and error.validator in ("type", "enum", "format")


def _is_other_tag(error: ValidationError) -> bool:
    """Whether a field that has few values, as `kind: Literal["cat"]`, says another model."""
    return len(error.relative_path) == 1 and error.validator == "enum"


def path_of(parts: Sequence[Any]) -> str:
    """A place of a value as people write it: `items[2].price`."""
    path = ""
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else jsontext.join(path, part)
    return jsontext.printable(path)


def _wanted_by(error: ValidationError) -> str:
    schema: Any = error.schema
    validator = str(error.validator)
    if validator not in _BOUNDS or not isinstance(schema, Mapping):
        return _wanted(schema)
    if "minItems" in schema and schema["minItems"] == schema.get("maxItems"):
        return f"a list of {schema['maxItems']}"
    return _BOUNDS[validator].format(_short(error.validator_value))


def _wanted(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "left out"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_wanted, schema["anyOf"])))
    if "enum" in schema:
        values = [_short(value) for value in schema["enum"][:_SHOWN]]
        more = ["…"] if len(schema["enum"]) > _SHOWN else []
        return f"one of {', '.join([*values, *more])}" if len(values) > 1 else values[0]
    if schema.get("format") in PHRASES:
        return PHRASES[schema["format"]]
    return _KINDS.get(str(schema.get("type")), "something else")


def _given(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    return _short(value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
