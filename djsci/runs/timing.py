"""Where a run's time went, by its log: waiting, starting, each cell. Sync."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from djsci.models import LogRow, Run

from . import log

MOST_BYTES = 16 << 20  # of a log: of a longer one the later cells are not looked for
_TIMED = re.compile(r'\{"seq":\d+,"t":[\d.]+,"type":"(?:status|cell)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds, where the log tells them; `cells` by their index."""

    waited: float | None = None
    starting: float | None = None
    cells: dict[int, float] = field(default_factory=dict)


def times(run: Run) -> Times:
    """The times of a run; of one that was started anew those of its last start."""
    states: dict[str, float] = {"queued": run.created.timestamp()}
    begun: dict[int, float] = {}
    cells: dict[int, float] = {}
    for event in _timed(run):
        if event["type"] == "status":
            states[event["state"]] = event["t"]
        elif event["state"] == "start":
            begun[event["index"]] = event["t"]
        elif event["index"] in begun:
            cells[event["index"]] = event["t"] - begun.pop(event["index"])
    waited = states.get("starting", run.started.timestamp() if run.started else None)
    starting = {"starting", "running"} <= states.keys()
    return Times(
        waited=None if waited is None else max(waited - states["queued"], 0),
        starting=states["running"] - states["starting"] if starting else None,
        cells=cells,
    )


def _timed(run: Run) -> Iterator[dict[str, Any]]:
    read = 0
    for _, data in log.pieces(LogRow.objects.filter(run=run)):
        yield from (json.loads(line) for line in data.split("\n") if _TIMED.match(line))
        read += len(data)
        if read > MOST_BYTES:
            return
