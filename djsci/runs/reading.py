"""What a run looks like from outside: the contract's JSON, its result, and its log lines."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from djsci import blobs
from djsci.access.database import in_database_soon, in_files
from djsci.core.errors import NotFound
from djsci.core.events import LIVE
from djsci.models import Run

from . import following, log


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as a surface needs it. `result` is JSON text; None when there is none, or a blob."""

    id: str
    file_id: str
    state: str
    reason: str
    result: str | None
    result_ref: str
    http: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def is_final(self) -> bool:
        return self.state not in LIVE


_VIEWED = ("file_id", "state", "reason", "result", "result_ref", "http", "error")


def iso(time: datetime | None) -> str | None:
    """ISO 8601 in UTC, or None."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def describe(run: Run, *, with_traceback: bool) -> dict[str, Any]:
    """The contract's run, without `links`; `run.file`, `.version` and `.user` are read."""
    reference = {"ref": _result_path(run.pk), "size": run.result_size} if run.result_ref else None
    return {
        "id": run.pk,
        "file": {"id": run.file_id, "name": run.file.name},
        "version": run.version.sha256,
        "state": run.state,
        "created": iso(run.created),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "user": run.user.get_username() if run.user else None,
        "trigger": run.trigger,
        "attempt": run.starts,
        "engine": run.engine,
        "isolation": run.isolation,
        "parameters": run.parameters,
        "result": json.loads(run.result) if run.result is not None else None,
        "result_ref": reference,
        "error": public_error(run.error, with_traceback=with_traceback),
        "elapsed": run.elapsed,
        "reason": run.reason,
        "abandoned": run.abandoned,
    }


def _result_path(run_id: str) -> str:
    return f"/djsci/api/v1/runs/{run_id}/result/"


def public_error(error: dict[str, Any] | None, *, with_traceback: bool) -> dict[str, Any] | None:
    """The error's fields; the traceback only for those who may read the source."""
    if error is None or with_traceback:
        return error
    return {**error, "traceback": []}


async def get(run_id: str) -> Run:
    """The run with its file, version and user. Raises `NotFound`."""
    return await in_database_soon(get_now, run_id)


def get_now(run_id: str) -> Run:
    """As `get`, in a thread that may query."""
    run = Run.objects.select_related("file", "version", "user").filter(pk=run_id).first()
    if run is None:
        raise NotFound
    return run


async def finish(run_id: str, *, wait: float | None) -> RunView | None:
    """The run once its `end` is committed; None when `wait` seconds pass first."""
    if not await following.finish(run_id, wait=wait):
        return None
    return await in_database_soon(_view_now, run_id)


def _view_now(run_id: str) -> RunView:
    """The columns of a view and no more: somebody waits for this answer."""
    run = Run.objects.filter(pk=run_id).only(*_VIEWED).first()
    if run is None:
        raise NotFound
    return view(run)


def view(run: Run) -> RunView:
    """What a surface needs to answer for an ended run."""
    return RunView(
        id=run.pk,
        file_id=run.file_id,
        state=run.state,
        reason=run.reason,
        result=run.result,
        result_ref=run.result_ref,
        http=run.http,
        error=run.error,
    )


async def result_text(run: RunView) -> str:
    """The result's JSON text, from the row or from storage."""
    if run.result_ref:
        return (await in_files(blobs.get, run.result_ref)).decode()
    return run.result if run.result is not None else "null"


async def page(run_id: str, *, after: int, events: int = 1000) -> log.Page:
    """One page of the log as it is now; it may be empty."""
    return await in_database_soon(log.read, run_id, after=after, events=events)
