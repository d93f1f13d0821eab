"""Runs as rows of a list: what a row shows in one query, without what may be long."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet, TextField, Value
from django.db.models.functions import Coalesce, Substr
from django.utils import timezone

from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.models import Run

from .run_words import seconds

PREVIEW = 160  # characters of a result
_LONG = ("request", "result", "parameters", "http", "version__parameters", "file__metadata")


def light(runs: "QuerySet[Run]") -> "QuerySet[Run]":
    """The rows with file, version and user, and `preview` instead of the result."""
    preview = Coalesce(Substr("result", 1, PREVIEW), Value(""), output_field=TextField())
    return runs.select_related("file", "user", "version").annotate(preview=preview).defer(*_LONG)


def drawn(rows: Sequence[Run], caller: Caller) -> list[Any]:
    """The rows with `took`, a text, and `is_cancellable`."""
    now = timezone.now()
    for run in rows:
        row: Any = run
        row.took = _took(run, now)
        row.is_cancellable = not run.is_final and permissions.may_cancel(caller, run)
    return list(rows)


def _took(run: Run, now: Any) -> str:
    if run.elapsed is not None:
        return seconds(run.elapsed)
    return f"{seconds((now - run.started).total_seconds())} so far" if run.started else ""
