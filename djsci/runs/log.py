"""The log in the database: fenced appends, and pages for readers. All functions are sync."""

import json
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from django.db.models import DateTimeField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from djsci.access.database import taking_turns
from djsci.core.errors import BadRequest, NotFound, Pruned
from djsci.core.events import LIVE, End, Error, Event
from djsci.models import LogRow, Run

from . import tallies

Made = TypeVar("Made")
ROW_EVENTS = 256
ROW_BYTES = 256 << 10
_MOST_AT_A_LOOK = 32  # rows
QUEUED_AGAIN: dict[str, Any] = {  # the columns of a run that waits for its next executor
    "state": "queued",
    "executor": None,
    "lease_until": None,
    "rung_at": None,
}


def numbered(event: str, *, seq: int, t: float) -> str:
    """One line of the log: an event's JSON with its `seq` and `t` in front."""
    return f'{{"seq":{seq},"t":{t:.3f},{event[1:]}'


def from_now(seconds: float) -> "ExpressionWrapper[Any]":
    """The database's own time, `seconds` from now."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Lines `head + 1 …` for a run whose lease is held; `columns` of the run change with them."""

    run_id: str
    lease: int
    head: int
    lines: Sequence[str]
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        return self.columns.get("state", "queued") not in LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events `first` to `last` of a run as JSON lines; `head` and `is_ended` as of the reading."""

    first: int
    last: int
    lines: tuple[str, ...]
    head: int
    is_ended: bool
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, form: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` makes of this page in that form, made once for all who read the page."""
        if form not in self._made:
            self._made[form] = make()
        made: Made = self._made[form]
        return made

    @property
    def is_last(self) -> bool:
        """Whether the `end` event is in this page, or before it."""
        return self.is_ended and self.last >= self.head


@dataclass(frozen=True, slots=True)
class Head:
    """How far a run's log goes, whether it has ended, and which executor has the run."""

    head: int
    is_ended: bool
    executor: Any


def heads(run_ids: Sequence[str]) -> dict[str, Head]:
    """The heads of these runs, by id; those that are gone are missing."""
    rows = Run.objects.filter(pk__in=run_ids).values_list("pk", "head", "state", "executor")
    return {pk: Head(head, state not in LIVE, executor) for pk, head, state, executor in rows}


def begin(run: Run, event: Event) -> None:
    """Write a new run together with its log's first line."""
    line = numbered(event.to_json(), seq=1, t=run.created.timestamp())
    run.head, run.bytes = 1, len(line.encode())
    run.save(force_insert=True)
    LogRow.objects.bulk_create(_rows(run.pk, 0, [line]))


def append(item: Append) -> bool:
    """Append inside the caller's transaction; False when the lease is lost or the run is final."""
    return append_all([item])[0]


def append_all(items: Sequence[Append]) -> list[bool]:
    """As `append`, for several runs in the order of their ids.

    What ends is counted last: every transaction locks runs first, then tallies.
    """
    are_mine = [_append(item) for item in items]
    tallies.note_ended(
        item.columns["state"]
        for item, is_mine in zip(items, are_mine, strict=True)
        if is_mine and item.is_final
    )
    return are_mine


def _append(item: Append) -> bool:
    size = sum(len(line.encode()) for line in item.lines)
    changed = Run.objects.filter(
        pk=item.run_id, lease=item.lease, head=item.head, state__in=LIVE
    ).update(head=F("head") + len(item.lines), bytes=F("bytes") + size, **item.columns)
    if changed:
        LogRow.objects.bulk_create(_rows(item.run_id, item.head, item.lines))
    return bool(changed)


def _rows(run_id: str, head: int, lines: Iterable[str]) -> list[LogRow]:
    rows: list[LogRow] = []
    chunk: list[str] = []
    size = 0
    now = timezone.now()

    def close() -> None:
        first = rows[-1].last + 1 if rows else head + 1
        rows.append(
            LogRow(
                run_id=run_id,
                first=first,
                last=first + len(chunk) - 1,
                created=now,
                bytes=size,
                data="\n".join(chunk),
            )
        )

    for line in lines:
        length = len(line.encode())
        if chunk and (len(chunk) >= ROW_EVENTS or size + length > ROW_BYTES):
            close()
            chunk, size = [], 0
        chunk.append(line)
        size += length
    if chunk:
        close()
    return rows


def end_columns(end: End, *, error: Error | None = None) -> dict[str, Any]:
    """The run's columns that are written together with its `end` event."""
    columns: dict[str, Any] = {
        "state": end.state,
        "ended": Now(),
        "elapsed": end.elapsed,
        "reason": end.reason,
        "abandoned": end.abandoned,
        "lease_until": None,
    }
    if error is not None and end.state != "succeeded":
        columns["error"] = json.loads(error.to_json())
        del columns["error"]["type"]
    return columns


@taking_turns()
def take_over(
    run_id: str, *, lease: int, events: Sequence[Event], columns: dict[str, Any], **seen: Any
) -> bool:
    """Claim a run's lease from whoever had it and append `events`; False: somebody was faster.

    `seen`: more columns that must still hold the values that were seen.
    """
    changed = Run.objects.filter(pk=run_id, lease=lease, state__in=LIVE, **seen).update(
        lease=F("lease") + 1
    )
    if not changed:
        return False
    head = Run.objects.values_list("head", flat=True).get(pk=run_id)
    now = time.time()
    lines = [
        numbered(event.to_json(), seq=head + place, t=now) for place, event in enumerate(events, 1)
    ]
    return append(Append(run_id=run_id, lease=lease + 1, head=head, lines=lines, columns=columns))


def pieces(
    rows: "QuerySet[LogRow]", *, after: int = 0, until: int | None = None
) -> Iterator[tuple[int, str]]:
    """The first seq and the lines of each of a run's rows, in order; twice as many at each look.

    Not by a cursor: outside of a transaction PostgreSQL would copy all that it may give.
    """
    count = 2
    while until is None or after < until:
        columns = rows.filter(last__gt=after).order_by("last").values_list("first", "last", "data")
        found = list(columns[:count])
        for first, _, data in found:
            yield first, data
        if len(found) < count:
            return
        after, count = found[-1][1], min(2 * count, _MOST_AT_A_LOOK)


def read(run_id: str, *, after: int, events: int = 1000, size: int = ROW_BYTES) -> Page:
    """One page of the log after seq `after`: at most `events` events and about `size` bytes.

    Raises `NotFound`, `Pruned`, and `BadRequest` when `after` lies beyond the head.
    """
    run = Run.objects.filter(pk=run_id).values("head", "state", "pruned").first()
    if run is None:
        raise NotFound
    if run["pruned"]:
        raise Pruned
    if not 0 <= after <= run["head"]:
        raise BadRequest(f"`after` is {after}; the log's head is {run['head']}.")
    lines: list[str] = []
    read_bytes = 0
    rows = LogRow.objects.filter(run_id=run_id)
    for first, data in pieces(rows, after=after, until=run["head"]):
        if first > after + len(lines) + 1:
            break  # retention has just taken what was between
        for line in data.split("\n")[max(0, after + 1 - first) :]:
            if lines and (len(lines) >= events or read_bytes + len(line) > size):
                break
            lines.append(line)
            read_bytes += len(line)
        else:
            continue
        break
    return Page(
        first=after + 1,
        last=after + len(lines),
        lines=tuple(lines),
        head=run["head"],
        is_ended=run["state"] not in LIVE,
    )
