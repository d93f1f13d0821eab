"""What two versions of a file differ in: lines, and in a notebook the lines of its cells."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from djsci import blobs
from djsci.core.errors import DjsciError
from djsci.models import Version

from . import source_view
from .source_view import visible

MOST_LINES = 20_000  # of both sides: more is not compared here
CONTEXT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a unified diff. `kind` is same, added, removed or skip."""

    kind: str
    text: str

    @property
    def sign(self) -> str:
        return {"added": "+", "removed": "-"}.get(self.kind, " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A cell or a part that is not the same in both. `note` stands where lines cannot."""

    name: str
    lines: tuple[Line, ...] = ()
    note: str = ""


def compare(old: Version, new: Version) -> list[Change]:
    """The changes from `old` to `new`, the entry first."""
    changes: list[Change] = []
    if old.entry == new.entry or len(old.files) == len(new.files) == 1:
        if old.files[old.entry] != new.files[new.entry]:
            changes += _entries(old, new)
        elif old.entry != new.entry:
            changes.append(Change(name=new.entry, note=f"renamed from {old.entry}"))
        done = {old.entry, new.entry}
    else:
        changes.append(Change(name=new.entry, note=f"is the entry now; it was {old.entry}"))
        done = set()
    for name in sorted({*old.files, *new.files} - done):
        before, after = old.files.get(name), new.files.get(name)
        if before != after:
            changes.append(_part(name, before, after))
    return changes


def _entries(old: Version, new: Version) -> Iterator[Change]:
    """By cells where one of both is a notebook."""
    try:
        before, after = (source_view.cells(version) for version in (old, new))
    except DjsciError:
        yield _part(new.entry, old.files[old.entry], new.files[new.entry])
        return
    if old.kind == new.kind == "py":
        yield _texts(new.entry, before[0].text, after[0].text)
        return
    texts = [[(cell.kind, cell.text) for cell in cells] for cells in (before, after)]
    found = False
    for tag, a, b, c, d in _opcodes(texts[0], texts[1]):
        if tag == "equal":
            continue
        for place in range(max(b - a, d - c)):
            left = before[a + place] if a + place < b else None
            right = after[c + place] if c + place < d else None
            cell = right or left
            if cell is None or (left and right and left.text == right.text):
                continue
            name = f"cell {cell.index}" if cell.index else "text cell"
            word = "" if left and right else " (new)" if right else " (removed)"
            found = True
            yield _texts(f"{name}{word}", left.text if left else "", right.text if right else "")
    if not found:
        yield Change(name=new.entry, note="the cells are the same; outputs or metadata differ")


def _part(name: str, before: str | None, after: str | None) -> Change:
    datas = [blobs.get(sha256) if sha256 else b"" for sha256 in (before, after)]
    word = "" if before and after else " (new)" if after else " (removed)"
    texts = [source_view.text_of(data) for data in datas]
    if texts[0] is None or texts[1] is None:
        sizes = f"{len(datas[0]):,} bytes before, {len(datas[1]):,} now"
        return Change(name=f"{name}{word}", note=f"not text: {sizes}")
    return _texts(f"{name}{word}", texts[0], texts[1])


def _texts(name: str, before: str, after: str) -> Change:
    old, new = (visible(text).splitlines() for text in (before, after))
    if len(old) + len(new) > MOST_LINES:
        return Change(name=name, note=f"{len(old):,} lines before, {len(new):,} now: too long")
    lines = tuple(_lines(old, new))
    return Change(name=name, lines=lines, note="" if lines else "only line ends differ")


def _lines(old: Sequence[str], new: Sequence[str]) -> Iterator[Line]:
    matcher = difflib.SequenceMatcher(None, old, new)
    for number, group in enumerate(matcher.get_grouped_opcodes(CONTEXT)):
        first = group[0]
        if number or first[1] or first[3]:
            yield Line(kind="skip", text=f"line {first[3] + 1}")
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (Line(kind="same", text=text) for text in old[a:b])
                continue
            yield from (Line(kind="removed", text=text) for text in old[a:b])
            yield from (Line(kind="added", text=text) for text in new[c:d])


def _opcodes(
    old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]
) -> list[tuple[str, int, int, int, int]]:
    return list(difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
