"""What the guest says inside a kernel: frames in displays of our MIME type, checked again here."""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from djsci.core import events

from . import bundle
from .artifacts import Artifacts

MIME = "application/vnd.djsci.frame+json"
TEXT_LIMIT = 64 << 10
LINES = 400  # of a traceback
OF_DJANGO = ("AppRegistryNotReady", "ImproperlyConfigured")
REFUSED = {"ResultNotJson": "result_not_json", "ResultTooLarge": "result_too_large"}
REFUSED |= {"BadArguments": "bad_parameters"}  # a script's own parser refused its arguments
TRUSTED = (
    "This file runs without the Django project: its models, settings and modules are there only "
    "for a version that a superuser has marked as trusted (`trusted`)."
)


_NO_NETWORK = re.compile(
    r"Connection refused|Network is unreachable|Name or service not known|name resolution"
    r"|could not translate host name|No address associated|\[Errno (?:1|13)\] [A-Z][a-z ]+$"
)
CONNECTIONS = (
    "A run has no network of its own: a superuser grants the file its hosts by name "
    "(`connections`)."
)


# Execution count -> the cell's index, and how many empty lines IPython takes off its top.
Places = Mapping[int, tuple[int, int]]
LEVELS = ("debug", "info", "warning", "error")


class Frames:
    """Reads the frames of one run; keeps its result until the run has ended well."""

    def __init__(
        self,
        *,
        nonce: str,
        result_limit: int,
        artifact_limit: int,
        is_trusted: bool = False,
        has_network: bool = True,
    ) -> None:
        self.nonce = nonce
        self.explained = partial(explained, is_trusted=is_trusted, has_network=has_network)
        self.result_limit = result_limit
        self.artifacts = Artifacts(artifact_limit)
        self.last: str | None = None  # the id of the cell under which result and done count
        self.result: events.Result | None = None
        self.error: events.Error | None = None
        self.is_done = False

    def take(
        self, data: Mapping[str, Any], *, parent: str, places: Places
    ) -> list[events.Event] | None:
        """The events of a frame; None when `data` is an ordinary display."""
        text = data.get(MIME)
        if not isinstance(text, str):
            return None
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(frame, dict) or frame.get("nonce") != self.nonce:
            return None
        try:
            return self._events(frame, is_last=parent == self.last, places=places)
        except (KeyError, TypeError, ValueError, RecursionError):
            return []

    def read(self, frame: Mapping[str, Any], *, places: Places) -> list[events.Event]:
        """The events of a frame that came on the run's own socket."""
        return self._events(frame, is_last=True, places=places)

    def _events(
        self, frame: Mapping[str, Any], *, is_last: bool, places: Places
    ) -> list[events.Event]:
        match frame["type"]:
            case "chunk":
                return [events.Chunk(value=self._json(frame["value"]))]
            case "progress":
                return [_progress(frame)]
            case "log":
                return [_log(frame)]
            case "part":
                return self.artifacts.take_part(frame["of"], str(frame["name"]), frame["data"])
            case "error":
                self.error = _error(frame, places, self.explained)
                return [self.error]
            case "result" if is_last and self.result is None:
                http = frame.get("http")
                self.result = events.Result(
                    value=self._json(frame["value"]),
                    http=http if isinstance(http, dict) else None,
                )
            case "done" if is_last:
                self.is_done = True
        return []

    def _json(self, text: Any) -> events.Json:
        """JSON text that is what it says; the worker is the user's, so it is read again."""
        if not isinstance(text, str) or len(text) > self.result_limit:
            raise ValueError("not JSON text, or too long")
        value = json.loads(text, parse_constant=_refuse)
        if "\n" in text or "\r" in text:
            text = events.dumps(value)
        return events.Json(text=text)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _progress(frame: Mapping[str, Any]) -> events.Progress:
    numbers = {name: frame[name] for name in ("value", "n", "total") if frame.get(name) is not None}
    if not all(isinstance(number, int | float) for number in numbers.values()):
        raise TypeError("progress is told in numbers")
    label = frame.get("label")
    return events.Progress(**numbers, label=None if label is None else str(label)[:TEXT_LIMIT])


def _log(frame: Mapping[str, Any]) -> events.Log:
    fields = frame.get("fields")
    return events.Log(
        level=frame["level"] if frame["level"] in LEVELS else "info",
        message=str(frame["message"])[:TEXT_LIMIT],
        fields=fields if isinstance(fields, dict) else {},
    )


def _error(
    frame: Mapping[str, Any], places: Places, explain: Callable[[str, str], str]
) -> events.Error:
    line, number = frame.get("line"), frame.get("cell")
    ename = str(frame["ename"])[:200]
    cell, offset = places.get(number, (None, 0)) if isinstance(number, int) else (None, 0)
    return events.Error(
        ename=ename,
        evalue=explain(ename, str(frame["evalue"])),
        traceback=tuple(str(part)[:TEXT_LIMIT] for part in frame.get("traceback", ())[:LINES]),
        cell=cell,
        line=line + offset if isinstance(line, int) else None,
    )


def reason(error: events.Error) -> str:
    """Why a run failed: the code of a refused result, an exit code, else the exception."""
    if error.ename in REFUSED:
        return REFUSED[error.ename]
    first = error.evalue.partition("\n")[0][:500]
    if error.ename == "SystemExit":
        code = 0 if first in ("", "None") else first
        return f"exited {code}" if str(code).lstrip("-").isdigit() else "exited 1"
    return f"{error.ename}: {first}" if first else error.ename


def explained(
    ename: str, evalue: str, *, is_trusted: bool = False, has_network: bool = True
) -> str:
    """An error's text, with the switch that would help where something was missed."""
    evalue = evalue[:TEXT_LIMIT]
    is_missed = ename in OF_DJANGO or (ename == "ModuleNotFoundError" and _is_ours(evalue))
    if is_missed and not is_trusted:
        return f"{evalue}\n{TRUSTED}"
    if not has_network and _NO_NETWORK.search(evalue):
        return f"{evalue}\n{CONNECTIONS}"
    return evalue


def _is_ours(evalue: str) -> bool:
    """Whether the module that was not found is one of the project's."""
    name = evalue.partition("'")[2].partition("'")[0].partition(".")[0]
    places = [Path(folder, name) for folder in bundle.hidden()] if name.isidentifier() else []
    return name == "djsci" or any(
        place.is_dir() or place.with_suffix(".py").is_file() for place in places
    )
