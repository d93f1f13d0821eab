"""Parameters out of what was typed into a file's form."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpRequest, QueryDict

from djsci.core import schema as parameters_schema
from djsci.core.errors import BadParameters, BadRequest
from djsci.core.jsontext import parse_json
from djsci.guest.requests import UploadedFile

from . import fields
from .fields import WHOLE, Field


def parameters(schema: Mapping[str, Any], typed: QueryDict) -> dict[str, Any]:
    """The values that were typed; a field left empty leaves the handler its default.

    Raises `BadParameters` where a JSON field holds none.
    """
    found = fields.of_schema(schema, typed=typed)
    if not schema.get("properties"):
        whole = next((field.value for field in found if field.name == WHOLE), "")
        return _whole(whole) if whole.strip() else {}
    return _object(schema, found)


def file_fields(found: Iterable[Field]) -> list[Field]:
    """The fields that take files, in groups too."""
    every = [each for field in found for each in (field, *file_fields(field.fields))]
    return [field for field in every if field.kind in fields.FILES]


def files(schema: Mapping[str, Any], request: HttpRequest) -> list[tuple[str, UploadedFile]]:
    """The files that were chosen, each with the path of its parameter."""
    return [
        (
            ".".join(field.path),
            UploadedFile(
                name=part.name or "", content_type=part.content_type or "", content=part.read()
            ),
        )
        for field in file_fields(fields.of_schema(schema))
        for part in request.FILES.getlist(field.key)
    ]


def _object(schema: Mapping[str, Any], found: Iterable[Field]) -> dict[str, Any]:
    texts: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    for field in found:
        wanted = schema["properties"][field.name]
        if field.kind == "group":
            inner = _object(fields.branches_of(wanted)[0], field.fields)
            if inner or field.is_required:
                values[field.name] = inner
        elif field.kind in fields.FILES:
            continue  # they come beside the text
        elif field.kind == "any" and field.value.strip():
            values[field.name] = _anything(field.value)
        else:
            texts |= _texts(field, default=wanted.get("default"))
    return {**parameters_schema.from_text(schema, texts), **values}


def _texts(field: Field, *, default: Any) -> dict[str, list[str]]:
    if field.kind == "checkbox":
        return {field.name: ["true" if field.is_checked else "false"]}
    if field.kind == "choices":
        if field.chosen:
            return {field.name: list(field.chosen)}
        return {field.name: ["[]"]} if default or field.is_required else {}
    if not field.value.strip() and not (field.is_required and field.kind == "text"):
        return {}
    is_list = field.kind == "lines" and not field.value.lstrip().startswith("[")
    lines = [line for line in field.value.splitlines() if line.strip()]
    return {field.name: lines if is_list else [field.value]}


def _anything(text: str) -> Any:
    try:
        return parse_json(text)
    except BadRequest:
        return text


def _whole(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except BadRequest as error:
        raise BadParameters(errors=[{"field": WHOLE, "message": error.detail}]) from error
    if not isinstance(value, dict):
        message = "must be a JSON object"
        raise BadParameters(errors=[{"field": WHOLE, "message": message}])
    return value
