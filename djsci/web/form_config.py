"""What `<djsci-handler-form>` is told: as the console of a run that is not there yet."""

from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone

from djsci import conf
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.models import PrivateFile, Version

from . import documents

RUN = "{run}"  # in addresses: the id of the run that the form starts


def config(
    request: HttpRequest, caller: Caller, file: PrivateFile, version: Version
) -> dict[str, Any]:
    """As `run_config.config`, with `run` null, addresses that hold `{run}`, and the `schema`."""
    path = documents.run_path(RUN)
    page = reverse("djsci_run", args=["RUN"]).replace("RUN", RUN)
    own = reverse("djsci_file", args=[file.pk])
    is_live = isinstance(request, ASGIRequest)
    may_read = permissions.may_read(caller, file)
    return {
        "run": None,
        "file": {"id": file.pk, "name": file.name or file.pk, "url": own},
        "ref": file.pk,
        "state": "queued",
        "head": 0,
        "pruned": False,
        "version": version.sha256,
        "entry": version.entry,
        "kind": version.kind,
        "trigger": "socket",
        "user": caller.user.get_username(),
        "engine": None,
        "isolation": None,
        "parameters": {},
        "socket": f"{documents.root()}ws/runs/{RUN}/" if is_live else None,
        "call": f"{documents.root()}ws/call/{file.pk}/" if is_live else None,
        "self": path,
        "events": f"{path}events/",
        "outputs": f"{path}outputs/",
        "notebook": f"{page}notebook/" if may_read else None,
        "artifacts": f"{path}artifacts/",
        "log": f"{page}log.txt",
        "compare": f"{reverse('djsci_runs_compare')}?run={RUN}",
        "cancel": f"{page}cancel/",
        "page": page,
        "edit": f"{own}?from={RUN}",
        "again": f"{page}again/",
        "login": resolve_url(settings.LOGIN_URL),
        "catalogue": reverse("djsci_console"),
        "csrf": get_token(request),
        "now": timezone.now().timestamp(),
        "created": None,
        "started": None,
        "ended": None,
        "elapsed": None,
        "grace": conf.get("GRACE"),
        "heartbeat": conf.intervals.head,
        "timeout": (file.settings or {}).get("timeout", conf.get("TIMEOUT")),
        "queue": None,
        "may": {"cancel": True, "run": True, "read": may_read},
        "interactive": version.uploader_id == caller.user.pk
        or (file.settings or {}).get("output") == "interactive",
        "error": None,
        "result": None,
        "cells": None,
        "schema": version.parameters,
    }
