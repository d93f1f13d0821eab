"""Annotations of a source, as syntax -> JSON Schema (2020-12); nothing is imported or executed."""

import ast
from collections.abc import Callable, Sequence
from typing import Any

from . import constraints, models
from .names import Names
from .syntax import Unparsable, parse_expression

Schema = dict[str, Any]

_NESTING = 40
_SECONDS = 86_399_999_913_600  # of the longest timedelta
_DURATION: Schema = {
    "anyOf": [
        {"type": "string", "format": "duration"},
        {"type": "number", "minimum": -_SECONDS, "maximum": _SECONDS},
    ]
}
_SCALARS: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime.date": {"type": "string", "format": "date"},
    "datetime.datetime": {"type": "string", "format": "date-time"},
    "datetime.time": {"type": "string", "format": "time"},
    "datetime.timedelta": _DURATION,
    "decimal.Decimal": {"anyOf": [{"type": "string", "format": "decimal"}, {"type": "number"}]},
    "uuid.UUID": {"type": "string", "format": "uuid"},
    "djsci.File": {"type": "string", "format": "binary"},
    "pathlib.Path": {"type": "string", "format": "path"},
    "pathlib.PurePath": {"type": "string", "format": "path"},
}
_TYPING = ("typing", "typing_extensions")
_LISTS = frozenset(
    {"list", "set", "frozenset"}
    | {f"collections.abc.{name}" for name in ("Sequence", "Iterable", "Collection", "Set")}
    | {"collections.abc.MutableSequence", "collections.abc.MutableSet"}
    | {f"{module}.{name}" for module in _TYPING for name in ("List", "Set", "FrozenSet")}
    | {f"{module}.{name}" for module in _TYPING for name in ("Sequence", "Iterable", "Collection")}
)
_TUPLES = frozenset({"tuple", "typing.Tuple", "typing_extensions.Tuple"})
_DICTS = frozenset(
    {"dict", "collections.abc.Mapping", "collections.abc.MutableMapping"}
    | {f"{module}.{name}" for module in _TYPING for name in ("Dict", "Mapping", "MutableMapping")}
)
_WRAPPERS = frozenset(
    f"{module}.{name}"
    for module in _TYPING
    for name in ("Final", "Required", "NotRequired", "ReadOnly")
) | {"dataclasses.InitVar"}


def schema_of(node: ast.expr | None, names: Names, level: int = 0) -> Schema:
    """The schema of what fits the annotation; `{}` (anything) where it is not known."""
    if node is None or level > _NESTING or not names.spend(40):
        return {}
    match node:
        case ast.Constant(value=None):
            return {"type": "null"}
        case ast.Constant(value=str(text)):
            return _of_text(text, names, level)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _union([left, right], names, level)
        case ast.Subscript(value=value, slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return _of_generic(names.dotted(value), parts, names, level)
        case ast.Call(func=function):
            dotted = names.dotted(function)
            return constraints.of_call(dotted, node, names, _inner(names, level))
        case ast.Name(id=name) if name not in names.imports:
            return _of_name(name, node, names, level)
    return _plain(names.dotted(node))


def _of_text(text: str, names: Names, level: int) -> Schema:
    try:
        return schema_of(parse_expression(text), names, level + 1)
    except Unparsable:
        return {}


def _of_name(name: str, node: ast.expr, names: Names, level: int) -> Schema:
    if name in names.classes:
        if names.is_unsure(name):
            return {}
        values = names.enum_values(name)
        if values is None:
            return models.of_class(name, names, _inner(names, level))
        is_told = values and names.spend(sum(len(str(value)) + 5 for value in values.values()))
        return _enum(list(values.values())) if is_told else {}
    if name in names.aliases:
        return schema_of(_alias(names.aliases[name], names), names, level + 1)
    return _plain(names.dotted(node))


def _alias(value: ast.expr, names: Names) -> ast.expr:
    match value:
        case ast.Call(func=function, args=[_, inner]) if names.dotted(function) in (
            "typing.NewType",
            "typing_extensions.NewType",
        ):
            return inner
    return value


def _plain(dotted: str) -> Schema:
    for known in (_SCALARS, constraints.TYPES):
        if dotted in known:
            return dict(known[dotted])
    if dotted in _LISTS or dotted in _TUPLES:
        return {"type": "array"}
    return {"type": "object"} if dotted in _DICTS else {}


def _inner(names: Names, level: int) -> Callable[[ast.expr | None], Schema]:
    return lambda part: schema_of(part, names, level + 1)


def _of_generic(dotted: str, parts: Sequence[ast.expr], names: Names, level: int) -> Schema:
    inner = _inner(names, level)
    if dotted in _LISTS:
        return _with({"type": "array"}, "items", inner(parts[0]))
    if dotted in _TUPLES:
        return _tuple(parts, inner)
    if dotted in _DICTS and len(parts) == 2:
        schema = _with({"type": "object"}, "additionalProperties", inner(parts[1]))
        return _with(schema, "propertyNames", _key(inner(parts[0])))
    if dotted in _WRAPPERS:
        return inner(parts[0])
    module, _, name = dotted.rpartition(".")
    if module not in _TYPING:
        return {}
    if name == "Annotated":
        return constraints.apply(inner(parts[0]), constraints.merged(parts[1:], names), names)
    if name == "Optional":
        return _union([parts[0], ast.Constant(value=None)], names, level)
    if name == "Union":
        return _union(parts, names, level)
    return _literal(parts, names) if name == "Literal" else {}


def _tuple(parts: Sequence[ast.expr], inner: Callable[[ast.expr | None], Schema]) -> Schema:
    match parts:
        case [part, ast.Constant(value=value)] if value is ...:
            return _with({"type": "array"}, "items", inner(part))
        case [ast.Tuple(elts=[])]:
            parts = []
    items = [inner(part) for part in parts]
    size = {"minItems": len(items), "maxItems": len(items)}
    return {"type": "array", **({"prefixItems": items} if items else {}), **size}


def _key(schema: Schema) -> Schema:
    """Keys of JSON are text: what a key has to look like, where that matters."""
    if schema.get("type") == "integer":
        return {"pattern": "^-?[0-9]+$"}
    if "enum" in schema and all(isinstance(value, str) for value in schema["enum"]):
        return schema
    return {"format": schema["format"]} if "format" in schema else {}


def _union(parts: Sequence[ast.expr], names: Names, level: int) -> Schema:
    branches: list[Schema] = []
    for part in parts:
        schema = schema_of(part, names, level + 1)
        if not schema:
            return {}
        only_branches = set(schema) == {"anyOf"}
        branches += [
            branch
            for branch in (schema["anyOf"] if only_branches else [schema])
            if branch not in branches
        ]
    return branches[0] if len(branches) == 1 else {"anyOf": branches}


def _literal(parts: Sequence[ast.expr], names: Names) -> Schema:
    values: list[Any] = []
    for part in parts:
        match part:
            case ast.Constant(value=str() | int() | None as value):
                values.append(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
                values.append(-value)
            case ast.Attribute(value=ast.Name(id=name), attr=member):
                members = names.enum_values(name) or {}
                if member not in members:
                    return {}
                values.append(members[member])
            case _:
                return {}
    return _enum(values)


def _enum(values: list[Any]) -> Schema:
    values = [value for _, value in dict.fromkeys((type(value), value) for value in values)]
    kinds = {type(value) for value in values}
    kind = {"type": "string"} if kinds == {str} else {"type": "integer"} if kinds == {int} else {}
    return {**kind, "enum": values}


def _with(schema: Schema, key: str, inner: Schema) -> Schema:
    return {**schema, key: inner} if inner else schema
