"""The cells of a run's version, for those who may read its source: what the notebook view shows."""

from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString, mark_safe

from djsci import versions
from djsci.core import notebooks
from djsci.core.errors import DjsciError
from djsci.core.events import clean
from djsci.core.sources import Source
from djsci.models import Version

from .highlight import highlighted
from .prose import prose
from .source_view import visible

MOST_CELLS = 500  # drawn with their source; of later ones only the place is told
MOST_CHARACTERS = 300_000
MOST_BYTES = 2 << 20  # of a notebook that is read once more for its prose


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell in the notebook's order. Code cells count from 1, prose from -1 downwards."""

    index: int
    kind: str
    name: str
    markup: SafeString | None

    def to_dict(self) -> dict[str, Any]:
        return {"index": self.index, "kind": self.kind, "name": self.name}


def of_version(version: Version) -> list[Cell]:
    """The cells of a notebook; none of a `.py`, or where the source cannot be read."""
    if version.kind != "ipynb":
        return []
    try:
        source = versions.source(version)
        prose = _prose(source)
    except DjsciError:
        return []
    return list(_drawn(source, prose))


def _drawn(source: Source, prose: list[tuple[int, str]]) -> list[Cell]:
    drawn: list[Cell] = []
    characters = 0

    def add(index: int, kind: str, name: str, text: str) -> None:
        nonlocal characters
        characters += len(text)
        is_shown = len(drawn) < MOST_CELLS and characters <= MOST_CHARACTERS
        markup = _markup(text, kind, source.language) if is_shown else None
        drawn.append(Cell(index=index, kind=kind, name=name, markup=markup))

    waiting = list(enumerate(prose, 1))
    for cell in source.cells:
        while waiting and waiting[0][1][0] < cell.index:
            place, (_, text) = waiting.pop(0)
            add(-place, "markdown", "", text)
        add(cell.index, "code", min(cell.tags, default=""), cell.text)
    for place, (_, text) in waiting:
        add(-place, "markdown", "", text)
    return drawn


def _markup(text: str, kind: str, language: str) -> SafeString:
    if kind == "markdown":
        return prose(clean(text))
    name = "python" if language.startswith(("python", "ipython")) else language
    return mark_safe(f'<pre class="dj-code">{highlighted(visible(text), name)}</pre>')  # noqa: S308 - escaped


def _prose(source: Source) -> list[tuple[int, str]]:
    data = source.files[source.name]
    if len(data) > MOST_BYTES:
        return []
    document = notebooks.load(
        data.decode("utf-8-sig", errors="replace"), name=source.name, depth=versions.limits().depth
    )
    return notebooks.markdown_cells(document, name=source.name) if document else []
