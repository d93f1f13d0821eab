"""What a run can say: the contract's event types, and their JSON."""

import json
import re
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

FinalState = Literal["succeeded", "failed", "timed_out", "cancelled", "crashed", "lost", "denied"]
State = Literal["queued", "starting", "running", "cancelling"] | FinalState

LIVE: tuple[str, ...] = ("queued", "starting", "running", "cancelling")
FINAL: tuple[str, ...] = (
    "succeeded",
    "failed",
    "timed_out",
    "cancelled",
    "crashed",
    "lost",
    "denied",
)

_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _optional() -> Any:
    return field(default=None, metadata={"optional": True})


def clean(text: str) -> str:
    """Text that every database takes: NUL and lone surrogates become U+FFFD."""
    text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def dumps(value: Any) -> str:
    """Compact JSON text on one line, cleaned, UTF-8 kept."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if "\\u0000" in text:
        text = _ESCAPED_NUL.sub("\\1\ufffd", text)
    return clean(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Json:
    """A value already encoded as JSON text by the worker; written to the log byte for byte."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing a run says."""

    type: ClassVar[str]

    def to_json(self) -> str:
        """The event as one line of JSON, without `seq` and `t`; absent optional fields left out."""
        parts = [f'{{"type":"{self.type}"']
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None and item.metadata.get("optional"):
                continue
            text = clean(value.text) if isinstance(value, Json) else dumps(value)
            parts.append(f'"{item.name}":{text}')
        return ",".join(parts) + "}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Event):
    type: ClassVar[str] = "status"
    state: State
    detail: str | None = _optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Event):
    """Cell `index` of `count` (from 1) starts, is done, or failed."""

    type: ClassVar[str] = "cell"
    index: int
    count: int
    state: Literal["start", "done", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream(Event):
    """Text that was printed: raw, with ANSI and carriage returns."""

    type: ClassVar[str] = "stream"
    name: Literal["stdout", "stderr"]
    text: str
    cell: int | None = _optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Display(Event):
    """The fields that the three displays share: a MIME bundle, as Jupyter sends it."""

    data: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    display_id: str | None = None
    cell: int | None = _optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayData(Display):
    type: ClassVar[str] = "display_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteResult(Display):
    type: ClassVar[str] = "execute_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDisplayData(Display):
    type: ClassVar[str] = "update_display_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearOutput(Event):
    type: ClassVar[str] = "clear_output"
    wait: bool = False
    cell: int | None = _optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far: `value` from 0 to 1, or `n` of `total`."""

    type: ClassVar[str] = "progress"
    value: float | None = _optional()
    n: float | None = _optional()
    total: float | None = _optional()
    label: str | None = _optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Event):
    type: ClassVar[str] = "log"
    level: Literal["debug", "info", "warning", "error"]
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Error(Event):
    """An exception of the user's code; cell and line count from 1."""

    type: ClassVar[str] = "error"
    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()
    cell: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk(Event):
    """One item that a generator yielded: `value`, or `ref` and `size` (bytes) when large."""

    type: ClassVar[str] = "chunk"
    value: Json | None = _optional()
    ref: str | None = _optional()
    size: int | None = _optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(Event):
    type: ClassVar[str] = "artifact"
    name: str
    size: int
    content_type: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncated(Event):
    type: ClassVar[str] = "truncated"
    dropped_bytes: int
    dropped_lines: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Event):
    """What the handler returned. `http` is set when it chose its HTTP answer for `call/`.

    `http`: {"status": int, "headers": {name: value}, "encoding": "json" | "text" | "base64"}; the
    answer's body is `value` as JSON, as text, or decoded from base64. A tuple's value is the whole
    list and its body the list's first item ("encoding": "item").
    """

    type: ClassVar[str] = "result"
    value: Json | None = _optional()
    ref: str | None = _optional()
    size: int | None = _optional()
    http: dict[str, Any] | None = _optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Event):
    """Always last: how the run ended, after how many seconds, and why."""

    type: ClassVar[str] = "end"
    state: FinalState
    elapsed: float | None = None
    reason: str = ""
    abandoned: bool = False
