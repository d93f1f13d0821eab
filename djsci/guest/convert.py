"""A JSON value becomes what an annotation names: date, Decimal, Enum, dataclass, and so on."""

import collections.abc
import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from .files import File

_DATE = r"\d{4}-\d\d-\d\d"
_TIME = r"\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?"
_PATTERNS: dict[type, re.Pattern[str]] = {
    date: re.compile(_DATE),
    time: re.compile(_TIME, re.IGNORECASE),
    datetime: re.compile(f"{_DATE}[T ]{_TIME}", re.IGNORECASE),
    UUID: re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE),
}
_DURATION = re.compile(
    r"(?P<sign>[+-])?P(?!$)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?!$)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_LISTS: dict[Any, Callable[[Any], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Unfit(ValueError):
    """A value is not what its annotation says."""


def convert_value(annotation: Any, value: Any) -> Any:
    """`value` as `annotation` names it; unchanged where the annotation is not known here.

    Raises `Unfit`.
    """
    annotation = _bare(annotation)
    origin = typing.get_origin(annotation)
    if isinstance(value, File):
        return value
    if annotation is None or annotation is types.NoneType:
        return _require(value, value is None, annotation)
    if origin is typing.Literal:
        return _member(annotation, typing.get_args(annotation), value)
    if origin is typing.Union or origin is types.UnionType:
        return _union(annotation, value)
    if (origin or annotation) is tuple:
        return _tuple(annotation, value)
    if (origin or annotation) in _LISTS:
        inner = typing.get_args(annotation) or (Any,)
        items = _require(value, isinstance(value, list), annotation)
        return _LISTS[origin or annotation](convert_value(inner[0], item) for item in items)
    if (origin or annotation) in _MAPPINGS:
        return _mapping(annotation, value)
    return _object(annotation, value) if isinstance(annotation, type) else value


def _bare(annotation: Any) -> Any:
    """Without `Annotated`, `Required`, `NewType` and names for types."""
    while True:
        if typing.get_origin(annotation) in (
            typing.Annotated,
            typing.Required,
            typing.NotRequired,
            typing.Final,
        ):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, dataclasses.InitVar):
            annotation = annotation.type
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _require(value: Any, is_fit: bool, annotation: Any) -> Any:
    if not is_fit:
        name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        raise Unfit(f"{value!r:.200} is not {name}")
    return value


def _member(annotation: Any, members: Any, value: Any) -> Any:
    for member in members:
        plain = member.value if isinstance(member, Enum) else member
        if plain == value and isinstance(plain, bool) == isinstance(value, bool):
            return member
    return _require(value, False, annotation)


def _union(annotation: Any, value: Any) -> Any:
    members = [_bare(member) for member in typing.get_args(annotation)]
    if type(value) in (bool, int, float) and type(value) in members:
        return value
    for member in members:
        try:
            return convert_value(member, value)
        except Unfit:
            continue
    return _require(value, False, annotation)


def _tuple(annotation: Any, value: Any) -> tuple[Any, ...]:
    inner = typing.get_args(annotation) or (Any, ...)
    items = _require(value, isinstance(value, list), annotation)
    if len(inner) == 2 and inner[1] is ...:
        inner = inner[:1] * len(items)
    _require(value, len(inner) == len(items), annotation)
    return tuple(convert_value(kind, item) for kind, item in zip(inner, items, strict=True))


def _mapping(annotation: Any, value: Any) -> dict[Any, Any]:
    kinds = typing.get_args(annotation) or (Any, Any)
    items: dict[str, Any] = _require(value, isinstance(value, dict), annotation)
    return {_key(kinds[0], key): convert_value(kinds[1], item) for key, item in items.items()}


def _key(annotation: Any, key: str) -> Any:
    kind = _bare(annotation)
    if kind in (int, float):
        try:
            return kind(key)
        except ValueError:
            return _require(key, False, annotation)
    return convert_value(kind, key)


def _object(kind: type, value: Any) -> Any:
    try:
        if issubclass(kind, Enum):
            return _member(kind, kind, value)
        if kind in _SCALARS:
            return _SCALARS[kind](kind, value)
        if typing.is_typeddict(kind):
            return _fields(kind, _require(value, isinstance(value, dict), kind))
        if dataclasses.is_dataclass(kind) or _is_named_tuple(kind):
            return kind(**_fields(kind, _require(value, isinstance(value, dict), kind)))
        if callable(getattr(kind, "model_validate_json", None)):
            return _validated(kind, value)
        if callable(validate := getattr(kind, "model_validate", None)):
            return validate(value)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise error if isinstance(error, Unfit) else Unfit(f"{value!r:.200}: {error}") from error
    return value


def _validated(kind: Any, value: Any) -> Any:
    """A pydantic model. As JSON its strict fields take text for a date."""
    try:
        text = json.dumps(value)
    except TypeError:  # it holds a File
        return kind.model_validate(value)
    return kind.model_validate_json(text)


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_field_defaults")


def _defaults(kind: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind):
        return {field.name: field.default for field in dataclasses.fields(kind)}
    return dict(getattr(kind, "_field_defaults", {}))


def _fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except Exception:
        hints = {}  # a name that is not there at run time: those values stay as they are
    unset = _defaults(kind)
    converted = {}
    for name, value in values.items():
        try:
            is_unset = value is None and unset.get(name, ...) is None
            converted[name] = None if is_unset else convert_value(hints.get(name, Any), value)
        except Unfit as error:
            raise Unfit(f"{name}: {error}") from error.__cause__
    return converted


def _number(kind: type, value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_fit = is_number and (kind is float or value == int(value))
    return kind(_require(value, is_fit, kind))


def _same(kind: type, value: Any) -> Any:
    return _require(value, type(value) is kind, kind)


def _time(kind: Any, value: Any) -> Any:
    is_fit = isinstance(value, str) and _PATTERNS[kind].fullmatch(value) is not None
    return kind.fromisoformat(_require(value, is_fit, kind).upper())


def _uuid(kind: type, value: Any) -> UUID:
    is_fit = isinstance(value, str) and _PATTERNS[UUID].fullmatch(value) is not None
    return UUID(_require(value, is_fit, kind))


def _decimal(kind: type, value: Any) -> Decimal:
    _require(value, isinstance(value, (str, int, float)) and not isinstance(value, bool), kind)
    number = Decimal(str(value))
    return number if number.is_finite() else _require(value, False, kind)


def _duration(kind: type, value: Any) -> timedelta:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return timedelta(seconds=value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        _require(value, False, kind)
    parts = match.groupdict() if match else {}
    sign = -1 if parts.pop("sign", None) == "-" else 1
    return sign * timedelta(**{name: float(part) for name, part in parts.items() if part})


def _path(kind: Any, value: Any) -> Any:
    return kind(_require(value, isinstance(value, str), kind))


_SCALARS: dict[Any, Callable[[Any, Any], Any]] = {
    **dict.fromkeys((int, float), _number),
    **dict.fromkeys((str, bool), _same),
    **dict.fromkeys((date, time, datetime), _time),
    **dict.fromkeys((Path, PurePath), _path),
    UUID: _uuid,
    Decimal: _decimal,
    timedelta: _duration,
}
