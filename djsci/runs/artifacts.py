"""A run's artifacts as its log names them. All functions are sync."""

import json
from typing import Any

from djsci.core.errors import NotFound, Pruned
from djsci.models import LogRow, Run

from . import log

_FIELDS = ("name", "size", "content_type", "sha256")


def of_run(run: Run) -> dict[str, dict[str, Any]]:
    """The artifacts by name, in the order of the log; of one name the newest. Raises `Pruned`."""
    if run.pruned:
        raise Pruned
    found: dict[str, dict[str, Any]] = {}
    rows = LogRow.objects.filter(run=run, data__contains='"type":"artifact"')
    for _, data in log.pieces(rows):
        for line in data.split("\n"):
            # The text alone may be a user's own, inside another event.
            if '"type":"artifact"' in line and (event := json.loads(line))["type"] == "artifact":
                found[event["name"]] = {field: event[field] for field in _FIELDS}
    if Run.objects.filter(pk=run.pk, pruned=True).exists():
        raise Pruned  # as it was read
    return found


def named(run: Run, name: str) -> dict[str, Any]:
    """One artifact. Raises `NotFound`, `Pruned`."""
    try:
        return of_run(run)[name]
    except KeyError as error:
        raise NotFound from error
