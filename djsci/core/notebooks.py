"""A notebook's JSON -> its code cells and its kernel; every nbformat, outputs left behind."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import jsontext
from .errors import SourceInvalid, TooLarge

_MARKS = ("cells", "worksheets", "nbformat")
_KERNEL_NAME = re.compile(r"[A-Za-z0-9._-]{1,150}")
_PYTHONS = ("ipython", "py")  # how language names of Python begin
_FOREIGN = re.compile(  # names of kernels that are seen without a language
    r"(ir|r|julia|bash|zsh|javascript|typescript|deno|tslab|scala|spylon|almond|rust|evcxr"
    r"|octave|matlab|sas|stata|gophernotes|ruby|haskell|ihaskell|\.net|clojure|kotlin|java|xcpp"
    r"|xr|perl|lua|sos|wolfram|maxima|php|sql|xsql)([-_.\d].*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCell:
    """The text and tags of one code cell."""

    text: str
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Which kernelspec runs a notebook, in which language, and what there is to say about it."""

    name: str = "python3"
    language: str = "python"
    warning: str | None = None


def load(text: str, *, name: str, depth: int) -> dict[str, Any] | None:
    """The notebook in `text`, None when it is JSON but no notebook.

    Raises `SourceInvalid`. Duplicate keys (the last counts) and NaN are tolerated, as Jupyter does.
    """
    if jsontext.depth(text.encode("utf-8", "surrogatepass")) > depth:
        raise SourceInvalid(f"{name}: the notebook's JSON nests more than {depth} deep.")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg}"
        raise SourceInvalid(
            f"{name}, line {error.lineno}: {message}.",
            errors=[{"line": error.lineno, "message": message}],
        ) from error
    except (ValueError, RecursionError) as error:
        raise SourceInvalid(f"{name}: not a notebook that can be read: {error}.") from error
    is_notebook = isinstance(document, dict) and any(mark in document for mark in _MARKS)
    return document if is_notebook else None


def code_cells(document: Mapping[str, Any], *, name: str, limit: int) -> list[CodeCell]:
    """The code cells, in order, of a notebook of any nbformat. Raises `TooLarge`."""
    cells = list(_all_cells(document, name))
    if len(cells) > limit:
        raise TooLarge(f"{name} has {len(cells):,} cells; {limit:,} are allowed.")
    read = (_code_cell(cell, place, name) for place, cell in enumerate(cells, start=1))
    return [cell for cell in read if cell is not None]


def markdown_cells(document: Mapping[str, Any], *, name: str) -> list[tuple[int, str]]:
    """The text of each markdown cell, and after how many code cells it stands."""
    found: list[tuple[int, str]] = []
    before = 0
    for cell in _all_cells(document, name):
        kind = cell.get("cell_type", "code") if isinstance(cell, dict) else ""
        if kind == "code":
            before += 1
        elif kind == "markdown":
            text = cell.get("source", "")
            parts = text if isinstance(text, list) else [text]
            found.append((before, "".join(part for part in parts if isinstance(part, str))))
    return found


def _all_cells(document: Mapping[str, Any], name: str) -> Iterator[Any]:
    sheets = document.get("worksheets")  # nbformat 2 and 3
    holders = [*sheets, document] if isinstance(sheets, list) else [document]
    for holder in holders:
        cells = holder.get("cells", []) if isinstance(holder, dict) else None
        if not isinstance(cells, list):
            raise SourceInvalid(f"{name}: `cells` is not a list of cells.")
        yield from cells


def _code_cell(cell: Any, place: int, name: str) -> CodeCell | None:
    if not isinstance(cell, dict):
        raise SourceInvalid(f"{name}: entry {place} of `cells` is not a cell.")
    if cell.get("cell_type", "code") != "code":
        return None
    text = cell.get("source", cell.get("input", cell.get("code", "")))  # nbformat 4; 2, 3; 1
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        is_old = "source" not in cell and not any(line.endswith("\n") for line in text[:1])
        text = ("\n" if is_old else "").join(text)
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise SourceInvalid(f"{name}: the source of entry {place} of `cells` is not text.")
    tags = _mapping(cell.get("metadata")).get("tags")
    tags = tags if isinstance(tags, list) else []
    return CodeCell(text=text, tags=frozenset(tag for tag in tags if isinstance(tag, str)))


def metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the notebook says of itself."""
    return _mapping(document.get("metadata"))


def kernel(document: Mapping[str, Any], *, name: str) -> Kernel:
    """The kernel that runs the notebook: python3 for whatever Python it names."""
    about = metadata(document)
    spec = _mapping(about.get("kernelspec"))
    language = _text(spec.get("language")) or _text(
        _mapping(about.get("language_info")).get("name")
    )
    named = _text(spec.get("name"))
    if language is None:
        language = named if named and _FOREIGN.fullmatch(named) else "python"
    if language.lower().startswith(_PYTHONS):
        return Kernel(warning=_other_python(named) if named not in (None, "python3") else None)
    named = named or language.lower()
    if not _KERNEL_NAME.fullmatch(named):
        raise SourceInvalid(f"{name}: {named[:80]!r} is no name of a kernel.")
    return Kernel(name=named, language=language.lower())


def _other_python(named: str | None) -> str:
    return f"The notebook names the kernel {str(named)[:80]!r}; python3 runs it."


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
