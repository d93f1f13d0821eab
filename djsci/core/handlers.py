"""What a source offers, read from its syntax trees: the handler, its imports, its parameters."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

HANDLER = "djsci_handler"

Function = ast.FunctionDef | ast.AsyncFunctionDef

_WIDGETS = frozenset(
    {"anywidget", "bqplot", "ipyaggrid", "ipycanvas", "ipycytoscape", "ipydatagrid", "ipyevents"}
    | {"ipyleaflet", "ipympl", "ipytree", "ipyvolume", "ipyvue", "ipyvuetify", "ipywidgets"}
    | {"itkwidgets", "jscatter", "jupyter_bokeh", "k3d", "lonboard", "nglview", "pythreejs"}
    | {"qgrid", "tqdm.notebook"}
)
_MENTION = re.compile("|".join(name.split(".")[0] for name in sorted(_WIDGETS)))
_WIDGET_MAGIC = re.compile(r"^\s*%matplotlib\s+(widget|ipympl|notebook|nbagg)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What binds the handler's name last: a function, or anything else (`node` is None)."""

    node: Function | None = None


def find(trees: Iterable[ast.Module]) -> Handler | None:
    """The last top-level binding of `djsci_handler`, inside `if`, `try`, `with` … too."""
    found = None
    for tree in trees:
        for statement in top_level(tree):
            if isinstance(statement, Function) and statement.name == HANDLER:
                found = Handler(node=statement)
            elif HANDLER in _bound(statement):
                found = Handler()
    return found


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when the module does, in the order of the text."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, ast.expr | Function | ast.ClassDef):
            continue
        stack += reversed(list(ast.iter_child_nodes(node)))


def _bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name.split(".")[0] for alias in names}
        case ast.Assign(targets=targets):
            return {name for target in targets for name in _names(target)}
        case ast.AnnAssign(target=target, value=value) if value is not None:
            return set(_names(target))
        case ast.ClassDef(name=name):
            return {name}
    return set()


def _names(target: ast.expr) -> Iterator[str]:
    return (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def star_imports(trees: Iterable[ast.Module]) -> list[str]:
    """The modules whose every name the source imports."""
    return [
        statement.module
        for tree in trees
        for statement in top_level(tree)
        if isinstance(statement, ast.ImportFrom)
        and statement.module
        and any(alias.name == "*" for alias in statement.names)
    ]


def needs_kernel(trees: Iterable[ast.Module], texts: Sequence[str]) -> bool:
    """Whether the source imports widgets, or asks matplotlib for them: only a kernel has comms."""
    if any(_WIDGET_MAGIC.search(text) for text in texts):
        return True
    if not any(_MENTION.search(text) for text in texts):
        return False
    return any(
        module in _WIDGETS or module.split(".")[0] in _WIDGETS
        for tree in trees
        for node in ast.walk(tree)
        for module in _imported(node)
    )


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            return [module, *(f"{module}.{alias.name}" for alias in names)]
    return []
