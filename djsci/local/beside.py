"""Which files beside an entry go with it: those that it imports or names."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from djsci.core.errors import BadRequest

_IMPORT = re.compile(r"^\s*(?:from|import)\b[^#\n]*", re.MULTILINE)
_WORD = re.compile(r"\w+")


def collect(entry: Path, more: Sequence[Path] = ()) -> dict[str, bytes]:
    """The bytes of `entry`, of what it and its modules mention beside it, and of `more`, by name.

    Raises `BadRequest` for what cannot be read.
    """
    files = {entry.name: read(entry)}
    for path in more:
        if path.name in files:
            raise BadRequest(f"{path}: two files may not share the name {path.name!r}.")
        files[path.name] = read(path)
    beside = {
        path.name: path
        for path in sorted(entry.parent.iterdir())
        if path.is_file() and path.name[0] not in ".-" and path.name not in files
    }
    waiting = [name for name in files if name == entry.name or name.endswith(".py")]
    while waiting:
        for name in list(_mentioned(_code(files[waiting.pop()]), beside)):
            files[name] = read(beside.pop(name))
            if name.endswith(".py"):
                waiting.append(name)
    return files


def read(path: Path) -> bytes:
    """Its bytes. Raises `BadRequest`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}.") from error


def _mentioned(code: str, beside: Mapping[str, Path]) -> Iterator[str]:
    imported = {word for line in _IMPORT.findall(code) for word in _WORD.findall(line)}
    for name in beside:
        if (name.endswith(".py") and name[:-3] in imported) or _names(code, name):
            yield name


def _names(code: str, name: str) -> bool:
    return (
        bool(re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", code)) if name in code else False
    )


def _code(data: bytes) -> str:
    """The code of a module, or of a notebook's cells; what is no notebook is looked at as it is."""
    text = data.decode("utf-8", "replace")
    if not text.lstrip("\ufeff \t\r\n").startswith("{"):
        return text
    try:
        cells = json.loads(text.lstrip("\ufeff"))["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return "\n".join("".join(source) for source in sources)
    except (ValueError, LookupError, TypeError, RecursionError):
        return text
