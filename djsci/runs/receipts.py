"""The executed notebook of an ended run, from its version, its row and its log. Sync."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import djsci
from djsci import blobs, versions
from djsci.core import notebooks
from djsci.core.errors import Conflict, Pruned
from djsci.core.events import LIVE
from djsci.core.receipts import Receipt
from djsci.core.sources import Source
from djsci.models import LogRow, Run

from . import artifacts, log
from .reading import iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the database has of it: the rest is files and work, and needs no connection."""

    run: Run
    lines: tuple[str, ...]
    metadata: Mapping[str, Any]

    @property
    def filename(self) -> str:
        entry = self.run.version.entry.rpartition(".")[0] or self.run.version.entry
        return f"{entry}-{self.run.pk}.ipynb"


def require(run: Run) -> None:
    """Raise `Conflict` before the run's end, `Pruned` once its log is gone."""
    if run.state in LIVE:
        raise Conflict("The run has not ended yet.")
    if run.pruned:
        raise Pruned


def gather(run: Run) -> Gathered:
    """Read the log of a run that has a receipt."""
    require(run)
    rows = log.pieces(LogRow.objects.filter(run=run))
    lines = tuple(line for _, data in rows for line in data.split("\n"))
    if len(lines) != run.head:
        raise Pruned  # as they were read
    return Gathered(run=run, lines=lines, metadata=_metadata(run))


def notebook(gathered: Gathered) -> bytes:
    """The `.ipynb`. Raises `SourceInvalid` where the version's content is gone."""
    text = json.dumps(document(gathered), ensure_ascii=False, indent=1)
    return text.encode("utf-8", "replace")


def document(gathered: Gathered) -> dict[str, Any]:
    """The same as a value."""
    run = gathered.run
    source = versions.source(run.version)
    parameters = run.parameters if isinstance(run.parameters, dict) else {}
    receipt = Receipt(source, prose=_prose(source), parameters=parameters, load=_load)
    for event in _events(gathered.lines):
        receipt.take(event)
    result = _result(run)
    if result is not None:
        receipt.give(result)
    metadata = dict(gathered.metadata)
    if result is not None and not source.has_handler:
        metadata["result"] = json.loads(result)
    return receipt.document(metadata)


def _events(lines: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for line in lines:
        yield json.loads(line)


def _prose(source: Source) -> list[tuple[int, str]]:
    if source.kind != "ipynb":
        return []
    text = source.files[source.name].decode("utf-8-sig", errors="replace")
    loaded = notebooks.load(text, name=source.name, depth=versions.limits().depth)
    return notebooks.markdown_cells(loaded, name=source.name) if loaded else []


def _load(sha256: str) -> bytes | None:
    try:
        return blobs.get(sha256)
    except blobs.BlobMissing:
        return None


def _result(run: Run) -> str | None:
    if run.state != "succeeded":
        return None
    return blobs.get(run.result_ref).decode() if run.result_ref else run.result


def _metadata(run: Run) -> dict[str, Any]:
    return {
        "run": run.pk,
        "file": {"id": run.file_id, "name": run.file.name},
        "version": run.version.sha256,
        "entry": run.version.entry,
        "state": run.state,
        "reason": run.reason,
        "created": iso(run.created),
        "started": iso(run.started),
        "ended": iso(run.ended),
        "elapsed": run.elapsed,
        "engine": run.engine,
        "isolation": run.isolation,
        "trigger": run.trigger,
        "user": run.user.get_username() if run.user else None,
        "parameters": run.parameters,
        "artifacts": list(artifacts.of_run(run).values()),
        "djsci": djsci.__version__,
    }
