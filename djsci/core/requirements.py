"""The libraries that a file asks for: PEP 723's block `# /// script`, read and never executed."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from .errors import SourceInvalid

BLOCK = "script"
MOST = 100  # dependencies
LONGEST = 500  # characters of one
MOST_TEXT = 16 << 10  # characters of a block: tomllib takes the square of a dotted key's parts
_START = re.compile(r"# /// ([a-zA-Z0-9-]+)")
_END = "# ///"
_LINE = re.compile(r"\(?at line (\d+)")


class _Bad(Exception):
    """What is wrong, and in which line of the block, from 0 on."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a header asks for. `dependencies` are normal, sorted, and only names with versions."""

    dependencies: tuple[str, ...] = ()
    python: str = ""  # a specifier of versions; empty: any

    def takes(self, version: str) -> bool:
        """Whether a Python of this version will do."""
        return SpecifierSet(self.python).contains(version, prereleases=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    line: int  # of `# /// script`, from 1 on
    lines: tuple[str, ...]
    cell: int | None


def read(
    name: str, texts: Sequence[str], *, is_notebook: bool, metadata: Mapping[str, Any] | None = None
) -> Requirements | None:
    """What the file's header asks for; None without one.

    `texts` are the file, or each code cell of a notebook, whose header may also stand in its
    `metadata`: the table itself under `script`, or where marimo keeps it. Raises `SourceInvalid`
    with cell and line.
    """
    blocks: list[_Block] = []
    for cell, text in enumerate(texts, 1):
        if f"{_END} {BLOCK}" in text:
            blocks += _blocks(name, text, cell if is_notebook else None)
    table = _of_metadata(name, metadata or {})
    if len(blocks) + (table is not None) > 1:
        message = f"there are several `{_END} {BLOCK}` blocks; one is allowed"
        raise _invalid(name, message, blocks[-1].line, blocks[-1].cell)
    if not blocks:
        return table
    [block] = blocks
    try:
        return _requirements(_loaded(block.lines), block.lines)
    except _Bad as bad:
        raise _invalid(name, str(bad), block.line + 1 + bad.line, block.cell) from bad


def _blocks(name: str, text: str, cell: int | None) -> list[_Block]:
    """The blocks of the specification's regular expression, found in one pass over the lines."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[_Block] = []
    place = 0
    while place < len(lines):
        end = place
        while end < len(lines) and (lines[end] == "#" or lines[end].startswith("# ")):
            end += 1
        found += _in_comment(name, lines[place:end], place + 1, cell)
        place = end + 1
    return found


def _in_comment(name: str, lines: list[str], first: int, cell: int | None) -> list[_Block]:
    """The block in lines that are one comment: from its first start to its last end."""
    ends = [place for place, line in enumerate(lines) if line == _END]
    last = ends[-1] if ends else -1
    for place, line in enumerate(lines):
        start = _START.fullmatch(line)
        if start is None:
            continue
        if place < last:
            inside = tuple(line[2:] for line in lines[place + 1 : last])
            block = _Block(line=first + place, lines=inside, cell=cell)
            return [block] if start[1] == BLOCK else []
        if start[1] == BLOCK:
            raise _invalid(name, f"`{line}` is not closed by `{_END}`", first + place, cell)
    return []


def _of_metadata(name: str, metadata: Mapping[str, Any]) -> Requirements | None:
    marimo = metadata.get("marimo")
    header = marimo.get("header") if isinstance(marimo, dict) else None
    try:
        if isinstance(header, str) and (found := _blocks(name, header, None)):
            return _requirements(_loaded(found[0].lines), ())
        table = metadata.get(BLOCK)
        if isinstance(table, dict) and {"dependencies", "requires-python"} & set(table):
            return _requirements(table, ())
        return None
    except _Bad as bad:
        raise SourceInvalid(f"{name}: the notebook's metadata: {bad}.") from bad


def _loaded(lines: Sequence[str]) -> dict[str, Any]:
    text = "\n".join(lines)
    if len(text) > MOST_TEXT:
        raise _Bad(f"the block holds more than {MOST_TEXT:,} characters")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        place = _LINE.search(str(error))
        message = re.sub(r" \(?at line \d+, column \d+\)?| \(at end of document\)", "", str(error))
        raise _Bad(f"not valid TOML: {message}", int(place[1]) - 1 if place else 0) from error


def _requirements(table: Mapping[str, Any], lines: Sequence[str]) -> Requirements:
    listed, python = table.get("dependencies", []), table.get("requires-python", "")
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise _Bad("`dependencies` is not a list of texts", _line_of("dependencies", lines))
    if len(listed) > MOST:
        raise _Bad(f"there are {len(listed):,} dependencies; {MOST} are allowed")
    if not isinstance(python, str) or len(python) > LONGEST:
        raise _Bad("`requires-python` is not a text", _line_of("requires-python", lines))
    try:
        SpecifierSet(python)
    except InvalidSpecifier:
        place = _line_of("requires-python", lines)
        raise _Bad(f"`requires-python`: {python!r} names no versions", place) from None
    named = {_dependency(one, _line_of(one, lines)) for one in listed}
    return Requirements(dependencies=tuple(sorted(named)), python=python.strip())


def _dependency(text: str, line: int) -> str:
    """The dependency as everybody writes it: a name, extras, versions, a marker."""
    shown = repr(text[:80])
    if len(text) > LONGEST or not text.isprintable():
        raise _Bad(f"{shown} is no dependency", line)
    try:
        found = Requirement(text)
    except (InvalidRequirement, RecursionError):
        raise _Bad(f"{shown} is no dependency: a name with versions is one", line) from None
    if found.url is not None or "/" in str(found.specifier):  # `a===../b` is a path to pip
        raise _Bad(f"{shown}: only names with versions are taken, no addresses and paths", line)
    found.name = canonicalize_name(found.name)
    return str(found)


def _line_of(text: str, lines: Sequence[str]) -> int:
    return next((place for place, line in enumerate(lines) if text in line), 0)


def _invalid(name: str, message: str, line: int, cell: int | None) -> SourceInvalid:
    place = f"{name}, line {line}" if cell is None else f"{name}, cell {cell}, line {line}"
    where = {"line": line} if cell is None else {"cell": cell, "line": line}
    return SourceInvalid(f"{place}: {message}.", errors=[{**where, "message": message}])
