"""What `import djsci` offers inside a handler: progress, log, artifact, params, result, run."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from . import files
from .artifacts import keep_here
from .files import File
from .requests import HandlerRequest
from .responses import Response
from .results import ResultRefused, answer, encode

__all__ = ["File", "Response", "artifact", "cancelled", "log", "params", "progress", "request"]
__all__ += ["result", "run"]

LEVELS = ("debug", "info", "warning", "error")
FIELDS = 64 << 10  # bytes of a log entry's fields
MOST = 1 << 30  # bytes of a result that nobody but its user waits for
PACE = 0.05  # seconds between two steps that are shown
Item = TypeVar("Item")


@dataclass(slots=True, kw_only=True)
class Channel:
    """How user code reaches its run: an engine installs one."""

    send: Callable[[dict[str, Any]], None]
    request: HandlerRequest = field(default_factory=HandlerRequest)
    run: Mapping[str, Any] = field(default_factory=dict)
    is_cancelled: Callable[[], bool] = lambda: False
    on_result: Callable[[Any], None] | None = None  # raises ResultRefused
    folder: Path | None = None  # where an uploaded file gets its path
    on_artifact: Callable[[Any, str | None], None] = lambda what, name: None


_here: ContextVar[Channel | None] = ContextVar("djsci_channel", default=None)
_process: list[Channel] = []


def install(channel: Channel | None) -> None:
    """The channel of a process that serves one run; None takes it away."""
    _process[:] = [] if channel is None else [channel]


def enter(channel: Channel) -> Token[Channel | None]:
    """The channel of this context, where many runs share a process."""
    return _here.set(channel)


def leave(token: Token[Channel | None]) -> None:
    """Undo `enter`."""
    _here.reset(token)


def _channel() -> Channel | None:
    return _here.get() or (_process[0] if _process else None)


def params() -> dict[str, Any]:
    """The run's parameters: JSON values, validated."""
    channel = _channel()
    return dict(channel.request.parameters) if channel else {}


def arguments(request: HandlerRequest) -> dict[str, Any]:
    """What a handler or a notebook is given: the parameters, with the files they refer to."""
    channel = _channel()
    return files.given(request, channel.folder if channel else None)


def request() -> HandlerRequest:
    """The request that started the run."""
    channel = _channel()
    return channel.request if channel else HandlerRequest()


def run() -> dict[str, Any]:
    """What is known of the run, its `id` among it; empty outside one."""
    channel = _channel()
    return dict(channel.run) if channel else {}


def cancelled() -> bool:
    """Whether the run was asked to stop: a long loop looks here and returns."""
    channel = _channel()
    return channel.is_cancelled() if channel else False


def log(message: str, level: str = "info", **fields: Any) -> None:
    """A line of the run's log: level debug, info, warning or error, and fields that are JSON."""
    if level not in LEVELS:
        raise ValueError(f"level is one of {', '.join(LEVELS)}, not {level!r}")
    channel = _channel()
    if channel is None:
        more = "".join(f" {name}={value!r}" for name, value in fields.items())
        print(f"[{level}] {message}{more}", file=sys.stderr, flush=True)  # noqa: T201
        return
    plain = {name: _plain(value) for name, value in fields.items()}
    channel.send({"type": "log", "level": level, "message": str(message), "fields": plain})


def artifact(what: Any, name: str | None = None) -> None:
    """Keep a file of the run at once: the one at a path, or bytes, which need a name.

    What lies in the working folder when the run ends is kept anyway. Raises `ValueError` for a name
    that no artifact may have and for what is no file, `OSError` where it cannot be read.
    """
    channel = _channel()
    if channel is not None:
        channel.on_artifact(what, name)
        return
    name, size = keep_here(what, name)
    print(f"artifact: {name} ({size} bytes)", file=sys.stderr, flush=True)  # noqa: T201


def result(value: Any) -> None:
    """Set the result of a notebook that has no handler; the last call counts.

    Without a run it is printed, as the JSON that a caller would get.
    """
    channel = _channel()
    if channel is None:
        print(f"result: {encode(answer(value)[0], limit=MOST)}")  # noqa: T201
    elif channel.on_result is None:
        raise RuntimeError("djsci.result() is for notebooks without a handler; return the value")
    else:
        channel.on_result(value)


@overload
def progress(what: float, total: float | None = None, label: str | None = None) -> None: ...
@overload
def progress(
    what: Iterable[Item], total: float | None = None, label: str | None = None
) -> Iterator[Item]: ...
def progress(
    what: float | Iterable[Item], total: float | None = None, label: str | None = None
) -> Iterator[Item] | None:
    """Say how far the run is: a number from 0 to 1, a number of `total`, or each step of a loop.

    `for row in djsci.progress(rows, label="rows"):` says it as the loop goes.
    """
    if isinstance(what, Iterable):
        return _steps(what, total, label)
    _say(float(what), total, label)
    return None


def _steps(items: Iterable[Item], total: float | None, label: str | None) -> Iterator[Item]:
    if total is None:
        size = getattr(items, "__len__", None)
        total = size() if callable(size) else None
    said, count = 0.0, 0
    for count, item in enumerate(items, 1):
        yield item
        if total is not None and count < total and time.monotonic() - said >= PACE:
            _say(count, total, label)
            said = time.monotonic()
    _say(count, total if total is not None else count, label)


def _say(value: float, total: float | None, label: str | None) -> None:
    frame: dict[str, Any] = {"type": "progress", "label": None if label is None else str(label)}
    if total is None:
        if not 0 <= value <= 1:
            raise ValueError(f"progress is a number from 0 to 1, or has a total; not {value!r}")
        frame["value"] = value
    else:
        frame |= {"n": _whole(value), "total": _whole(float(total))}
    channel = _channel()
    if channel is not None:
        channel.send(frame)
        return
    far = f"{value:.0%}" if total is None else f"{_whole(value)}/{_whole(float(total))}"
    print(f"{label or 'progress'}: {far}", file=sys.stderr, flush=True)  # noqa: T201


def _whole(value: float) -> float:
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"progress is a number, not {value!r}")
    return int(value) if value == int(value) else value


def _plain(value: Any) -> Any:
    try:
        return json.loads(encode(value, limit=FIELDS))
    except ResultRefused:
        return repr(value)[:1000]
