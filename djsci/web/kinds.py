"""How a parameter is typed in, by its schema."""

from collections.abc import Mapping
from typing import Any

DEEPEST = 4  # fieldsets in fieldsets; below is JSON
_INPUTS = {
    "date": "date",
    "date-time": "text",
    "time": "text",
    "duration": "text",
    "binary": "file",
}
_SCALARS = ("string", "integer", "number")

Schema = Mapping[str, Any]


def branches_of(wanted: Schema) -> list[Schema]:
    """What a value may be, null aside."""
    return [each for each in wanted.get("anyOf", [wanted]) if each.get("type") != "null"]


def is_nullable(wanted: Schema) -> bool:
    """Whether null fits."""
    return any(each.get("type") == "null" for each in wanted.get("anyOf", [wanted]))


def kind_of(wanted: Schema, *, depth: int = 1) -> str:
    """How a parameter is typed in."""
    branches = branches_of(wanted)
    first = branches[0] if branches else {}
    kinds = {type_of(each) for each in branches}
    if len(branches) == 1:
        if first.get("enum"):
            return "select"
        if first.get("format") in _INPUTS:
            return _INPUTS[first["format"]]
        if kinds == {"object"} and first.get("properties") and depth < DEEPEST:
            return "group"
        items = first.get("items") or {}
        if kinds == {"array"} and items.get("format") == "binary":
            return "files"
        if kinds == {"array"} and items.get("enum") and not first.get("prefixItems"):
            return "choices"
    if kinds == {"boolean"}:
        return "select" if is_nullable(wanted) else "checkbox"
    if kinds <= {"integer", "number"}:
        return "number"
    if kinds == {"array"} and type_of(first.get("items") or {}) in _SCALARS:
        return "lines"
    if "array" in kinds or "object" in kinds:
        return "json"
    return "any" if "" in kinds else "text"


def type_of(branch: Schema) -> str:
    """The type, or that of the default where nothing else is known."""
    if "type" in branch or set(branch) - {"description"} != {"default"}:
        return str(branch.get("type", "any" if branch.get("enum") else ""))
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {**kinds, list: "array", dict: "object"}.get(type(branch["default"]), "")
