"""Events of a run as a terminal shows them: the result on stdout, all else on stderr."""

import base64
import json
from pathlib import Path
from typing import Any, TextIO

from djsci.core import events
from djsci.core.events import Event
from djsci.core.terminal import Filter, plain, plain_json

_ERASE = "\r\x1b[K"


class Printer:
    """Shows events as they come; keeps the result and the end for last.

    `is_pretty`: the result is indented, else on one line.
    """

    def __init__(self, out: TextIO, err: TextIO, *, is_pretty: bool, has_colours: bool) -> None:
        self.out = out
        self.err = err
        self.is_pretty = is_pretty
        self.is_live = err.isatty()
        self.result: events.Result | None = None
        self.error: events.Error | None = None
        self.end = events.End(state="crashed", reason="nothing was said")
        self.named = ("", "")  # the run's own folder, and the one that tracebacks name instead
        self._status = ""  # the line of progress that stands on the terminal now
        self._is_line_open = False
        self._filter = Filter(has_colours=has_colours)

    def show(self, event: Event) -> None:
        """Write what one event says."""
        match event:
            case events.Stream(text=text):
                self._write(text)
            case events.Display(data=data):
                self._write(_display(data))
            case events.Progress():
                self._show_status(_far(event))
            case events.Cell(index=index, count=count, state="start"):
                self._show_status(f"cell {index} of {count}")
            case events.Log(level=level, message=message, fields=fields):
                more = "".join(f" {name}={_short(value)}" for name, value in fields.items())
                self._write(f"[{level}] {message}{more}\n")
            case events.Error():
                self._show_error(event)
            case events.Result():
                self.result = event
            case events.End():
                self.end = event
                self._erase()

    def finish(self, output: Path | None) -> None:
        """Write the result: JSON on `out`, and into the file `output` what a caller would get."""
        self._erase()
        if self.result is None or self.result.value is None:
            return
        text = self.result.value.text
        if output is not None:
            output.write_bytes(_body(text, self.result.http))
        self._end_line()
        status = (self.result.http or {}).get("status", 200)
        if status >= 400:
            self.say(f"djsci: the answer's HTTP status is {status}")
        if self.is_pretty:
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        self.out.write(f"{plain_json(text)}\n")
        self.out.flush()

    def say(self, text: str) -> None:
        """A line of our own."""
        self._write(f"{text}\n")

    def _show_error(self, error: events.Error) -> None:
        self.error = error
        lines = error.traceback or (f"{error.ename}: {error.evalue}",)
        self._end_line()
        text = "\n".join(lines).rstrip("\n") + "\n"
        self._write(text.replace(*self.named) if self.named[0] else text)

    def _write(self, text: str) -> None:
        if not text:
            return
        self._erase()
        shown = self._filter.take(text)
        if shown:
            self._is_line_open = not shown.endswith("\n")
        self.err.write(shown)
        self.err.flush()

    def _show_status(self, text: str) -> None:
        text = " ".join(plain(text).split())
        if self.is_live and not self._is_line_open and text != self._status:
            self._status = text
            self.err.write(_ERASE + text[:100])
            self.err.flush()

    def _erase(self) -> None:
        if self._status:
            self._status = ""
            self.err.write(_ERASE)
            self.err.flush()

    def _end_line(self) -> None:
        """A line of ours does not go on where the run's own stopped, on a terminal."""
        if self._is_line_open and self.is_live:
            self._write("\n")


def _display(data: dict[str, Any]) -> str:
    for kind in ("text/plain", "text/markdown", "text/html"):
        if isinstance(data.get(kind), str):
            return str(data[kind]).rstrip("\n") + "\n"
    return f"<{', '.join(data)}>\n" if data else ""


def _far(event: events.Progress) -> str:
    label = f"{event.label}: " if event.label else ""
    if event.value is not None:
        return f"{label}{event.value:.0%}"
    return f"{label}{event.n or 0:g} of {event.total or 0:g}"


def _short(value: Any) -> str:
    return events.dumps(value)[:200]


def _body(text: str, http: dict[str, Any] | None) -> bytes:
    value, encoding = json.loads(text), (http or {}).get("encoding", "json")
    if encoding == "base64" and isinstance(value, str):
        return base64.b64decode(value)
    if encoding == "text" and isinstance(value, str):
        return value.encode("utf-8", "replace")
    if encoding == "item" and isinstance(value, list):
        value = value[0]
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "replace")
