"""Classes of a source whose instances a JSON object makes -> their schema; nothing is executed.

TypedDict, dataclass, NamedTuple and pydantic's BaseModel. A class that only executing it would
describe (a base from elsewhere, an `__init__` of its own, fields inside an `if`) is not described.
"""

import ast
import json
from collections.abc import Callable
from typing import Any

from . import docstrings
from .constraints import NOTE, apply
from .defaults import default_of, with_default
from .events import clean
from .lineage import ANY_OBJECT, Lineage, lineage_of
from .members import Member, members_of
from .names import Names

Schema = dict[str, Any]
Inner = Callable[[ast.expr | None], Schema]


def of_class(name: str, names: Names, inner: Inner) -> Schema:
    """The schema of a class of the source, `{}` where it is none of the kinds that are read.

    `inner` gives the schema of an annotation. A class inside itself is any object: the worker,
    which has the class, checks it.
    """
    node = names.classes[name]
    lineage = lineage_of(node, names)
    if lineage is None:
        return {}
    if name in names.opened or not names.spend(40):
        return dict(ANY_OBJECT)
    names.opened.append(name)
    try:
        if lineage.held is not None:
            return inner(lineage.held)
        return _described(node, lineage, names, inner)
    finally:
        names.opened.pop()


def _described(node: ast.ClassDef, lineage: Lineage, names: Names, inner: Inner) -> Schema:
    members = members_of(lineage, names)
    if members is None:
        return dict(ANY_OBJECT)
    text, said = docstrings.read(ast.get_docstring(node))
    text = clean(text)[:NOTE]
    schema = dict(ANY_OBJECT)
    if text and names.spend(len(text)):
        schema["description"] = text
    schema["properties"] = {
        member.alias: _property(member, lineage, names, inner, said.get(name, ""))
        for name, member in members.items()
    }
    required = [member.alias for member in members.values() if member.is_required]
    if required:
        schema["required"] = required
    if lineage.is_closed:
        schema["additionalProperties"] = False
    return schema


def _property(member: Member, lineage: Lineage, names: Names, inner: Inner, said: str) -> Schema:
    schema = inner(member.annotation)
    text = clean(member.text or said).strip()[:NOTE]
    if text and "description" not in schema:
        schema = {**schema, "description": text}
    schema = apply(schema, member.words, names)
    schema = with_default(
        schema, default_of(member.default, names), adds_null=lineage.kind != "pydantic"
    )
    return schema if names.spend(len(member.alias) + len(json.dumps(schema))) else {}
