"""The fields of a TypedDict, dataclass, NamedTuple or pydantic model, as its source names them."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .constraints import FIELD, Words, merged
from .lineage import Lineage, is_literal, keywords
from .names import Names
from .syntax import Unparsable, parse_expression

_TYPING = ("typing", "typing_extensions")
_MARKS = {
    **{f"{module}.{name}": name for module in _TYPING for name in ("Required", "NotRequired")},
    **{f"{module}.{name}": name for module in _TYPING for name in ("ReadOnly", "Final")},
    **{f"{module}.ClassVar": "ClassVar" for module in _TYPING},
    "dataclasses.InitVar": "InitVar",
    "dataclasses.KW_ONLY": "KW_ONLY",
}
_FACTORIES: dict[str, ast.expr] = {
    "list": ast.List(elts=[]),
    "tuple": ast.List(elts=[]),
    "set": ast.List(elts=[]),
    "dict": ast.Dict(keys=[], values=[]),
}
_MAKERS = {"__init__", "__new__"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One field: `alias` is its name in JSON, `default` what its source gives, if anything."""

    alias: str
    annotation: ast.expr | None
    words: Words
    is_required: bool
    default: ast.expr | None = None
    text: str = ""


class _Unknown(Exception):
    """Only executing the source would tell."""


def members_of(lineage: Lineage, names: Names) -> dict[str, Member] | None:
    """The fields by name, those of bases first; None where only executing would tell."""
    found: dict[str, Member] = {}
    try:
        rename = _renaming(lineage, names)
        for node in lineage.classes:
            if lineage.kind == "dataclass" and _is_made_by_hand(node):
                return None
            for name, member in _members(node, lineage, names, rename):
                found.pop(name, None) if member is None else found.update({name: member})
    except _Unknown:
        return None
    return found


def _is_made_by_hand(node: ast.ClassDef) -> bool:
    return any(
        is_literal(keywords(each).get("init"), False)
        for each in node.decorator_list
        if isinstance(each, ast.Call)
    )


def _members(
    node: ast.ClassDef, lineage: Lineage, names: Names, rename: Callable[[str], str]
) -> Iterator[tuple[str, Member | None]]:
    """Each field of one class by its name; None for one that takes no value."""
    taken: set[str] = set()
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                if lineage.kind == "pydantic" and (name[:1] == "_" or name == "model_config"):
                    continue
                annotation = None if _uses(statement.annotation, taken) else statement.annotation
                reader = _Reader(statement, annotation, names)
                text = _text_after(after)
                is_total = not is_literal(keywords(node).get("total"), False)
                yield name, reader.member(name, lineage.kind, rename, text=text, is_total=is_total)
                taken |= {name} if statement.value is not None else set()
            case ast.Assign(targets=targets):
                taken |= {each.id for each in targets if isinstance(each, ast.Name)}
            case ast.FunctionDef(name=name):
                if name in _MAKERS:
                    raise _Unknown
                taken.add(name)
            case ast.If() | ast.Try() | ast.For() | ast.While() | ast.With() | ast.Match():
                if any(isinstance(each, ast.AnnAssign) for each in ast.walk(statement)):
                    raise _Unknown


def _uses(annotation: ast.expr, taken: set[str]) -> bool:
    """Whether an annotation names what the class itself has defined before."""
    return bool(taken) and any(
        isinstance(each, ast.Name) and each.id in taken for each in ast.walk(annotation)
    )


def _text_after(statement: ast.stmt | None) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return ""


class _Reader:
    """One annotated statement: its marks, its words, its default."""

    def __init__(self, statement: ast.AnnAssign, annotation: ast.expr | None, names: Names) -> None:
        self.names = names
        self.annotation = annotation
        self.value = statement.value
        self.notes: list[ast.expr] = []
        self.marks: set[str] = set()
        self._peel(statement.annotation)

    def _peel(self, node: ast.expr) -> None:
        """Through `Annotated`, `Required` and the like, and names for types, to the type."""
        for _ in range(20):
            match node:
                case ast.Constant(value=str(text)):
                    try:
                        node = parse_expression(text)
                    except Unparsable:
                        return
                case ast.Name(id=name) if name in self.names.aliases and not self._dotted(node):
                    node = self.names.aliases[name]
                case ast.Subscript(value=value, slice=ast.Tuple(elts=[inner, *notes])) if (
                    self._dotted(value).rpartition(".")[2] == "Annotated"
                ):
                    self.notes += notes
                    node = inner
                case ast.Subscript(value=value, slice=inner) if self._dotted(value) in _MARKS:
                    self.marks.add(_MARKS[self._dotted(value)])
                    node = inner
                case _:
                    self.marks |= {_MARKS[each] for each in [self._dotted(node)] if each in _MARKS}
                    return

    def _dotted(self, node: ast.expr) -> str:
        return self.names.dotted(node)

    def member(
        self, name: str, kind: str, rename: Callable[[str], str], *, text: str, is_total: bool
    ) -> Member | None:
        words: Words = {}
        default = self.value
        is_made = isinstance(default, ast.Call) and self._dotted(default.func) in FIELD | {
            "dataclasses.field"
        }
        own = merged(self.notes, self.names)
        if is_made and isinstance(default, ast.Call):
            words = merged([default], self.names) or keywords(default)
            default = _default({**own, **words})
        elif default is None and kind == "pydantic":
            default = _default(own)
        if is_literal(default, ...):
            default = None
        if self._is_none_of_the_fields(kind, words):
            return None
        is_needed = default is None
        if kind == "typeddict":
            is_needed = "Required" in self.marks or (is_total and "NotRequired" not in self.marks)
        return Member(
            alias=_alias({**own, **words}) or rename(name) if kind == "pydantic" else name,
            annotation=self.annotation,
            words={"description": words["doc"], **words} if "doc" in words else words,
            is_required=is_needed,
            default=default,
            text=text,
        )

    def _is_none_of_the_fields(self, kind: str, words: Words) -> bool:
        if self.marks & {"ClassVar", "KW_ONLY"} or is_literal(words.get("init"), False):
            return True
        return kind == "pydantic" and "Final" in self.marks and self.value is not None


def _default(words: Words) -> ast.expr | None:
    """What a `field(…)` or `Field(…)` gives where no value comes."""
    if "default" in words:
        return words["default"]
    factory = words.get("default_factory")
    match factory:
        case ast.Name(id=name) if name in _FACTORIES:
            return _FACTORIES[name]
        case ast.Lambda(body=body):
            return body
    return factory


def _alias(words: Words) -> str:
    node = words.get("validation_alias", words.get("alias"))
    match node:
        case None | ast.Constant(value=None):
            return ""
        case ast.Constant(value=str(alias)):
            return alias
    raise _Unknown


def _pascal(name: str) -> str:
    return re.sub("([0-9A-Za-z])_(?=[0-9A-Z])", r"\1", name.title())


def _camel(name: str) -> str:
    if re.match("[a-z]+[A-Za-z0-9]*$", name) and not re.search(r"\d[a-z]", name):
        return name
    return re.sub("(^_*[A-Z])", lambda match: match[1].lower(), _pascal(name))


def _renaming(lineage: Lineage, names: Names) -> Callable[[str], str]:
    """What the model's alias generator does. Raises `_Unknown`."""
    generator = lineage.config.get("alias_generator")
    if generator is None or is_literal(generator, None):
        return str
    known = {"to_camel": _camel, "to_pascal": _pascal}
    module, _, name = names.dotted(generator).rpartition(".")
    if module != "pydantic.alias_generators" or name not in known:
        raise _Unknown
    return known[name]
