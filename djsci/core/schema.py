"""Signatures and `parameters` cells -> the JSON Schema of a source's parameters."""

import ast
import datetime
import decimal
import math
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .annotations import Schema, schema_of
from .events import clean
from .handlers import Function
from .jsontext import oddities, parse_json
from .names import Names
from .parameters import from_text, validate
from .syntax import Unparsable, parse_expression

__all__ = [
    "from_text",
    "handler_schema",
    "of_handler",
    "of_parameters_cell",
    "parse_json",
    "validate",
]

NO_PARAMETERS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
ANY_PARAMETERS: Schema = {"type": "object", "properties": {}, "additionalProperties": True}

_COMMENT = re.compile(r"#\s*(?:type:\s*(?P<type>\S+)\s*)?(?P<help>.*)")
_MADE = {
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "decimal.Decimal": decimal.Decimal,
    "pathlib.Path": pathlib.PurePosixPath,
    "uuid.UUID": uuid.UUID,
}
_NONE = object()
_NOTE = 4_000  # characters of documentation that a schema carries


def of_handler(node: Function | None, trees: Sequence[ast.Module]) -> Schema:
    """The schema of a handler's parameters; of one that is imported nothing is known."""
    return dict(ANY_PARAMETERS) if node is None else handler_schema(node, trees)


def handler_schema(node: Function, trees: ast.Module | Iterable[ast.Module]) -> Schema:
    """The schema of all parameters but the first, which is the request."""
    modules = [trees] if isinstance(trees, ast.Module) else list(trees)
    names = Names(modules)
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    pairs = list(zip(positional, [*defaults, *node.args.defaults], strict=True))[1:]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    schema: Schema = {"type": "object", **_documentation(node, *modules[:1])}
    schema["properties"] = {
        argument.arg: _property(argument.annotation, default, names) for argument, default in pairs
    }
    required = [argument.arg for argument, default in pairs if default is None]
    if required:
        schema["required"] = required
    schema["additionalProperties"] = node.args.kwarg is not None or not pairs
    return schema


def of_parameters_cell(tree: ast.Module, text: str, trees: Sequence[ast.Module]) -> Schema:
    """The schema of the literal assignments of a cell tagged `parameters`."""
    names, lines = Names(trees), text.splitlines()
    properties: dict[str, Schema] = {}
    required: set[str] = set()
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                annotation = None
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                pass
            case _:
                continue
        kind, note = _comment(statement, lines)
        default = default_of(value, names)
        if annotation is None and default is _NONE:
            continue
        annotation = annotation or kind
        found = _property(annotation, value, names) if annotation else _by_value(default)
        properties[name] = found | ({"description": note} if note else {})
        required = required - {name} if value is not None else required | {name}
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = [name for name in properties if name in required]
    return {**schema, "additionalProperties": False}


def _documentation(*nodes: Function | ast.Module) -> dict[str, str]:
    """The first docstring: the handler's own, else its module's."""
    found = next(filter(None, map(ast.get_docstring, nodes)), "")
    text = clean(found).strip()[:_NOTE]
    if not text:
        return {}
    title = text.partition("\n")[0].strip()
    return {"title": title, **({"description": text} if text != title else {})}


def _property(annotation: ast.expr | None, default: ast.expr | None, names: Names) -> Schema:
    schema = schema_of(annotation, names)
    value = default_of(default, names)
    if value is None and schema and not _takes_null(schema):
        note = {key: schema.pop(key) for key in ("description",) if key in schema}
        branches = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
        schema = {"anyOf": [*branches, {"type": "null"}], **note}
    schema = schema if value is _NONE else {**schema, "default": value}
    return {} if any(oddities(schema)) else schema  # what cannot be stored is not promised


def _takes_null(schema: Mapping[str, Any]) -> bool:
    branches = schema.get("anyOf", [schema])
    return any(
        branch.get("type") == "null" or None in branch.get("enum", ()) for branch in branches
    )


def _by_value(value: Any) -> Schema:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    kinds |= {list: "array", dict: "object"}
    kind = kinds.get(type(value))
    schema = {**({"type": kind} if kind else {}), "default": value}
    return {} if any(oddities(schema)) else schema


def _comment(statement: ast.stmt, lines: Sequence[str]) -> tuple[ast.expr | None, str]:
    """The type and the help that the comment behind a statement gives."""
    line = (
        lines[(statement.end_lineno or 0) - 1] if (statement.end_lineno or 0) <= len(lines) else ""
    )
    rest = line.encode("utf-8", "replace")[statement.end_col_offset or 0 :].decode(
        "utf-8", "replace"
    )
    match = _COMMENT.fullmatch(rest.strip())
    if match is None:
        return None, ""
    try:
        kind = parse_expression(match["type"]) if match["type"] else None
    except Unparsable:
        kind = None
    return kind, clean(match["help"]).strip()[:_NOTE]


def default_of(node: ast.expr | None, names: Names) -> Any:
    """A default as a JSON value; `_NONE` when there is none or it is more than a literal."""
    if node is None:
        return _NONE
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=member):
            return (names.enum_values(name) or {}).get(member, _NONE)
        case ast.Call(func=function) if names.dotted(function) in _MADE:
            return _made(node, _MADE[names.dotted(function)])
    try:
        return _as_json(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return _NONE


def _made(node: ast.Call, kind: Any) -> Any:
    try:
        arguments = [ast.literal_eval(argument) for argument in node.args]
        named = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
        value = kind(*arguments, **named)
    except (ValueError, TypeError, ArithmeticError, SyntaxError, RecursionError):
        return _NONE
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
