"""What kind of class a source defines, and the classes that it has its fields from."""

import ast
from dataclasses import dataclass
from typing import Any, Literal

from .constraints import Words
from .names import Names

Kind = Literal["typeddict", "dataclass", "namedtuple", "pydantic"]

ANY_OBJECT: dict[str, Any] = {"type": "object"}
_DEEPEST = 30
_ROOTS: dict[str, Kind] = {
    "typing.TypedDict": "typeddict",
    "typing_extensions.TypedDict": "typeddict",
    "typing.NamedTuple": "namedtuple",
    "typing_extensions.NamedTuple": "namedtuple",
    "pydantic.BaseModel": "pydantic",
    "pydantic.main.BaseModel": "pydantic",
}
_HOLDERS = ("pydantic.RootModel", "pydantic.root_model.RootModel")
_PLAIN = frozenset(
    {"object", "abc.ABC", "typing.Generic", "typing.Protocol", "typing_extensions.Generic"}
)
_MAKERS = ("dataclasses.dataclass", "pydantic.dataclasses.dataclass")
_DECORATORS = frozenset({"typing.final", "typing_extensions.final", "functools.total_ordering"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A class and its bases, bases first, those without fields left out.

    `held` is what a `RootModel` holds; `config` are the words of a pydantic model's configuration.
    """

    kind: Kind
    classes: tuple[ast.ClassDef, ...]
    config: Words
    held: ast.expr | None = None

    @property
    def is_closed(self) -> bool:
        """Whether a name that is no field is refused."""
        if self.kind == "pydantic":
            return is_literal(self.config.get("extra"), "forbid")
        if self.kind == "typeddict":
            return is_literal(keywords(self.classes[-1]).get("closed"), True)
        return True


class _Unknown(Exception):
    """Only executing the source would tell."""


def lineage_of(node: ast.ClassDef, names: Names) -> Lineage | None:
    """The lineage of a class of the four kinds, None for any other."""
    walk = _Walk(names)
    try:
        walk.visit(node, 0)
    except _Unknown:
        return None
    makers = {id(each) for each in walk.order if _is_made(each, names)}
    if len(walk.roots) > 1 or (walk.roots and makers):
        return None
    if makers:
        made = tuple(each for each in walk.order if id(each) in makers)
        return Lineage(kind="dataclass", classes=made, config={})
    if not walk.roots:
        return None
    config: Words = {}
    for each in walk.order:
        config |= _config(each)
    kind = walk.roots.pop()
    return Lineage(kind=kind, classes=tuple(walk.order), config=config, held=walk.held)


class _Walk:
    def __init__(self, names: Names) -> None:
        self.names = names
        self.order: list[ast.ClassDef] = []
        self.roots: set[Kind] = set()
        self.held: ast.expr | None = None
        self._seen: set[int] = set()

    def visit(self, node: ast.ClassDef, depth: int) -> None:
        if depth > _DEEPEST or "metaclass" in keywords(node):
            raise _Unknown
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        for decorator in node.decorator_list:
            name = self.names.dotted(_called(decorator))
            if name not in _MAKERS and name not in _DECORATORS:
                raise _Unknown
        for base in reversed(node.bases):  # of two bases the first counts, so it comes last
            self._base(base, depth)
        self.order.append(node)

    def _base(self, base: ast.expr, depth: int) -> None:
        part = base.slice if isinstance(base, ast.Subscript) else None
        plain = base.value if isinstance(base, ast.Subscript) else base
        dotted = self.names.dotted(plain)
        if isinstance(plain, ast.Name) and not dotted and plain.id in self.names.classes:
            if self.names.is_unsure(plain.id):
                raise _Unknown
            self.visit(self.names.classes[plain.id], depth + 1)
        elif dotted in _ROOTS:
            self.roots.add(_ROOTS[dotted])
        elif dotted in _HOLDERS and part is not None:
            self.roots.add("pydantic")
            self.held = part
        elif dotted not in _PLAIN:
            raise _Unknown


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _is_made(node: ast.ClassDef, names: Names) -> bool:
    return any(names.dotted(_called(each)) in _MAKERS for each in node.decorator_list)


def keywords(node: ast.ClassDef | ast.Call) -> Words:
    """The keywords of a class statement or a call, by name."""
    return {word.arg: word.value for word in node.keywords if word.arg}


def is_literal(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def _config(node: ast.ClassDef) -> Words:
    """The words of `model_config = ConfigDict(…)`, of `class Config`, and of the class's own."""
    words = keywords(node)
    for statement in node.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="model_config")], value=value)
                | ast.AnnAssign(target=ast.Name(id="model_config"), value=value)
            ):
                words |= _words(value)
            case ast.ClassDef(name="Config", body=body):
                for inner in body:
                    match inner:
                        case ast.Assign(targets=[ast.Name(id=name)], value=value):
                            words[name] = value
    return words


def _words(value: ast.expr | None) -> Words:
    match value:
        case ast.Call():
            return keywords(value)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {
                key.value: each
                for key, each in pairs
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
    return {}
