"""The cap on what a run prints: the first four fifths are kept live, the last fifth to the end."""

from collections import deque
from dataclasses import replace

from djsci.core.events import Log, Stream, Truncated


class OutputCap:
    """Counts stdout and stderr together, in bytes of UTF-8."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._live_left = limit * 4 // 5
        self._tail_limit = limit - self._live_left
        self._tail: deque[Stream] = deque()
        self._tail_bytes = 0
        self._dropped_bytes = 0
        self._dropped_lines = 0
        self._was_reached = False

    def take(self, event: Stream) -> list[Stream | Log]:
        """What of the event is recorded now; the rest waits in the tail or is dropped."""
        if self._live_left >= 4 * len(event.text):
            self._live_left -= len(event.text.encode())
            return [event]
        if self._was_reached:
            self._hold(event)
            return []
        kept, rest = _split(event.text, self._live_left)
        self._live_left -= len(kept.encode())
        live: list[Stream | Log] = [replace(event, text=kept)] if kept else []
        if rest:
            self._was_reached = True
            self._live_left = 0
            live.append(self._warning())
            self._hold(replace(event, text=rest))
        return live

    def drop(self, size: int, lines: int = 0) -> None:
        """Count what had to be dropped elsewhere."""
        self._dropped_bytes += size
        self._dropped_lines += lines

    def finish(self) -> list[Stream | Truncated]:
        """The `truncated` event, if anything was dropped, and the tail."""
        tail: list[Stream | Truncated] = list(self._tail)
        if self._dropped_bytes:
            tail.insert(
                0,
                Truncated(
                    dropped_bytes=self._dropped_bytes,
                    dropped_lines=self._dropped_lines,
                    limit=self.limit,
                ),
            )
        return tail

    def _warning(self) -> Log:
        return Log(
            level="warning",
            message="The output limit is near: from here on only the end is kept.",
            fields={"limit": self.limit},
        )

    def _hold(self, event: Stream) -> None:
        last = self._tail[-1] if self._tail else None
        size = len(event.text.encode())
        if last and (last.name, last.cell) == (event.name, event.cell) and len(last.text) < 16384:
            self._tail[-1] = replace(last, text=last.text + event.text)
        else:
            self._tail.append(event)
        self._tail_bytes += size
        while self._tail_bytes > self._tail_limit:
            self._shorten_tail(self._tail_bytes - self._tail_limit)

    def _shorten_tail(self, excess: int) -> None:
        first = self._tail.popleft()
        size = len(first.text.encode())
        dropped, kept = (first.text, "") if size <= excess else _split_after(first.text, excess)
        if kept:
            self._tail.appendleft(replace(first, text=kept))
        dropped_bytes = len(dropped.encode())
        self._tail_bytes -= dropped_bytes
        self.drop(dropped_bytes, dropped.count("\n"))


def _split(text: str, size: int) -> tuple[str, str]:
    """The longest start of at most `size` bytes, and the rest."""
    kept = text.encode()[:size].decode(errors="ignore")
    return kept, text[len(kept) :]


def _split_after(text: str, size: int) -> tuple[str, str]:
    """The shortest start of at least `size` bytes, and the rest."""
    kept = text.encode()[size:].decode(errors="ignore")
    return text[: len(text) - len(kept)], kept
