"""What a version holds, for people to read: the entry's cells, a companion as text."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from djsci import blobs, versions
from djsci.core import notebooks
from djsci.core.sources import Source
from djsci.models import Version

from .highlight import highlighted

MOST_TEXT = 400_000  # characters of a part that a page shows
_LANGUAGES = {
    ".py": "python",
    ".json": "json",
    ".sql": "sql",
    ".md": "markdown",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".r": "r",
    ".sh": "bash",
}
# What turns text around or hides it would show another program than the one that runs.
_HIDDEN = re.compile(
    "[\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCell:
    """One cell of an entry. `index` counts code cells from 1, as events and errors do; else 0."""

    kind: str  # code, markdown
    text: str
    index: int = 0
    language: str = "python"

    @property
    def html(self) -> SafeString:
        """The code, highlighted; line 7 of cell 3 is `#cell-3-L7`."""
        return numbered(self.text, self.language, anchor=f"cell-{self.index}-")


def cells(version: Version) -> list[ReadCell]:
    """The entry's cells in order. Raises `SourceInvalid`."""
    source = versions.source(version)
    language = "python" if source.language.startswith(("python", "ipython")) else source.language
    code = [
        ReadCell(kind="code", text=cell.text, index=cell.index, language=language)
        for cell in source.cells
    ]
    if source.kind == "py":
        return code
    drawn: list[ReadCell] = []
    prose = _prose(version, source)
    for place in range(len(code) + 1):
        drawn += (ReadCell(kind="markdown", text=text) for before, text in prose if before == place)
        drawn += code[place : place + 1]
    return drawn


def _prose(version: Version, source: Source) -> list[tuple[int, str]]:
    text = blobs.get(version.files[version.entry]).decode("utf-8-sig", "replace")
    document = notebooks.load(text, name=source.name, depth=versions.limits().depth)
    return notebooks.markdown_cells(document, name=source.name) if document else []


def numbered(text: str, language: str = "text", *, anchor: str = "") -> SafeString:
    """All lines, highlighted, each a `<span>`: line 7 is `#<anchor>L7`."""
    plain = visible(text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n"))
    # A leading line break has one more before it, for a <pre> to swallow.
    lines = highlighted(plain, language).split("\n")[plain.startswith("\n") :]
    return format_html_join(
        "",
        '<span id="{}L{}">{}\n</span>',
        ((anchor, place, mark_safe(line)) for place, line in enumerate(lines, 1)),  # noqa: S308
    )


def visible(text: str) -> str:
    """Text whose hidden characters are written as codes."""
    return _HIDDEN.sub(lambda found: f"‹U+{ord(found[0]):04X}›", text)


def text_of(data: bytes) -> str | None:
    """A companion as text; None for bytes that are none."""
    if b"\0" in data[:8000]:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def language_of(name: str) -> str:
    """What a part is highlighted as."""
    return _LANGUAGES.get(PurePosixPath(name).suffix.lower(), "text")
