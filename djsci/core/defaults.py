"""Defaults of parameters and fields, as syntax -> JSON values; nothing is executed."""

import ast
import datetime
import decimal
import math
import pathlib
import uuid
from typing import Any

from .jsontext import oddities
from .names import Names

Schema = dict[str, Any]

_NOTES = ("title", "description", "examples")
_MADE = {
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "decimal.Decimal": decimal.Decimal,
    "pathlib.Path": pathlib.PurePosixPath,
    "uuid.UUID": uuid.UUID,
}
NO_DEFAULT: Any = object()


def default_of(node: ast.expr | None, names: Names) -> Any:
    """A default as a JSON value; `NO_DEFAULT` when there is none or it is more than a literal."""
    if node is None:
        return NO_DEFAULT
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=member):
            return (names.enum_values(name) or {}).get(member, NO_DEFAULT)
        case ast.Call(func=function) if names.dotted(function) in _MADE:
            return _made(node, _MADE[names.dotted(function)])
    try:
        return _as_json(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return NO_DEFAULT


def _made(node: ast.Call, kind: Any) -> Any:
    try:
        arguments = [ast.literal_eval(argument) for argument in node.args]
        named = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
        value = kind(*arguments, **named)
    except (ValueError, TypeError, ArithmeticError, SyntaxError, RecursionError):
        return NO_DEFAULT
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return [_as_json(item) for item in sorted(value, key=repr)]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys of JSON are text")
        return {key: _as_json(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise TypeError(f"{type(value).__name__} is no JSON value")


def with_default(schema: Schema, value: Any, *, adds_null: bool = True) -> Schema:
    """`schema` with a default; one of None lets null in where `adds_null`."""
    if value is None and adds_null and schema and not takes_null(schema):
        notes = {key: schema[key] for key in _NOTES if key in schema}
        schema = {key: part for key, part in schema.items() if key not in _NOTES}
        branches = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
        schema = {"anyOf": [*branches, {"type": "null"}], **notes}
    schema = schema if value is NO_DEFAULT else {**schema, "default": value}
    return {} if any(oddities(schema)) else schema  # what cannot be stored is not promised


def takes_null(schema: Schema) -> bool:
    """Whether null fits."""
    branches = schema.get("anyOf", [schema])
    return any(
        branch.get("type") == "null" or None in branch.get("enum", ()) for branch in branches
    )
