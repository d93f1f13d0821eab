"""What the names at the top of a source stand for: imports, Enum classes, aliases."""

import ast
import builtins
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .handlers import top_level

_ENUMS = frozenset({"enum.Enum", "enum.IntEnum", "enum.StrEnum"})
_STARRED = {  # what `from module import *` may bring into an annotation
    "datetime": {"date", "datetime", "time", "timedelta"},
    "decimal": {"Decimal"},
    "enum": {"Enum", "IntEnum", "StrEnum", "auto"},
    "pathlib": {"Path", "PurePath"},
    "typing": {"Annotated", "Any", "Dict", "List", "Literal", "Optional", "Tuple", "Union"},
    "uuid": {"UUID"},
}


BUDGET = 1 << 18  # characters, more or less, that the schema of one source may have


class Names:
    """What the names at the top of a source stand for, and how much may be said of them."""

    def __init__(self, trees: Iterable[ast.Module]) -> None:
        self.left = BUDGET
        self.opened: list[str] = []  # the classes whose fields are being read
        self._enums: dict[str, dict[str, Any] | None] = {}
        self._bound: Counter[str] = Counter()
        self._maybe: set[str] = set()  # bound inside `if`, `try` …
        self.imports: dict[str, str] = {}
        self.stars: list[str] = []
        self.classes: dict[str, ast.ClassDef] = {}
        self.aliases: dict[str, ast.expr] = {}
        self.others: set[str] = set()
        for tree in trees:
            straight = set(map(id, tree.body))
            for statement in top_level(tree):
                self._learn(statement)
                self._count(statement, is_sure=id(statement) in straight)

    def _count(self, statement: ast.stmt, *, is_sure: bool) -> None:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                is_sure = False  # `Model = changed(Model)` is another thing
            case _:
                return
        self._bound.update(names)
        if not is_sure:
            self._maybe.update(names)

    def is_unsure(self, name: str) -> bool:
        """Whether it takes executing to know which of several definitions `name` stands for."""
        return name in self._maybe and self._bound[name] > 1

    def spend(self, characters: int) -> bool:
        """Whether that much more may be said: a short source can describe an endless schema."""
        self.left -= characters
        return self.left >= 0

    def _learn(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Import(names=names):
                for alias in names:
                    head = alias.name.split(".")[0]
                    self.imports[alias.asname or head] = alias.name if alias.asname else head
            case ast.ImportFrom(module=str(module), level=0, names=names):
                for alias in names:
                    if alias.name == "*":
                        self.stars.append(module)
                    self.imports[alias.asname or alias.name] = f"{module}.{alias.name}"
            case ast.ClassDef(name=name):
                self.classes[name] = statement
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.aliases[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.aliases[name] = value
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.others.add(statement.name)

    def dotted(self, node: ast.expr) -> str:
        """The full name that `node` stands for; "" when it stands for none that is known."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        head = self.imports.get(node.id)
        if head is None:
            is_own = node.id in self.classes or node.id in self.aliases or node.id in self.others
            head = "" if is_own else self._starred(node.id)
        return ".".join([head, *reversed(parts)]) if head else ""

    def _starred(self, name: str) -> str:
        if hasattr(builtins, name):
            return name
        modules = (module for module in self.stars if name in _STARRED.get(module, ()))
        return next((f"{module}.{name}" for module in modules), "")

    def enum_values(self, name: str) -> dict[str, Any] | None:
        """The values by member of an Enum class of the source, if all are plain."""
        if name not in self._enums:
            self._enums[name] = self._read_enum(name)
        return self._enums[name]

    def _read_enum(self, name: str) -> dict[str, Any] | None:
        node = self.classes.get(name)
        bases = [self.dotted(base) for base in node.bases] if node else []
        if node is None or not _ENUMS.intersection(bases):
            return None
        return _members(node, self, is_text="enum.StrEnum" in bases)


def _members(node: ast.ClassDef, names: Names, *, is_text: bool) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    for statement in node.body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            if not isinstance(target, ast.Name) or target.id.startswith("_"):
                continue
            match statement.value:
                case ast.Constant(value=str() | int() | float() | None as value):
                    values[target.id] = value
                case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
                    values[target.id] = -value
                case ast.Call(func=function, args=[]) if names.dotted(function) == "enum.auto":
                    previous = list(values.values())[-1] if values else 0
                    if not is_text and not isinstance(previous, int):
                        return None
                    values[target.id] = target.id.lower() if is_text else previous + 1
                case _:
                    return None
    return values
