"""Signatures and `parameters` cells -> the JSON Schema of a source's parameters."""

import ast
import re
from collections.abc import Iterable, Sequence
from typing import Any

from . import docstrings
from .annotations import Schema, schema_of
from .constraints import NOTE
from .defaults import NO_DEFAULT, default_of, with_default
from .events import clean
from .handlers import Function
from .jsontext import oddities, parse_json
from .names import Names
from .parameters import from_text, of_request, validate
from .syntax import Unparsable, parse_expression

__all__ = [
    "from_text",
    "handler_schema",
    "of_handler",
    "of_parameters_cell",
    "of_request",
    "parse_json",
    "takes_any",
    "validate",
]

NO_PARAMETERS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
ANY_PARAMETERS: Schema = {"type": "object", "properties": {}, "additionalProperties": True}

_COMMENT = re.compile(r"#\s*(?:type:\s*(?P<type>\S+)\s*)?(?P<help>.*)")


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
    text, said = docstrings.read(ast.get_docstring(node))
    schema: Schema = {"type": "object", **_documentation(text, *modules[:1])}
    schema["properties"] = {
        argument.arg: _property(
            argument.annotation, default, names, said=said.get(argument.arg, "")
        )
        for argument, default in pairs
    }
    required = [argument.arg for argument, default in pairs if default is None]
    if required:
        schema["required"] = required
    schema["additionalProperties"] = node.args.kwarg is not None or not pairs
    return schema


def takes_any(schema: Schema, node: Function | None = None) -> bool:
    """Whether code of this schema is given parameters; not a function that takes a request only."""
    if node is not None and not node.args.kwarg and not schema.get("properties"):
        return False
    return bool(schema.get("properties") or schema.get("additionalProperties", True))


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
        if annotation is None and default is NO_DEFAULT:
            continue
        annotation = annotation or kind
        found = _property(annotation, value, names) if annotation else _by_value(default)
        properties[name] = found | ({"description": note} if note else {})
        required = required - {name} if value is not None else required | {name}
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = [name for name in properties if name in required]
    return {**schema, "additionalProperties": False}


def _documentation(text: str, *modules: ast.Module) -> dict[str, str]:
    """The handler's docstring, else its module's."""
    found = text or next(filter(None, map(ast.get_docstring, modules)), "")
    text = clean(found).strip()[:NOTE]
    if not text:
        return {}
    title = text.partition("\n")[0].strip()
    return {"title": title, **({"description": text} if text != title else {})}


def _property(
    annotation: ast.expr | None, default: ast.expr | None, names: Names, *, said: str = ""
) -> Schema:
    schema = with_default(schema_of(annotation, names), default_of(default, names))
    text = clean(said)[:NOTE]
    return {**schema, "description": text} if text and "description" not in schema else schema


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
    return kind, clean(match["help"]).strip()[:NOTE]
