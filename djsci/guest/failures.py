"""An exception of the user's code as the `error` frame: short, and without djsci's own frames."""

import os
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

MESSAGE = 64 << 10  # bytes of an exception's text
FRAMES = 100
LINE = 2000  # characters of one line of a traceback
CHAIN = 20  # exceptions that led to each other
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def describe(error: BaseException, *, entry: Mapping[str, int | None]) -> dict[str, Any]:
    """The `error` frame of an exception.

    `entry` maps the file names that the user's entry was compiled under to cells (None: a `.py`);
    `cell` and `line` are the last place in it.
    """
    cell, line = place(error, entry)
    return {
        "type": "error",
        "ename": type(error).__name__,
        "evalue": message(error),
        "traceback": _lines(error, entry),
        "cell": cell,
        "line": line,
    }


def message(error: BaseException) -> str:
    """The exception's text, at most 64 KiB, whatever its `__str__` does."""
    try:
        text = str(error)
    except BaseException as broken:
        text = f"<{type(error).__name__} whose text cannot be made: {type(broken).__name__}>"
    return _clean(text.encode("utf-8", "replace")[:MESSAGE].decode("utf-8", "ignore"))


def place(error: BaseException, entry: Mapping[str, int | None]) -> tuple[int | None, int | None]:
    """The cell and the line of the last frame in `entry`."""
    place: tuple[int | None, int | None] = (None, None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename in entry:
            place = (entry[frame.f_code.co_filename], line)
    if isinstance(error, SyntaxError) and error.filename and error.filename in entry:
        return entry[error.filename], error.lineno
    return place


def _lines(error: BaseException, entry: Mapping[str, int | None]) -> list[str]:
    try:
        report = traceback.TracebackException.from_exception(error, compact=True)
        for part in _chain(report):
            _trim(part.stack, entry)
        lines = [line for block in report.format() for line in block.splitlines()]
    except Exception:  # the user's classes may fail in more ways than one
        lines = traceback.format_tb(_first(error.__traceback__, entry), -FRAMES)
    most = 4 * FRAMES
    kept = lines if len(lines) <= most else [*lines[: most // 2], "…", *lines[-most // 2 :]]
    return [_clean(line[:LINE]) for line in kept]


def _chain(report: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """This one and those that led to it; those further back than `CHAIN` are cut off."""
    waiting = [(report, 0)]
    while waiting:
        part, depth = waiting.pop()
        yield part
        if depth >= CHAIN:
            part.__cause__ = part.__context__ = None
            continue
        led = [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
        waiting += [(other, depth + 1) for other in led if other is not None]


def _trim(stack: traceback.StackSummary, entry: Mapping[str, int | None]) -> None:
    """Drop djsci's frames and those above the entry, then the middle of what is too long."""
    frames = [frame for frame in stack if not frame.filename.startswith(_OWN)]
    in_entry = [index for index, frame in enumerate(frames) if frame.filename in entry]
    if in_entry:
        frames = frames[in_entry[0] :]
    else:
        frames = [frame for frame in frames if not frame.filename.startswith("<frozen ")]
    if len(frames) > FRAMES:
        frames = frames[: FRAMES // 5] + frames[FRAMES // 5 - FRAMES :]
    stack[:] = frames


def _first(trace: TracebackType | None, entry: Mapping[str, int | None]) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename not in entry:
        trace = trace.tb_next
    return trace


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
