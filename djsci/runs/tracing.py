"""OpenTelemetry spans of admissions and runs, where its library is installed; else nothing."""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    trace = None

from djsci import __version__

_FINE = ("succeeded", "cancelled")
_tracer: Any = trace.get_tracer("djsci", __version__) if trace else None


class Span:
    """What is told of one admission or run: names and states, never what somebody wrote."""

    def note(self, **attributes: str) -> None:
        """Say more of it, as `djsci.<name>`."""

    def fail(self, why: str) -> None:
        """It went wrong: `why` is one of our own words."""

    def end(self, state: str) -> None:
        """How a run ended."""
        self.note(state=state)
        if state not in _FINE:
            self.fail(state)


class _Recorded(Span):
    def __init__(self, span: Any) -> None:
        self._span = span

    def note(self, **attributes: str) -> None:
        self._span.set_attributes({f"djsci.{name}": text for name, text in attributes.items()})

    def fail(self, why: str) -> None:
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, why))


_NOTHING = nullcontext(Span())


def of_admission(headers: Mapping[str, str], **attributes: str) -> AbstractContextManager[Span]:
    """A span below the one that is current, else below the caller's."""
    if _tracer is None:
        return _NOTHING
    is_below = trace.get_current_span().get_span_context().is_valid
    return _recorded("djsci.admit", None if is_below else _context(headers), attributes)


def of_run(headers: Mapping[str, str], **attributes: str) -> AbstractContextManager[Span]:
    """A span below the caller's; what is current is of whoever rang the executor."""
    return _NOTHING if _tracer is None else _recorded("djsci.run", _context(headers), attributes)


@contextmanager
def _recorded(name: str, above: Any, attributes: Mapping[str, str]) -> Iterator[Span]:
    with _tracer.start_as_current_span(
        name, context=above, record_exception=False, set_status_on_exception=False
    ) as started:
        told = _Recorded(started)
        told.note(**attributes)
        try:
            yield told
        except BaseException as error:
            told.fail(getattr(error, "code", "") or type(error).__name__)
            raise


def _context(headers: Mapping[str, str]) -> Any:
    """Whose span the caller named (W3C `traceparent`)."""
    carrier = {name.lower(): text for name, text in headers.items()}
    return TraceContextTextMapPropagator().extract(carrier)


def is_on() -> bool:
    """Whether spans go anywhere."""
    return _tracer is not None


def headers_of(request: str) -> dict[str, str]:
    """The caller's headers in a run's stored request; none in one that is a blob."""
    if not request or request.startswith("blob:"):
        return {}
    return dict(json.loads(request).get("headers") or {})
