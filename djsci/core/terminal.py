"""Printed text that a terminal may show: whatever a run prints, it only prints.

A title, the clipboard, the screen and the direction of the text are the terminal's own: what would
set them is dropped (ECMA-48's OSC, DCS and C1, other controls, Unicode's bidi controls).
"""

import re

LONGEST = 4096  # characters of a sequence that may still be unfinished
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*"  # OSC, DCS and their like
_SEQUENCE = re.compile(
    rf"""
    (?P<kept>\x1b\[[0-9;:]*[mKACDG])            # colours, and bars that move about in their lines
    | (?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]
    | {_STRING}(?:\x07|\x1b\\|\x9c|(?=[\x1b\n]))
    | \x1b(?:[ -/]+[0-~]|[0-OQ-WYZ\\`a-z{{|}}~])
    | (?P<open>(?:{_STRING}|(?:\x1b\[|\x9b)[0-?]*[ -/]*|\x1b[ -/]*)\Z)
    | [\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]
    """,
    re.VERBOSE,
)
_IN_JSON = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Filter:
    """One stream's text, piece by piece; a sequence may be cut between two pieces."""

    def __init__(self, *, has_colours: bool = False) -> None:
        self._has_colours = has_colours
        self._open = ""

    def take(self, text: str) -> str:
        """What may be shown of the next piece."""
        text, self._open = self._open + text, ""
        return _SEQUENCE.sub(self._shown, text)

    def _shown(self, found: re.Match[str]) -> str:
        if found["open"] and len(found[0]) < LONGEST:
            self._open = found[0]
        return found[0] if found["kept"] and self._has_colours else ""


def plain(text: str) -> str:
    """The text without anything that a terminal would obey, but for lines, tabs and backspace."""
    return Filter().take(text)


def plain_json(text: str) -> str:
    """The same value as JSON that is only text: what JSON leaves unescaped is written as `\\u…`."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
