"""What a run printed, as text: whole, in parts that stay small, or its last lines."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from djsci.access.database import in_database
from djsci.core.terminal import Filter, plain
from djsci.models import LogRow
from djsci.runs import log

_TAIL_ROWS = 4


def folded(text: str) -> str:
    """Lines that were written over and over, as they ended."""
    lines = text.split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


class Printer:
    """Events in, text out; lines of our own begin at the beginning of a line."""

    def __init__(self, *, with_traceback: bool, is_stripped: bool) -> None:
        self._with_traceback = with_traceback
        self._is_stripped = is_stripped
        self._filters: dict[str, Filter] = {}
        self._is_at_start = True

    def text(self, lines: tuple[str, ...] | list[str]) -> str:
        """The text of these lines of the log."""
        return "".join(self._written(json.loads(line)) for line in lines)

    def _written(self, event: dict[str, Any]) -> str:
        text = self._plain(event) if event["type"] == "stream" else self._own_lines(event)
        if text:
            self._is_at_start = text.endswith("\n")
        return text

    def _plain(self, event: dict[str, Any]) -> str:
        text = str(event["text"])
        if not self._is_stripped:
            return text
        return self._filters.setdefault(str(event["name"]), Filter()).take(text)

    def _own_lines(self, event: dict[str, Any]) -> str:
        said = _said(event, with_traceback=self._with_traceback)
        if said and self._is_stripped:
            said = plain(said)
        return f"{'' if self._is_at_start else chr(10)}{said}\n" if said else ""


def _said(event: dict[str, Any], *, with_traceback: bool) -> str:
    match event["type"]:
        case "log":
            return f"[{event['level']}] {event['message']}"
        case "error" if with_traceback and event["traceback"]:
            return "\n".join(event["traceback"])
        case "error":
            return f"{event['ename']}: {event['evalue']}"
        case "truncated":
            return (
                f"[{event['dropped_bytes']:,} bytes, {event['dropped_lines']:,} lines not kept"
                f" (limit {event['limit']:,} bytes)]"
            )
    return ""


def parts(run_id: str, first: log.Page, printer: Printer) -> Iterator[str]:
    """The text of a run's log as it is now, a page at a time, `first` being read already."""
    page = first
    while page.lines:
        yield printer.text(page.lines)
        if page.last >= first.head:
            return
        page = log.read(run_id, after=page.last)


async def parts_async(run_id: str, first: log.Page, printer: Printer) -> AsyncIterator[str]:
    """The same for ASGI, where a synchronous iterator would be read whole before it is sent."""
    page = first
    while page.lines:
        yield printer.text(page.lines)
        if page.last >= first.head:
            return
        page = await in_database(log.read, run_id, after=page.last)


def tail(run_id: str, *, most: int) -> str:
    """At most `most` characters of a log's end, without escapes; rewritten lines as they ended."""
    rows = LogRow.objects.filter(run_id=run_id).order_by("-last").values_list("data", flat=True)
    lines: list[str] = []
    size = 0
    for data in rows[:_TAIL_ROWS]:
        lines = [*data.split("\n"), *lines]
        size += len(data)
        if size > 4 * most:
            break
    text = Printer(with_traceback=False, is_stripped=True).text(lines)[-4 * most :]
    shown = folded(text)
    return shown if len(shown) <= most else "…" + shown[-most:]
