"""How the site does, for staff: checks, queues, workers, pools, failures, isolation."""

import os
import platform
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from djsci import conf, doctor
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.errors import DjsciError, Forbidden
from djsci.engines import registry
from djsci.isolation import evidence, probe
from djsci.models import Executor
from djsci.runs import executor, load, tallies

from . import readiness, run_rows
from .page import page, render

MOST_EXECUTORS = 100
MOST_FAILURES = 20
RECENT_DAYS = 7
REFRESH = 10  # seconds
FAILED = ("failed", "crashed", "lost", "timed_out")
LEVELS = {
    "process": "a process of its own, with limits: robustness, no wall against hostile code",
    "landlock": "files and network closed by the kernel's Landlock and seccomp",
    "bwrap": "namespaces, a root of its own, Landlock and seccomp",
    "container": "a container of its own by podman, docker or nerdctl; only where it is named",
}


@page("GET", "POST")
def health_page(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Queues, workers, pools, failures; a POST tries everything, a kernel's start too."""
    if not caller.user.is_staff:
        raise Forbidden("This page is for staff.")
    context: dict[str, Any] = {
        "every": REFRESH if request.GET.get("every") else 0,
        "refresh": REFRESH,
        "checks": async_to_sync(readiness.checked)(),
        "queues": load.queues(),
        "swept": tallies.last_sweep(),
        "executors": _executors(),
        "pools": _pools(),
        "runs": _failures(caller),
        "process": f"{platform.node()}:{os.getpid()}",
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


def _executors() -> list[dict[str, Any]]:
    living = set(load.living().values_list("pk", flat=True))
    rows = Executor.objects.order_by("-seen")[:MOST_EXECUTORS]
    return [{"executor": row, "is_alive": row.pk in living} for row in rows]


def _pools() -> list[dict[str, Any]]:
    """What the engines of this very process have in their hands; each process has its own."""
    current = executor.current()
    stocks = current.stock() if current is not None else {}
    return [
        {"words": _words(choice), "stock": stock}
        for choice, stock in sorted(stocks.items(), key=lambda item: _words(item[0]))
    ]


def _words(choice: registry.Choice) -> str:
    kind = "warm" if choice.instance == "warm" else choice.engine
    more = (
        "trusted" if choice.is_trusted else choice.isolation,
        choice.environment,
        "open" if choice.has_network else "",
    )
    return ", ".join(word for word in (kind, *more) if word)


def _failures(caller: Caller) -> list[Any]:
    since = timezone.now() - timedelta(days=RECENT_DAYS)
    found = permissions.visible_runs(caller).filter(state__in=FAILED, created__gte=since)
    rows = run_rows.light(found).order_by("-created", "-pk")[:MOST_FAILURES]
    return run_rows.drawn(list(rows), caller)


def _levels() -> list[dict[str, str]]:
    """Each level with why it cannot be had; a level's canaries run once an hour at most."""
    rows = [
        {"name": name, "told": told, "reason": probe.probe(name) or ""}
        for name, told in LEVELS.items()
    ]
    nested = probe.probe(evidence.NESTED)
    bwrap = next(row for row in rows if row["name"] == "bwrap")
    if nested and not bwrap["reason"]:
        bwrap["told"] += f"; runs are spawned, not forked: {nested}"
    return rows


def _level() -> str:
    try:
        return registry.level()
    except DjsciError as error:
        return f"none: {error.detail}"
