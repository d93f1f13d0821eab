"""A source's parameters as a command's help shows them."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

_KINDS = {"string": "text", "integer": "whole number", "null": "null", "binary": "file, as @PATH"}


def of_source(name: str, schema: Mapping[str, Any]) -> str:
    """The parameters of the file `name`, from their JSON Schema."""
    lines = [f"usage: djsci run {name} [-p NAME=VALUE ...] [options]"]
    about = schema.get("description") or schema.get("title")
    if about:
        lines += ["", str(about)]
    properties = schema.get("properties", {})
    lines += ["", "parameters:" if properties else "parameters: none"]
    for parameter, part in properties.items():
        is_required = parameter in schema.get("required", ())
        lines += _entry(parameter, part, schema.get("$defs", {}), is_required=is_required)
    if schema.get("additionalProperties") is not False:
        lines.append("  any other NAME=VALUE")
    return "\n".join([*lines, "", "`djsci run --help` shows the options."]) + "\n"


def _entry(
    name: str, part: Mapping[str, Any], parts: Mapping[str, Any], *, is_required: bool
) -> list[str]:
    head = f"  {name}: {_kind(part, parts)}"
    if "default" in part:
        head += f" = {_json(part['default'])}"
    elif is_required:
        head += "  (required)"
    note = str(part.get("description", "")).strip()
    return [head, *(textwrap.indent(line, "      ") for line in textwrap.wrap(note, 80))]


def _kind(part: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "$ref" in part:
        return str(parts.get(part["$ref"].rpartition("/")[2], {}).get("title", "object"))
    if "anyOf" in part:
        return " or ".join(_kind(branch, parts) for branch in part["anyOf"])
    if "enum" in part:
        return " | ".join(_json(value) for value in part["enum"])
    if part.get("type") == "array":
        items = part.get("items") or {}
        return f"list of {_kind(items, parts)}" if items else "list"
    kind = part.get("format") or part.get("type") or "anything"
    bounds = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    said = [f" {sign} {part[key]}" for key, sign in bounds.items() if key in part]
    shown = " or ".join(kind) if isinstance(kind, list) else _KINDS.get(kind, kind)
    return f"{shown}{','.join(said)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
