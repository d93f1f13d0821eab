"""What docstrings say of parameters, in the styles of Google, NumPy and Sphinx."""

import re
from collections.abc import Iterator

SECTIONS = "args|arguments|parameters|params|attributes|other parameters|keyword args"
SECTIONS += "|keyword arguments"
_GOOGLE = re.compile(rf"(?:{SECTIONS}):\s*", re.IGNORECASE)
_NUMPY = re.compile(rf"(?:{SECTIONS})\s*", re.IGNORECASE)
_RULE = re.compile(r"-{3,}\s*")
_ITEM = re.compile(
    r"\s+\*{0,2}(?P<names>\w+)\s*(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*:(?P<text>.*)"
)
_SPHINX = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword|var|ivar)\s+(?:[^:]*\s)?\*{0,2}(?P<name>\w+)\s*:"
    r"(?P<text>.*)"
)
_NAMES = re.compile(r"\*{0,2}(?P<names>\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_LONGEST = 20_000  # characters of a docstring that are looked at


def read(text: str | None) -> tuple[str, dict[str, str]]:
    """A docstring, without its indentation, but for what it says of parameters; that by name."""
    lines = (text or "")[:_LONGEST].splitlines()
    kept: list[str] = []
    found: dict[str, str] = {}
    at = 0
    while at < len(lines):
        end, items = _section(lines, at)
        if items:
            for names, said in items:
                for name in re.findall(r"\w+", names):
                    found.setdefault(name, " ".join(" ".join(said).split()))
            at = end
        else:
            kept.append(lines[at])
            at += 1
    return "\n".join(kept).strip(), {name: said for name, said in found.items() if said}


Items = list[tuple[str, list[str]]]


def _section(lines: list[str], at: int) -> tuple[int, Items]:
    """The items of a section that begins at a line, and where it ends; none where none does."""
    line = lines[at]
    if match := _SPHINX.fullmatch(line.strip()):
        end = at + 1
        while end < len(lines) and lines[end].startswith((" ", "\t")) and lines[end].strip():
            end += 1
        return end, [(match["name"], [match["text"], *lines[at + 1 : end]])]
    if _GOOGLE.fullmatch(line):
        end = _indented(lines, at + 1)
        return end, list(_google(lines[at + 1 : end]))
    if _NUMPY.fullmatch(line) and at + 1 < len(lines) and _RULE.fullmatch(lines[at + 1]):
        end = _underlined(lines, at + 2)
        return end, list(_numpy(lines[at + 2 : end]))
    return at, []


def _indented(lines: list[str], at: int) -> int:
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith((" ", "\t"))):
        at += 1
    return at


def _underlined(lines: list[str], at: int) -> int:
    """Where the next section of the NumPy style begins."""
    while at < len(lines):
        if at + 1 < len(lines) and lines[at].strip() and _RULE.fullmatch(lines[at + 1]):
            return at
        at += 1
    return at


def _google(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    first = next((line for line in lines if line.strip()), "")
    depth = len(first) - len(first.lstrip())
    names, said = "", list[str]()
    for line in lines:
        match = _ITEM.fullmatch(line) if len(line) - len(line.lstrip()) == depth else None
        if match:
            if names:
                yield names, said
            names, said = match["names"], [match["text"]]
        elif names:
            said.append(line)
    if names:
        yield names, said


def _numpy(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    names, said = "", list[str]()
    for line in lines:
        match = _NAMES.fullmatch(line)
        if match and not line.startswith((" ", "\t")):
            if names:
                yield names, said
            names, said = match["names"], []
        elif line.startswith((" ", "\t")):
            said.append(line)
    if names:
        yield names, said
