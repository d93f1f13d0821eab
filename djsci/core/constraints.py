"""What `Annotated`, pydantic's `Field` and annotated_types say of a value, as JSON Schema."""

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import patterns
from .defaults import NO_DEFAULT, default_of
from .events import clean
from .jsontext import oddities
from .names import Names

Schema = dict[str, Any]
Words = dict[str, ast.expr]

NOTE = 4_000  # characters of documentation that a schema carries
FIELD = frozenset({"pydantic.Field", "pydantic.fields.Field"})
_LENGTHS = ("min_length", "max_length")
_POSITIONAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(FIELD, ("default",)),
    "pydantic.StringConstraints": (),
    "pydantic.types.StringConstraints": (),
    "typing_extensions.Doc": ("description",),
    "annotated_types.doc": ("description",),
    "annotated_types.Interval": (),
    "annotated_types.MultipleOf": ("multiple_of",),
    "annotated_types.MinLen": ("min_length",),
    "annotated_types.MaxLen": ("max_length",),
    "annotated_types.Len": _LENGTHS,
    **{f"annotated_types.{name.title()}": (name,) for name in ("ge", "gt", "le", "lt")},
}
_NUMBERS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_SIZES = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_SIGNS: dict[str, Schema] = {
    "Positive": {"exclusiveMinimum": 0},
    "NonNegative": {"minimum": 0},
    "Negative": {"exclusiveMaximum": 0},
    "NonPositive": {"maximum": 0},
}
TYPES: dict[str, Schema] = {
    **{
        f"pydantic.{sign}{name}": {"type": kind, **bound}
        for sign, bound in _SIGNS.items()
        for name, kind in (("Int", "integer"), ("Float", "number"))
    },
    "pydantic.StrictStr": {"type": "string"},
    "pydantic.StrictInt": {"type": "integer"},
    "pydantic.StrictFloat": {"type": "number"},
    "pydantic.StrictBool": {"type": "boolean"},
    "pydantic.FiniteFloat": {"type": "number"},
    "pydantic.EmailStr": {"type": "string", "format": "email"},
    "pydantic.HttpUrl": {"type": "string", "format": "uri"},
    "pydantic.AnyUrl": {"type": "string", "format": "uri"},
    "pydantic.AnyHttpUrl": {"type": "string", "format": "uri"},
    "pydantic.SecretStr": {"type": "string"},
}
_CALLS: dict[str, Schema] = {
    "pydantic.conint": {"type": "integer"},
    "pydantic.confloat": {"type": "number"},
    "pydantic.constr": {"type": "string"},
}


def words_of(note: ast.expr, names: Names) -> Words:
    """What a piece of an `Annotated`, or a `Field(...)`, says, by pydantic's words."""
    match note:
        case ast.Constant(value=str()):
            return {"description": note}
        case ast.Call(func=function, args=arguments, keywords=keywords):
            positional = _POSITIONAL.get(names.dotted(function))
            if positional is not None:
                named = {word.arg: word.value for word in keywords if word.arg}
                return {**dict(zip(positional, arguments, strict=False)), **named}
    return {}


def merged(notes: Iterable[ast.expr], names: Names) -> Words:
    """What all pieces say; of two that say the same the first."""
    words: Words = {}
    for note in notes:
        words = {**words_of(note, names), **words}
    return words


def apply(schema: Schema, words: Words, names: Names) -> Schema:
    """`schema` with the bounds that fit its type, and with its description, title and examples."""
    values = {name: default_of(node, names) for name, node in words.items()}
    if "anyOf" in schema:
        schema = {**schema, "anyOf": [_bounded(each, values) for each in schema["anyOf"]]}
    else:
        schema = _bounded(schema, values)
    for name in ("title", "description"):
        if isinstance(text := values.get(name), str) and (text := clean(text).strip()[:NOTE]):
            names.spend(len(text))
            schema = {**schema, name: text}
    examples = values.get("examples")
    if isinstance(examples, list) and not any(oddities(examples)):
        schema = {**schema, "examples": examples}
    return schema


def of_call(
    dotted: str, node: ast.Call, names: Names, inner: Callable[[ast.expr | None], Schema]
) -> Schema:
    """The schema of a call that makes a type: `conint(ge=1)`, `conlist(int, max_length=3)`."""
    words = {word.arg: word.value for word in node.keywords if word.arg}
    if dotted in _CALLS:
        return apply(dict(_CALLS[dotted]), words, names)
    if dotted == "pydantic.conlist" and node.args:
        items = inner(node.args[0])
        return apply({"type": "array", **({"items": items} if items else {})}, words, names)
    return {}


def _bounded(schema: Schema, values: Mapping[str, Any]) -> Schema:
    kind = schema.get("type")
    found: Schema = {}
    if kind in ("integer", "number"):
        found = {_NUMBERS[name]: value for name, value in values.items() if name in _NUMBERS}
        found = {name: value for name, value in found.items() if _is_bound(name, value)}
    elif kind in _SIZES:
        pairs = zip(_SIZES[kind], _LENGTHS, strict=True)
        found = {name: values.get(word, NO_DEFAULT) for name, word in pairs}
        found = {name: value for name, value in found.items() if _is_size(value)}
        pattern = values.get("pattern", values.get("regex"))
        if kind == "string" and isinstance(pattern, str) and patterns.is_read(pattern):
            found["pattern"] = pattern
    return {**schema, **found}


def _is_bound(name: str, value: Any) -> bool:
    """Whether a number bounds others; multiples of a fraction are for decimals to tell."""
    if isinstance(value, bool) or not isinstance(value, int | float) or any(oddities(value)):
        return False
    if isinstance(value, int) and value.bit_length() > 1000:
        return False
    return name != "multipleOf" or (isinstance(value, int) and value > 0)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
