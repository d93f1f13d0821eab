"""Python source as code objects that are compiled once and run under any file name."""

import ast
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

CACHED = 256 << 10  # characters; longer sources are compiled each time


@dataclass(frozen=True, slots=True)
class CellCode:
    """A notebook cell: its statements, and its last expression if its value is shown."""

    body: types.CodeType
    value: types.CodeType | None


def module_code(text: str, path: str) -> types.CodeType:
    """A `.py` as code that names `path`. Raises SyntaxError."""
    with _naming(path):
        compiled = _module(text) if len(text) <= CACHED else _module.__wrapped__(text)
    return _renamed(compiled, path)


def cell_code(text: str, path: str) -> CellCode:
    """A cell as code that names `path`. Raises SyntaxError."""
    with _naming(path):
        compiled = _cell(text) if len(text) <= CACHED else _cell.__wrapped__(text)
    value = compiled.value and _renamed(compiled.value, path)
    return CellCode(_renamed(compiled.body, path), value)


def plain_python(text: str) -> str:
    """A cell with its magics and `!commands` as the Python that IPython makes of them."""
    from IPython.core.inputtransformer2 import TransformerManager

    return str(TransformerManager().transform_cell(text))


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        error.filename = path
        raise


@lru_cache(maxsize=128)
def _module(text: str) -> types.CodeType:
    return compile(text, "<entry>", "exec", dont_inherit=True)


@lru_cache(maxsize=512)
def _cell(text: str) -> CellCode:
    python = plain_python(text)
    tree = ast.parse(python, "<entry>")
    last = tree.body[-1] if tree.body else None
    shown = None
    if isinstance(last, ast.Expr) and not _ends_quiet(python):
        tree.body.pop()
        shown = _compile(ast.Expression(last.value), "eval")
    return CellCode(_compile(tree, "exec"), shown)


def _compile(tree: ast.Module | ast.Expression, mode: str) -> types.CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: types.CodeType = compile(tree, "<entry>", mode, flags=flags, dont_inherit=True)
    return code


def _ends_quiet(text: str) -> bool:
    """Whether a semicolon hides the last value, as IPython has it."""
    return text.rstrip().endswith(";")


def _renamed(code: types.CodeType, path: str) -> types.CodeType:
    constants = tuple(
        _renamed(item, path) if isinstance(item, types.CodeType) else item
        for item in code.co_consts
    )
    return code.replace(co_filename=path, co_consts=constants)
