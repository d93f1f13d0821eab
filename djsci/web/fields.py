"""A form's fields out of a JSON Schema, with defaults, a run's parameters or what was typed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.http import QueryDict

from .kinds import Schema, is_nullable, kind_of, type_of
from .kinds import branches_of as branches_of

WHOLE = "parameters"  # the one field where nothing is known of the parameters
_PREFIX = "p-"
_HINTS = {
    "date-time": "2030-06-01T13:45:00Z",
    "time": "13:45:00",
    "duration": "seconds, or PT1M30S",
    "uuid": "a UUID",
}
FILES = ("file", "files")
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field. `kind` is an input's type, or checkbox, select, choices, lines, json, any, group.

    `choices` are checkboxes, `lines` a list, one item a line, `files` a list of files; `any` is
    JSON, else plain text; a `group` has `fields`.
    """

    path: tuple[str, ...]
    kind: str
    hint: str
    help: str
    is_required: bool
    id: str = ""
    value: str = ""
    chosen: tuple[str, ...] = ()
    is_checked: bool = False
    is_nullable: bool = False
    options: tuple[str, ...] = ()
    least: str = ""
    most: str = ""
    step: str = ""
    error: str = ""
    fields: "tuple[Field, ...]" = ()

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def key(self) -> str:
        """The name in the form: no parameter can be taken for a field of ours."""
        return _PREFIX + ".".join(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filling:
    """What the fields hold: what was typed, else these values, else the defaults."""

    typed: QueryDict | None
    errors: Mapping[str, str]


def of_schema(
    schema: Schema,
    *,
    typed: QueryDict | None = None,
    errors: Iterable[Mapping[str, Any]] = (),
    values: Mapping[str, Any] | None = None,
) -> list[Field]:
    """The fields, with what was typed and what is wrong with it, or with `values`."""
    if _takes_anything(schema):
        whole = {"type": "object", "description": "A JSON object, or nothing."}
        given = {WHOLE: values} if values else None
        schema = {"properties": {WHOLE: whole}}
        values = given
    messages = {str(error.get("field", "")): str(error.get("message", "")) for error in errors}
    filling = _Filling(typed=typed, errors=messages)
    return list(_fields(schema, (), "f", values or {}, filling))


def _takes_anything(schema: Schema) -> bool:
    return not schema.get("properties") and bool(schema.get("additionalProperties"))


def _fields(
    schema: Schema,
    path: tuple[str, ...],
    place: str,
    values: Mapping[str, Any],
    filling: _Filling,
) -> Iterable[Field]:
    required = schema.get("required") or ()
    for number, (name, wanted) in enumerate((schema.get("properties") or {}).items(), 1):
        value = values.get(name, wanted.get("default", _ABSENT))
        yield _field(
            wanted,
            path=(*path, name),
            id=f"{place}-{number}",
            value=value,
            is_required=name in required,
            filling=filling,
        )


def _field(
    wanted: Schema,
    *,
    path: tuple[str, ...],
    id: str,
    value: Any,
    is_required: bool,
    filling: _Filling,
) -> Field:
    branches = branches_of(wanted)
    kind = kind_of(wanted, depth=len(path))
    first = branches[0] if branches else {}
    whole = kind == "number" and {each.get("type") for each in branches} == {"integer"}
    field = Field(
        path=path,
        kind=kind,
        id=id,
        hint=_hint(branches, kind),
        help=str(wanted.get("description", "")),
        is_required=is_required,
        is_nullable=is_nullable(wanted),
        options=_options(first, kind),
        least=_bound(first, "minimum"),
        most=_bound(first, "maximum"),
        step=("1" if whole else "any") if kind == "number" else "",
        error=_error(path, kind, filling.errors),
    )
    if kind == "group":
        inner = value if isinstance(value, Mapping) else {}
        return replace(field, fields=tuple(_fields(first, path, id, inner, filling)))
    return _filled(field, value, filling.typed)


def _filled(field: Field, value: Any, typed: QueryDict | None) -> Field:
    if field.kind in FILES:
        return field  # no page can fill in a file that its reader has to choose
    if typed is not None:
        text = typed.get(field.key, "")
        chosen = tuple(typed.getlist(field.key)) if field.kind == "choices" else ()
        return replace(field, value=text, chosen=chosen, is_checked=text == "true")
    chosen = tuple(map(as_text, value)) if isinstance(value, list) else ()
    text = _shown(value, field.kind)
    return replace(field, value=text, chosen=chosen, is_checked=value is True)


def _hint(branches: list[Schema], kind: str) -> str:
    fixed = {
        "file": "a file",
        "files": "files",
        "lines": "one a line",
        "json": "JSON",
        "any": "JSON, else text",
        "choices": "",
    }
    if kind in fixed:
        return fixed[kind]
    words = [
        _HINTS.get(str(each.get("format"))) or str(each.get("format") or type_of(each) or "any")
        for each in branches
    ]
    return "" if kind in ("select", "group") else " or ".join(dict.fromkeys(words))


def _options(first: Schema, kind: str) -> tuple[str, ...]:
    if kind == "select":
        values = first.get("enum") or (True, False)
        return tuple(as_text(each) for each in values if each is not None)
    if kind == "choices":
        return tuple(as_text(each) for each in first["items"]["enum"])
    return ()


def _bound(first: Schema, name: str) -> str:
    value = first.get(name)
    return as_text(value) if isinstance(value, int | float) else ""


def _error(path: tuple[str, ...], kind: str, errors: Mapping[str, str]) -> str:
    """What is wrong here; what is wrong inside a field that is no group stands at the field."""
    own = ".".join(path)
    for place, message in errors.items():
        if place == own:
            return message
        if kind != "group" and place.startswith((f"{own}.", f"{own}[")):
            return f"{place.removeprefix(own).lstrip('.')} {message}"
    return ""


def _shown(value: Any, kind: str) -> str:
    """A value as it is typed in."""
    if value is _ABSENT or (value is None and kind != "json"):
        return ""
    if kind == "lines" and isinstance(value, list):
        return "\n".join(as_text(each) for each in value)
    if kind in ("json", "lines"):
        return json.dumps(value, ensure_ascii=False, indent=2) if value is not None else ""
    if kind == "any" and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return as_text(value)


def as_text(value: Any) -> str:
    """A scalar as people type it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
