"""Text of Python files and notebook cells -> syntax trees; nothing is executed."""

import ast
import re
import sys
import threading
import warnings
from dataclasses import dataclass

from .events import clean

CODE_LIMIT = 1 << 19  # characters of code in a source: its tree takes up to 800 times that memory

_ESCAPE = re.compile(r"^\s*[%!?/,;]|=\s*[%!]|\?\s*$", re.MULTILINE)
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*\n?")
_PYTHON_MAGICS = frozenset({"capture", "prun", "time"})  # their body runs in the notebook's names
_TRANSFORM_BUDGET = 500_000
_FAILURES = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_TOO_DEEP = "SyntaxError: nested too deeply"
_quiet = threading.Lock()
_CONTINUED = re.compile(r"\\\r?\n")
_F_STRING = re.compile(r"""\b(?:f|fr|rf)(?P<long>'''|\"\"\")?(?(long)|['"])""", re.IGNORECASE)
_F_STRINGS_COST = 1 << 30  # about half a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong at a place of a source; cell and line count from 1."""

    message: str
    cell: int | None = None
    line: int | None = None


class Unparsable(Exception):
    """Text that Python refuses."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = clean(message)
        self.line = line


def parse(text: str, *, flags: int = 0) -> ast.Module:
    """The tree of `text`, compiled once to hear of what the parser alone takes."""
    try:
        _refuse_dense_f_strings(text)
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = compile(text, "<source>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
            compile(tree, "<source>", "exec", flags, dont_inherit=True)
    except _FAILURES as error:
        raise Unparsable(*_reason(error)) from error
    if not isinstance(tree, ast.Module):
        raise Unparsable("not a module")
    return tree


def _refuse_dense_f_strings(text: str) -> None:
    """Before 3.12 Python reads an f-string anew for each of its fields, and holds everything up."""
    if sys.version_info >= (3, 12):
        return
    cost = 0
    text = _CONTINUED.sub("  ", text)
    for line in text.split("\n"):
        if _F_STRING.search(line):
            cost += line.count("{") * len(line)
    long = next((each for each in _F_STRING.finditer(text) if each["long"]), None)
    if long is not None:
        cost += text.count("{", long.start()) * (len(text) - long.start())
    if cost > _F_STRINGS_COST:
        raise SyntaxError("f-strings with too many fields")


def _reason(error: BaseException) -> tuple[str, int | None]:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}", error.lineno
    if isinstance(error, RecursionError | MemoryError):
        return _TOO_DEEP, None
    return f"SyntaxError: {error}", None


class CellParser:
    """Reads the cells of one notebook as IPython would.

    IPython's transformer is quadratic in the magics of a cell, so one notebook gets a budget; a
    cell beyond it is taken unchecked.
    """

    def __init__(self) -> None:
        self._budget = _TRANSFORM_BUDGET

    def parse(self, text: str) -> ast.Module | None:
        """The tree of a cell, None when it is not Python or was not checked."""
        try:
            return parse(text, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except Unparsable as error:
            if error.message == _TOO_DEEP or "\x00" in text:
                raise
        magic = _CELL_MAGIC.match(text)
        if magic is not None:
            body = "\n" * magic[0].count("\n") + text[magic.end() :]
            is_python = magic[1] in _PYTHON_MAGICS and not _CELL_MAGIC.match(body)
            return self.parse(body) if is_python else None
        self._budget -= (len(text) + 50) * (1 + len(_ESCAPE.findall(text)))
        if self._budget < 0:
            return None
        return parse(_transform(text), flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def _transform(text: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager  # costs 0.1 s, seldom needed

    try:
        return str(TransformerManager().transform_cell(text))
    except Exception as error:
        raise Unparsable(f"{type(error).__name__}: {error}") from error


def parse_expression(text: str) -> ast.expr:
    """The tree of one expression, as a string annotation holds it."""
    try:
        _refuse_dense_f_strings(text)
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except _FAILURES as error:
        raise Unparsable(*_reason(error)) from error
