"""Which names files and their parts may have."""

import re
import unicodedata
from collections.abc import Mapping

from djsci.core.errors import BadRequest
from djsci.guest.quota import BIDI, HIDDEN
from djsci.guest.quota import LONGEST_PART as LONGEST_PART_NAME
from djsci.guest.quota import MOST_BYTES_OF_A_PART as MOST_BYTES_OF_A_PART_NAME

LONGEST_FILE_NAME = 500

_ID = re.compile(r"[2-9A-HJ-NP-Za-km-z]{22}")


def file_name(name: str | None) -> str | None:
    """The name of a file as it is stored; a blank one is None. Raises `BadRequest`."""
    name = unicodedata.normalize("NFC", name or "").strip()
    if not name:
        return None
    reason = _hidden_characters(name)
    if reason is None and "/" in name:
        reason = "A name may not hold a slash."
    if reason is None and name in {".", ".."}:
        reason = "This is not a name."
    if reason is None and len(name) > LONGEST_FILE_NAME:
        reason = f"A name has at most {LONGEST_FILE_NAME} characters."
    if reason is None and looks_like_an_id(name):
        reason = "A name may not look like the id of a file."
    if reason is not None:
        raise refusal("name", reason)
    return name


def part_name(name: str, *, field: str = "files") -> str:
    """The name of an entry or companion: one component of a path. Raises `BadRequest`."""
    shown = unicodedata.normalize("NFC", name)
    reason = _hidden_characters(shown)
    if reason is None and (not shown.strip() or shown in {".", ".."}):
        reason = "A file needs a name."
    if reason is None and ("/" in shown or "\\" in shown):
        reason = "A file's name may not hold a slash or a backslash."
    if reason is None and shown[0] in ".-":
        reason = "A file's name may not begin with a dot or a dash."
    too_long = len(shown) > LONGEST_PART_NAME or _bytes(shown) > MOST_BYTES_OF_A_PART_NAME
    if reason is None and too_long:
        reason = f"A file's name has at most {LONGEST_PART_NAME} characters."
    if reason is not None:
        raise refusal(field, f"{_printable(shown)}: {reason}")
    return shown


def part_names(entry: str, files: Mapping[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """The entry's name and the content by name, as they are stored. Raises `BadRequest`."""
    if entry not in files:
        raise refusal("file", "The entry is not among the files.")
    entry_name = part_name(entry, field="file")
    named: dict[str, bytes] = {entry_name: files[entry]}
    taken = {entry_name.casefold()}
    for given, content in files.items():
        if given == entry:
            continue
        name = part_name(given)
        if name.casefold() in taken:
            raise refusal("files", f"{name}: two files may not share a name, whatever its case.")
        taken.add(name.casefold())
        named[name] = content
    return entry_name, named


def looks_like_an_id(name: str) -> bool:
    """Whether `name` could be the id of a file that is, was or will be."""
    return _ID.fullmatch(name) is not None


def is_storable(text: str) -> bool:
    """Whether every database takes `text`: no NUL, no lone surrogate."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def refusal(field: str, message: str) -> BadRequest:
    """One refused field."""
    return BadRequest(message, errors=[{"field": field, "message": message}])


def _hidden_characters(name: str) -> str | None:
    if any(unicodedata.category(char) in HIDDEN for char in name):
        return "A name may not hold line breaks or control characters."
    if any(char in BIDI for char in name):
        return "A name may not hold characters that change the direction of text."
    return None


def _bytes(name: str) -> int:
    return len(name.encode(errors="replace"))


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in name[:60]) or "(no name)"
