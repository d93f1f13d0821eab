"""Which names artifacts may have, and how many of them a run: asked in the guest and outside."""

import unicodedata
from typing import Any

MOST = 100  # artifacts of a run
DEPTH = 8  # folders within each other
LONGEST_PART = 150  # characters of one part of a name
MOST_BYTES_OF_A_PART = 255  # what file systems take
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # categories of characters that nobody sees


def named(name: Any) -> str:
    """A name that an artifact may have. Raises `TypeError`, `ValueError`."""
    if not isinstance(name, str):
        raise TypeError(f"an artifact's name is a text, not {type(name).__name__}")
    wanted = unicodedata.normalize("NFC", name)
    reason = refusal(wanted)
    if reason is not None:
        raise ValueError(f"{wanted[:LONGEST_PART]!r} cannot be an artifact's name: {reason}")
    return wanted


def refusal(name: str) -> str | None:
    """Why no artifact may have this name: it is a path of plain parts, below no other folder."""
    if any(char in BIDI or unicodedata.category(char) in HIDDEN for char in name):
        return "its name holds control characters"
    for part in name.split("/"):
        if not part.strip() or part[0] in ".-" or "\\" in part:
            return "a part of its name is empty, begins with a dot or a dash, or has a backslash"
        if len(part) > LONGEST_PART or len(part.encode()) > MOST_BYTES_OF_A_PART:
            return f"a part of its name has more than {LONGEST_PART} characters"
    return f"it lies more than {DEPTH} folders deep" if name.count("/") >= DEPTH else None


class Quota:
    """How many artifacts a run may still have, of how many bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit
        self.count = 0
        self.names: dict[str, str] = {}

    def take(self, name: str, size: int) -> str | None:
        """Count one more; why not, if it may not be. A name that comes again is a newer one."""
        reason = refusal(name)
        if reason is None and self.names.get(name.casefold(), name) != name:
            reason = f"only upper and lower case tell it from {self.names[name.casefold()]!r}"
        if reason is None and self.limit <= 0:
            reason = "no artifacts are kept here"
        if reason is None and self.count >= MOST:
            reason = f"a run has at most {MOST} artifacts"
        if reason is None and size > self.left:
            reason = f"{size} bytes are over the limit of {self.limit} bytes for a run's artifacts"
        if reason is None:
            self.names[name.casefold()] = name
            self.left -= size
            self.count += 1
        return reason
