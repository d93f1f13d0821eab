"""What the console's script is told of a run: addresses, state, times, and what the reader may."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone

from djsci import conf, runs
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.models import Run

from . import documents, frames


def config(request: HttpRequest, caller: Caller, run: Run) -> dict[str, Any]:
    """The config of `<djsci-run-console>`; `cells` are added by who draws them."""
    path = documents.run_path(run.pk)
    may_read = permissions.may_read(caller, run.file)
    return {
        **_names(run),
        "self": path,
        "events": f"{path}events/",
        "outputs": f"{path}outputs/",
        "notebook": reverse("djsci_run_notebook", args=[run.pk]) if may_read else None,
        "artifacts": f"{path}artifacts/",
        "log": reverse("djsci_run_log", args=[run.pk]).rstrip("/"),
        "compare": f"{reverse('djsci_runs_compare')}?run={run.pk}",
        "cancel": reverse("djsci_run_cancel", args=[run.pk]),
        "page": reverse("djsci_run", args=[run.pk]),
        **_starts(request, caller, run, may_read=may_read),
        "login": resolve_url(settings.LOGIN_URL),
        "catalogue": reverse("djsci_console"),
        "csrf": get_token(request),
        **_times(run),
        "grace": conf.get("GRACE"),
        "heartbeat": conf.intervals.head,
        "timeout": run.timeout,
        "queue": {"ahead": ahead_of(run)} if run.state == "queued" else None,
        "interactive": frames.may_run_scripts(caller, run),
        "error": runs.public_error(run.error, with_traceback=may_read),
        "result": run.result if run.pruned else None,
        "result_size": run.result_size,
        "cells": None,
    }


def _names(run: Run) -> dict[str, Any]:
    return {
        "run": run.pk,
        "ref": run.file_id,
        "state": run.state,
        "reason": run.reason,
        "abandoned": run.abandoned,
        "head": run.head,
        "pruned": run.pruned,
        "version": run.version.sha256,
        "entry": run.version.entry,
        "kind": run.version.kind,
        "trigger": run.trigger,
        "user": run.user.get_username() if run.user else None,
        "engine": run.engine,
        "isolation": run.isolation,
        "parameters": run.parameters,
    }


def _starts(request: HttpRequest, caller: Caller, run: Run, *, may_read: bool) -> dict[str, Any]:
    """Where the reader may go from here, and what they may do."""
    may_see = permissions.may_see(caller, run.file)
    may_run = permissions.may_run(caller, run.file)
    file_page = reverse("djsci_file", args=[run.file_id]) if may_see else None
    sockets = f"{documents.root()}ws/" if isinstance(request, ASGIRequest) else None
    return {
        "file": {"id": run.file_id, "name": run.file.name or run.file_id, "url": file_page},
        "socket": f"{sockets}runs/{run.pk}/" if sockets else None,
        "call": f"{sockets}call/{run.file_id}/" if sockets and may_run else None,
        "edit": f"{file_page}?from={run.pk}" if file_page and may_run else None,
        "again": reverse("djsci_run_again", args=[run.pk])
        if may_run and may_repeat(caller, run, may_read=may_read)
        else None,
        "may": {"cancel": permissions.may_cancel(caller, run), "run": may_run, "read": may_read},
    }


def may_repeat(caller: Caller, run: Run, *, may_read: bool) -> bool:
    """Whether the run's request is the caller's to send again: a body may hold another's words."""
    return run.user_id == caller.user.pk or may_read


def _times(run: Run) -> dict[str, Any]:
    return {
        "now": timezone.now().timestamp(),
        "created": _unix(run.created),
        "started": _unix(run.started),
        "ended": _unix(run.ended),
        "elapsed": run.elapsed,
    }


def _unix(time: datetime | None) -> float | None:
    return time.timestamp() if time else None


def ahead_of(run: Run) -> int:
    """How many runs of the same queue were asked for earlier and still wait."""
    earlier = Q(created__lt=run.created) | Q(created=run.created, pk__lt=run.pk)
    return Run.objects.filter(earlier, state="queued", queue=run.queue).count()
