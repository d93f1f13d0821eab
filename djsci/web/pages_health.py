"""How the site does, for staff: its checks, queues, workers, and what isolation holds here."""

from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from djsci import conf, doctor
from djsci.access.callers import Caller
from djsci.core.errors import DjsciError, Forbidden
from djsci.core.events import LIVE
from djsci.engines import registry
from djsci.isolation import probe
from djsci.models import Executor, Run

from . import readiness
from .page import page, render

MOST_EXECUTORS = 100
LEVELS = {
    "process": "a process of its own, with limits: robustness, no wall against hostile code",
    "landlock": "files and network closed by the kernel's Landlock and seccomp",
    "bwrap": "namespaces, a root of its own, Landlock and seccomp",
    "container": "a container of its own by podman, docker or nerdctl; only where it is named",
}


@page("GET", "POST")
def health_page(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Queue, workers, pools, isolation; a POST tries everything, a kernel's start too."""
    if not caller.user.is_staff:
        raise Forbidden("This page is for staff.")
    context: dict[str, Any] = {
        "checks": async_to_sync(readiness.checked)(),
        "queues": _queues(),
        "executors": _executors(),
        "levels": _levels(),
        "level": _level(),
        "findings": list(doctor.examine()) if request.method == "POST" else [],
        "settings": {
            "slots": conf.running_slots(),
            "pool": conf.get("POOL"),
            "engines": conf.get("ENGINES"),
            "dispatcher": conf.get("DISPATCHER"),
        },
    }
    return render(request, "health.html", context, caller)


def _queues() -> list[dict[str, Any]]:
    counts = Run.objects.filter(state__in=LIVE).values("queue", "state")
    found: dict[str, dict[str, Any]] = {}
    for row in counts.annotate(count=Count("pk"), oldest=Min("created")).order_by("queue"):
        queue = found.setdefault(row["queue"], {"name": row["queue"], "waiting": 0, "running": 0})
        queue["waiting" if row["state"] == "queued" else "running"] += row["count"]
        if row["state"] == "queued":
            queue["oldest"] = row["oldest"]
    for name in conf.get("QUEUES"):
        found.setdefault(name, {"name": name, "waiting": 0, "running": 0})
    return sorted(found.values(), key=lambda queue: str(queue["name"]))


def _executors() -> list[dict[str, Any]]:
    since = timezone.now() - timedelta(seconds=3 * conf.get("HEARTBEAT"))
    rows = Executor.objects.order_by("-seen")[:MOST_EXECUTORS]
    return [{"executor": row, "is_alive": row.seen >= since} for row in rows]


def _levels() -> list[dict[str, str]]:
    """Each level with why it cannot be had; a level's canaries run once an hour at most."""
    rows = [
        {"name": name, "told": told, "reason": probe.probe(name) or ""}
        for name, told in LEVELS.items()
    ]
    nested = probe.probe(probe.NESTED)
    bwrap = next(row for row in rows if row["name"] == "bwrap")
    if nested and not bwrap["reason"]:
        bwrap["told"] += f"; runs are spawned, not forked: {nested}"
    return rows


def _level() -> str:
    try:
        return registry.level()
    except DjsciError as error:
        return f"none: {error.detail}"
