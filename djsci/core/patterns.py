"""Patterns of fields, matched in time that grows with the text only, as pydantic matches them."""

import functools
import re
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

from .jsontext import oddities

_LONGEST = 2_000  # characters of a pattern that is looked at


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` is found in `text`.

    A pattern comes from an uploaded file: Python's own `re` can take for ever over a short text.
    """
    validator = _validator(pattern)
    return validator is None or bool(validator.isinstance_python(text))


def is_read(pattern: str) -> bool:
    """Whether a schema may hold `pattern`: pydantic's engine and others read it."""
    if len(pattern) > _LONGEST or any(oddities(pattern)):
        return False
    try:
        re.compile(pattern)  # never matched: what JSON Schema's own schema asks of a pattern
    except (re.error, RecursionError, OverflowError):
        return False
    return _validator(pattern) is not None


@functools.lru_cache(maxsize=256)
def _validator(pattern: str) -> Any:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, strict=True))
    except SchemaError:
        return None
