"""The site's figures and this process's as Prometheus text, without a client library."""

import ipaddress
import os
import time
from collections.abc import Mapping
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from djsci import calling, surface
from djsci.access.database import in_database
from djsci.core.errors import NotFound
from djsci.runs import dispatch, doorbell, load, streams, tallies

_KEPT_SECONDS = 5.0
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip")
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_kept: tuple[float, str] = (0.0, "")
Series = Mapping[str, float]  # by labels: what stands in braces, or ""


@surface.readable
async def metrics(request: HttpRequest) -> HttpResponseBase:
    """Prometheus text, for staff and for this machine itself; 404 to all others."""
    if request.method != "GET":
        return surface.refused_method(("GET",))
    if not (_is_local(request) or await calling.is_staff(request)):
        raise NotFound
    global _kept
    until, text = _kept
    if time.monotonic() >= until:
        text = await in_database(_of_site)
        _kept = (time.monotonic() + _KEPT_SECONDS, text)
    return HttpResponse(text + _of_process(), content_type=_CONTENT_TYPE)


def _is_local(request: HttpRequest) -> bool:
    """From loopback, and not by a proxy there."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _of_site() -> str:
    """What the database knows: the same from every process."""
    queues = load.queues()
    by_state = {
        _labels(state=state, queue=queue.name): count
        for queue in queues
        for state, count in queue.states.items()
    }
    slots = {
        _labels(queue=queue.name, busy=word): count
        for queue in queues
        for word, count in (("false", max(0, queue.slots - queue.busy)), ("true", queue.busy))
    }
    ended = {_labels(state=state): count for state, count in tallies.ended().items()}
    swept = tallies.last_sweep()
    age = {"": max(0.0, (timezone.now() - swept).total_seconds())} if swept else {}
    return "".join(
        (
            _gauge("runs", "Runs that have not ended.", by_state),
            _counter("runs_ended_total", "Runs that have ended since the first.", ended),
            _gauge(
                "queue_oldest_seconds",
                "How long the oldest run that may start has waited; 0: none waits.",
                {_labels(queue=queue.name): queue.age for queue in queues},
            ),
            _gauge(
                "executors",
                "Executors that live and take runs of the queue.",
                {_labels(queue=queue.name): queue.executors for queue in queues},
            ),
            _gauge("slots", "Their slots, by whether a run is in them.", slots),
            _counter(
                "reaped_total", "Runs taken from executors that vanished.", {"": tallies.reaped()}
            ),
            _gauge("sweep_age_seconds", "Since any process last completed a sweep.", age),
        )
    )


def _of_process() -> str:
    """What this process alone knows."""
    failed = {
        _labels(to="layer"): doorbell.failures(),
        _labels(to="broker"): dispatch.current().failures,
    }
    return "".join(
        (
            _gauge("streams", "Open sockets and streams of this process.", {"": streams.count()}),
            _gauge("resident_memory_bytes", "Memory of this process.", _found(_resident())),
            _gauge("open_fds", "Open file descriptors of this process.", _found(_descriptors())),
            _counter("rings_failed_total", "Rings this process could not send.", failed),
        )
    )


def _found(value: int | None) -> Series:
    return {} if value is None else {"": value}


def _resident() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _descriptors() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def _gauge(name: str, told: str, values: Series) -> str:
    return _family(name, "gauge", told, values)


def _counter(name: str, told: str, values: Series) -> str:
    return _family(name, "counter", told, values)


def _family(name: str, kind: str, told: str, values: Series) -> str:
    """A metric with its help and its values; empty where nothing is known."""
    if not values:
        return ""
    lines = [f"# HELP djsci_{name} {told}", f"# TYPE djsci_{name} {kind}"]
    lines += [f"djsci_{name}{labels} {value!r}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    escaped = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    texts = (f'{name}="{value.translate(escaped)}"' for name, value in labels.items())
    return "{" + ",".join(texts) + "}"
