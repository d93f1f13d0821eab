"""What the names at the top of a source stand for: imports, Enum classes, aliases."""

import ast
import builtins
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


class Names:
    """What the names at the top of a source stand for."""

    def __init__(self, trees: Iterable[ast.Module]) -> None:
        self.imports: dict[str, str] = {}
        self.stars: list[str] = []
        self.classes: dict[str, ast.ClassDef] = {}
        self.aliases: dict[str, ast.expr] = {}
        self.others: set[str] = set()
        for tree in trees:
            for statement in top_level(tree):
                self._learn(statement)

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
