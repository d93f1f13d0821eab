"""A form's fields out of a JSON Schema, and the parameters out of what was typed in."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from djsci.core import schema as parameters_schema
from djsci.core.errors import BadParameters, BadRequest
from djsci.core.jsontext import parse_json

WHOLE = "parameters"  # the one field where nothing is known of the parameters
_PREFIX = "p-"
_INPUTS = {"date": "date", "date-time": "text", "time": "time"}
_SCALARS = ("string", "integer", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field. `kind` is an input's type, or checkbox, select, lines, json."""

    name: str
    kind: str
    hint: str
    help: str
    is_required: bool
    value: str = ""
    is_checked: bool = False
    options: tuple[str, ...] = ()
    error: str = ""

    @property
    def key(self) -> str:
        """The name in the form: no parameter can be taken for a field of ours."""
        return f"{_PREFIX}{self.name}"


def of_schema(
    schema: Mapping[str, Any],
    *,
    typed: QueryDict | None = None,
    errors: Iterable[Mapping[str, Any]] = (),
) -> list[Field]:
    """The fields, with what was typed and what is wrong with it."""
    messages = {str(error.get("field", "")).split(".")[0].split("[")[0]: error for error in errors}
    properties = schema.get("properties") or {}
    if not properties and schema.get("additionalProperties"):
        properties = {WHOLE: {"type": "object", "description": "A JSON object, or nothing."}}
    required = schema.get("required") or ()
    return [
        _field(
            name,
            wanted,
            is_required=name in required,
            typed=typed,
            error=str(messages.get(name, {}).get("message", "")),
        )
        for name, wanted in properties.items()
    ]


def _field(
    name: str, wanted: Mapping[str, Any], *, is_required: bool, typed: QueryDict | None, error: str
) -> Field:
    branches = [each for each in wanted.get("anyOf", [wanted]) if each.get("type") != "null"]
    kind = _kind(branches)
    value = _text(wanted.get("default"), kind)
    options: tuple[str, ...] = ()
    if kind == "select":
        options = tuple(_option(each) for each in branches[0]["enum"])
    if typed is not None:
        value = typed.get(f"{_PREFIX}{name}", "")
    return Field(
        name=name,
        kind=kind,
        hint=_hint(branches, kind),
        help=str(wanted.get("description", "")),
        is_required=is_required,
        value=value,
        is_checked=value == "true",
        options=options,
        error=error,
    )


def _kind(branches: list[Mapping[str, Any]]) -> str:
    first = branches[0] if branches else {}
    if len(branches) == 1 and first.get("enum"):
        return "select"
    kinds = {str(each.get("type")) for each in branches}
    if len(branches) == 1 and first.get("format") in _INPUTS:
        return _INPUTS[first["format"]]
    if kinds == {"boolean"}:
        return "checkbox"
    if kinds <= {"integer", "number"}:
        return "number"
    if kinds == {"array"} and first.get("items", {}).get("type") in _SCALARS:
        return "lines"
    if "array" in kinds or "object" in kinds:
        return "json"
    return "text"


def _hint(branches: list[Mapping[str, Any]], kind: str) -> str:
    if kind == "lines":
        return "one a line"
    if kind == "json":
        return "JSON"
    words = [str(each.get("format") or each.get("type") or "any") for each in branches]
    return " or ".join(dict.fromkeys(words))


def _text(default: Any, kind: str) -> str:
    """A default as it is typed in."""
    if default is None:
        return ""
    if kind == "lines" and isinstance(default, list):
        return "\n".join(_option(each) for each in default)
    if kind == "json":
        return json.dumps(default, ensure_ascii=False, indent=2)
    return _option(default)


def _option(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parameters(schema: Mapping[str, Any], typed: QueryDict) -> dict[str, Any]:
    """The values that were typed; a field left empty leaves the handler its default.

    Raises `BadParameters` where a JSON field holds none.
    """
    texts: dict[str, list[str]] = {}
    for field in of_schema(schema, typed=typed):
        if field.kind == "checkbox":
            texts[field.name] = ["true" if field.is_checked else "false"]
        elif field.value.strip() or (field.is_required and field.kind == "text"):
            is_list = field.kind == "lines" and not field.value.lstrip().startswith("[")
            lines = [line for line in field.value.splitlines() if line.strip()]
            texts[field.name] = lines if is_list else [field.value]
    if not schema.get("properties") and WHOLE in texts:
        return _whole(texts[WHOLE][0])
    return parameters_schema.from_text(schema, texts)


def _whole(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except BadRequest as error:
        raise BadParameters(errors=[{"field": WHOLE, "message": error.detail}]) from error
    if not isinstance(value, dict):
        message = "must be a JSON object"
        raise BadParameters(errors=[{"field": WHOLE, "message": message}])
    return value
