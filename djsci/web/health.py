"""Is this process alive, can it serve, and what does the site do: for probes and Prometheus."""

import asyncio
import ipaddress
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from djsci import blobs, calling, conf, surface
from djsci.access.database import in_database
from djsci.core.errors import DjsciError, NotFound
from djsci.core.events import FINAL, LIVE
from djsci.models import Executor, Run
from djsci.runs import executor, streams

from . import documents

_KEPT_SECONDS = 1.0
_CHECK_SECONDS = 1.0
_MEASURED_SECONDS = 5.0
_OLDEST_SECONDS = 60.0
_LEAST_DISK = 0.05
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip")


@surface.readable
async def live(request: HttpRequest) -> HttpResponseBase:
    """This process's loop turns."""
    if request.method != "GET":
        return surface.refused_method(("GET",))
    return documents.answer({"status": "ok"})


@surface.readable
async def ready(request: HttpRequest) -> HttpResponseBase:
    """503 for what this process lacks, 200 `degraded` for what others lack; staff see why."""
    if request.method != "GET":
        return surface.refused_method(("GET",))
    found = await checked()
    failed = [name for name, reason in found.items() if reason and name in _OWN]
    degraded = any(found.values())
    status = "unavailable" if failed else "degraded" if degraded else "ok"
    body: dict[str, Any] = {
        "status": status,
        "checks": {name: "failed" if reason else "ok" for name, reason in found.items()},
    }
    if any(found.values()) and "database" not in failed and await _is_staff(request):
        body["details"] = {name: reason for name, reason in found.items() if reason}
    answer = documents.answer(body, status=503 if failed else 200)
    if failed:
        answer["Retry-After"] = "5"
    return answer


async def checked() -> dict[str, str]:
    """Each check's name with what is wrong, or ''; kept for a second."""
    global _kept
    until, found = _kept
    if time.monotonic() >= until:
        names = list(_CHECKS)
        reasons = await asyncio.gather(*(_check(name) for name in names))
        found = dict(zip(names, reasons, strict=True))
        _kept = (time.monotonic() + _KEPT_SECONDS, found)
    return found


async def _check(name: str) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await in_database(_CHECKS[name])
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as error:
        return type(error).__name__


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _draining() -> str:
    current = executor.current()
    return "shutting down" if current is not None and current.is_draining else ""


def _storage() -> str:
    blobs.put(b"")
    return ""


def _executors() -> str:
    """Whether somebody serves every queue in which runs wait."""
    since = timezone.now() - timedelta(seconds=3 * conf.get("HEARTBEAT"))
    served: set[str] = set()
    for queues in Executor.objects.filter(seen__gte=since, is_draining=False).values_list(
        "queues", flat=True
    ):
        served.update(queues)
    waiting = set(Run.objects.filter(state="queued").values_list("queue", flat=True).distinct())
    missing = sorted(waiting - served)
    return f"nobody serves {', '.join(missing)}" if missing else ""


def _queue() -> str:
    oldest = Run.objects.filter(state="queued").aggregate(oldest=Min("created"))["oldest"]
    age = (timezone.now() - oldest).total_seconds() if oldest else 0.0
    return f"the oldest run has waited for {age:.0f} s" if age > _OLDEST_SECONDS else ""


def _disk() -> str:
    storage = blobs.storage()
    if not isinstance(storage, FileSystemStorage):
        return ""
    usage = shutil.disk_usage(storage.path(""))
    return f"{usage.free} bytes are free" if usage.free < usage.total * _LEAST_DISK else ""


_CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "draining": _draining,
    "storage": _storage,
    "executors": _executors,
    "queue": _queue,
    "disk": _disk,
}
_OWN = ("database", "draining", "storage")
_kept: tuple[float, dict[str, str]] = (0.0, {})
_measured_then: tuple[float, str] = (0.0, "")


@surface.readable
async def metrics(request: HttpRequest) -> HttpResponseBase:
    """Prometheus text, for staff and for this machine itself; 404 to all others."""
    if request.method != "GET":
        return surface.refused_method(("GET",))
    if not (_is_local(request) or await _is_staff(request)):
        raise NotFound
    global _measured_then
    until, text = _measured_then
    if time.monotonic() >= until:
        text = await in_database(_measured)
        _measured_then = (time.monotonic() + _MEASURED_SECONDS, text)
    text += f"# TYPE djsci_streams gauge\ndjsci_streams {streams.count()}\n"
    return HttpResponse(text, content_type="text/plain; version=0.0.4; charset=utf-8")


def _is_local(request: HttpRequest) -> bool:
    """From loopback, and not by a proxy there."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


async def _is_staff(request: HttpRequest) -> bool:
    try:
        caller, _ = await calling.identify(request, is_unsafe=False)
    except DjsciError:
        return False
    return caller.is_authenticated and bool(getattr(caller.user, "is_staff", False))


def _measured() -> str:
    now = timezone.now()
    counts = {
        (row["state"], row["queue"]): row["count"]
        for row in Run.objects.values("state", "queue").annotate(count=Count("pk"))
    }
    oldest = Run.objects.filter(state="queued").values("queue").annotate(oldest=Min("created"))
    seen = Executor.objects.filter(seen__gte=now - timedelta(seconds=3 * conf.get("HEARTBEAT")))
    lines: list[str] = []
    live_runs = {
        _labels(state=state, queue=queue): count
        for (state, queue), count in counts.items()
        if state in LIVE
    }
    _series(lines, "runs", "gauge", live_runs)
    ended = {
        _labels(state=state): sum(n for (s, _), n in counts.items() if s == state)
        for state in FINAL
    }
    _series(lines, "runs_ended_total", "counter", ended)
    _series(
        lines,
        "queue_oldest_seconds",
        "gauge",
        {_labels(queue=row["queue"]): (now - row["oldest"]).total_seconds() for row in oldest},
    )
    _series(lines, "executors", "gauge", {"": seen.count()})
    return "\n".join(lines) + "\n"


def _series(lines: list[str], name: str, kind: str, values: dict[str, float]) -> None:
    lines.append(f"# TYPE djsci_{name} {kind}")
    lines.extend(f"djsci_{name}{labels} {value:g}" for labels, value in values.items())


def _labels(**labels: str) -> str:
    texts = (
        f'{name}="{value.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in labels.items()
    )
    return "{" + ",".join(texts) + "}"
