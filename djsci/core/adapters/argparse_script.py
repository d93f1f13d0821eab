"""Scripts that read their arguments with argparse: the form is read from `add_argument` calls."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from djsci.core.annotations import Schema
from djsci.core.events import clean
from djsci.core.jsontext import oddities

from .base import Adapter, Code, shim_text, statements

ARGV = "argv"
_GROUPS = ("add_argument_group", "add_mutually_exclusive_group")
_TYPES = {"int": "integer", "float": "number", "str": "string"}
_FLAGS = {"store_true": True, "store_false": False}
_TAKEN = ("store", "append", "count", "extend", *_FLAGS)
_UNKNOWN = object()


class Unreadable(Exception):
    """The arguments are made while the script runs."""


class ArgparseScript(Adapter):
    """`if __name__ == "__main__"` with an `ArgumentParser`; the script is run as one.

    Where the arguments cannot be read from the text, such as those of subcommands, there is one
    parameter, `argv`.
    """

    name: ClassVar[str] = "argparse"
    is_script: ClassVar[bool] = True

    def reads(self, code: Code) -> bool:
        return (
            code.kind == "py"
            and any(map(_is_guard, statements(code.trees)))
            and any(
                _is_call(node, "ArgumentParser") for tree in code.trees for node in ast.walk(tree)
            )
        )

    def parameters(self, code: Code) -> Schema:
        about = _about(code.trees)
        try:
            arguments = _arguments(code.trees)
        except Unreadable:
            items = {"type": "array", "items": {"type": "string"}, "default": []}
            note = "The arguments, one text each, as on a command line."
            properties: Schema = {ARGV: {**items, "description": note}}
            required: list[str] = []
        else:
            properties = {one["name"]: one["schema"] for one in arguments}
            required = [one["name"] for one in arguments if one["required"]]
        schema: Schema = {"type": "object", **({"title": about} if about else {})}
        schema["properties"] = properties
        if required:
            schema["required"] = required
        return {**schema, "additionalProperties": False}

    def shim(self, code: Code) -> str:
        try:
            kept = ("name", "flag", "how")
            spec = [{key: one[key] for key in kept} for one in _arguments(code.trees)]
        except Unreadable:
            spec = [{"name": ARGV, "flag": "", "how": "raw"}]
        return shim_text("argparse_script", spec)


def _is_guard(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            return {ast.unparse(left), ast.unparse(right)} == {"__name__", "'__main__'"}
    return False


def _is_call(node: ast.AST, *names: str) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in names
    return False


def _about(trees: Sequence[ast.Module]) -> str:
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_call(node, "ArgumentParser"):
                text = _keywords(node).get("description")
                if isinstance(text, str):
                    return clean(text).strip().partition("\n")[0][:1000]
    return clean(ast.get_docstring(trees[0]) or "").partition("\n")[0][:1000]


def _arguments(trees: Sequence[ast.Module]) -> list[dict[str, Any]]:
    """Each argument: name, schema, required, and how its value is put on the command line."""
    calls = [node for tree in trees for node in _calls(tree)]
    if any(_is_call(node, "add_subparsers", "parse_known_args") for node in calls):
        raise Unreadable
    if sum(_is_call(node, "ArgumentParser") for node in calls) != 1:
        raise Unreadable
    looped = {
        id(inner)
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.For | ast.While | ast.comprehension)
        for inner in ast.walk(node)
    }
    found: list[dict[str, Any]] = []
    for call in calls:
        if _is_call(call, "add_argument"):
            if id(call) in looped:
                raise Unreadable
            found += _argument(call)
    names = [one["name"] for one in found]
    if len(names) != len(set(names)):
        raise Unreadable
    return found


def _calls(tree: ast.Module) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset, node.end_col_offset or 0))


def _keywords(call: ast.Call) -> dict[str, Any]:
    """The named arguments as values, those that are more than literals as `_UNKNOWN`."""
    if any(word.arg is None for word in call.keywords):
        raise Unreadable
    return {str(word.arg): _literal(word.value) for word in call.keywords}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return _UNKNOWN


def _argument(call: ast.Call) -> Iterator[dict[str, Any]]:
    flags = [_literal(node) for node in call.args]
    words = _keywords(call)
    action = _action(call)
    if not flags or not all(isinstance(flag, str) for flag in flags) or action is None:
        raise Unreadable
    if action in ("help", "version"):
        return
    is_option = flags[0].startswith("-")
    longest = next((flag for flag in flags if flag.startswith("--")), flags[0])
    name = words.get("dest", longest.lstrip("-").replace("-", "_") if is_option else flags[0])
    nargs = words.get("nargs")
    if not isinstance(name, str) or nargs is _UNKNOWN or nargs in ("A...", "..."):
        raise Unreadable
    is_required = words.get("required", False) is True if is_option else nargs not in ("?", "*")
    yield {
        "name": name,
        "flag": longest if is_option else "",
        "how": _how(action, nargs),
        "required": is_required,
        "schema": _schema(call, words, action, nargs),
    }


def _action(call: ast.Call) -> str | None:
    node = next((word.value for word in call.keywords if word.arg == "action"), None)
    match node:
        case None:
            return "store"
        case ast.Constant(value=str(name)) if name in (*_TAKEN, "help", "version"):
            return name
        case ast.Name(id=name) | ast.Attribute(attr=name) if name == "BooleanOptionalAction":
            return "optional"
    return None


def _how(action: str, nargs: Any) -> str:
    if action != "store":
        return "append_list" if action in ("append", "extend") and nargs is not None else action
    return "store" if nargs in (None, "?") else "list"


def _schema(call: ast.Call, words: dict[str, Any], action: str, nargs: Any) -> Schema:
    schema = _value_schema(call, words)
    if action in (*_FLAGS, "optional"):
        schema = {"type": "boolean"}
        if action in _FLAGS:
            schema["default"] = not _FLAGS[action]
    elif action == "count":
        schema = {"type": "integer", "minimum": 0}
    elif action in ("append", "extend") or nargs not in (None, "?"):
        schema = {"type": "array", **({"items": schema} if schema else {})}
        if action == "append" and nargs is not None:
            schema = {"type": "array", "items": schema}
        if isinstance(nargs, int) and action == "store":
            schema |= {"minItems": nargs, "maxItems": nargs}
        if nargs == "+":
            schema["minItems"] = 1
    default = words.get("default", _UNKNOWN)
    if isinstance(default, tuple):
        default = list(default)
    if default is not _UNKNOWN and default is not None and not any(oddities(default)):
        schema["default"] = default
    text = words.get("help")
    if isinstance(text, str):
        schema["description"] = clean(text.replace("%%", "%"))[:1000]
    return schema


def _value_schema(call: ast.Call, words: dict[str, Any]) -> Schema:
    node = next((word.value for word in call.keywords if word.arg == "type"), None)
    schema: Schema = {"type": "string"} if node is None else {}
    match node:
        case ast.Name(id=name) if name in _TYPES:
            schema = {"type": _TYPES[name]}
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in ("Path", "FileType"):
            schema = {"type": "string"}
    choices = words.get("choices", _UNKNOWN)
    if isinstance(choices, list | tuple) and choices and not any(oddities(list(choices))):
        schema["enum"] = list(choices)
    return schema
