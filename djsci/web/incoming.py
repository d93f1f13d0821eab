"""Frames that a client sends: their limits, and what they ask for."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from djsci.core.errors import BadRequest, DjsciError, LimitReached, TooLarge
from djsci.core.jsontext import parse_json

MOST_BYTES = 256 << 10
PER_SECOND = 20.0
BURST = 40.0
MOST_KEY = 255

# What a refusal closes with; everything else is 4500.
_CLOSE_CODES = {
    400: 4400,
    401: 4401,
    403: 4403,
    404: 4404,
    405: 4400,
    409: 4400,
    410: 4404,
    412: 4400,
    413: 4413,
    415: 4400,
    422: 4400,
    429: 4429,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Run the file: with `parameters`, or with a whole `request`."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    pass


Command = Start | Cancel | Ping


class Pace:
    """20 frames a second, 40 at once; a faster client is refused."""

    def __init__(self) -> None:
        self._left = BURST
        self._at = time.monotonic()

    def take(self) -> None:
        """Count one frame. Raises `LimitReached`."""
        now = time.monotonic()
        self._left = min(BURST, self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left < 1:
            raise LimitReached(f"At most {PER_SECOND:g} frames a second.", retry_after=30)
        self._left -= 1


def read(text: str | None) -> Command:
    """What a frame asks for. Raises `TooLarge` and `BadRequest`, which end the socket."""
    if text is None:
        raise BadRequest("Frames are JSON text, not binary.")
    if len(text) > MOST_BYTES or len(text.encode(errors="replace")) > MOST_BYTES:
        raise TooLarge(f"A frame has at most {MOST_BYTES} bytes.")
    frame = parse_json(text)
    if not isinstance(frame, dict):
        raise BadRequest("A frame is a JSON object with a `type`.")
    match frame.get("type"):
        case "start":
            return _start(frame)
        case "cancel":
            return Cancel(force=_of_type(frame, "force", bool, False))
        case "ping":
            return Ping()
        case unknown:
            raise BadRequest(f"There is no frame of type {str(unknown)[:40]!r}.")


def _start(frame: dict[str, Any]) -> Start:
    request = _of_type(frame, "request", dict, None)
    if request is not None and frame.get("parameters") is not None:
        raise BadRequest("A start has `parameters` or a `request`, not both.")
    key = _of_type(frame, "key", str, None)
    if key is not None and not 0 < len(key) <= MOST_KEY:
        raise BadRequest(f"A `key` has 1 to {MOST_KEY} characters.")
    return Start(parameters=_of_type(frame, "parameters", dict, {}), request=request, key=key)


def _of_type(frame: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = frame.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise BadRequest(f"`{name}` is not of the type that this frame needs.")
    return value


def close_code(error: DjsciError) -> int:
    """The code that a socket closes with for `error`."""
    if error.code == "draining":
        return 4410
    return _CLOSE_CODES.get(error.status, 4500)


def error_frame(error: DjsciError) -> dict[str, Any]:
    """The frame that says why, before a coded close or after a refused command."""
    frame: dict[str, Any] = {
        "type": "error",
        "code": error.code,
        "title": error.title,
        "detail": error.detail,
    }
    if error.errors:
        frame["errors"] = error.errors
    if error.retry_after is not None:
        frame["retry_after"] = error.retry_after
    return frame
