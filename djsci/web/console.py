"""`<djsci-run-console>` as Django draws it: what the script takes over, what shows without it."""

import json
import secrets
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.terminal import plain
from djsci.models import Run

from . import cells, printed, run_config
from .run_words import sentence

MOST_RESULT = 20_000  # characters of a result that are shown without the script
MOST_TAIL = 8_000


def context(request: HttpRequest, caller: Caller, run: Run) -> dict[str, Any]:
    """What `djsci/run_console.html` needs; `run` has its file, version and user."""
    may_read = permissions.may_read(caller, run.file)
    drawn = cells.of_version(run.version) if may_read else []
    config = run_config.config(request, caller, run)
    if drawn:
        config["cells"] = [cell.to_dict() for cell in drawn]
    ahead = config["queue"]["ahead"] if config["queue"] else 0
    return {
        "run": run,
        "heading": "h1",
        "config": config,
        "config_id": f"djsci-run-{run.pk}",
        "cells": drawn,
        "csrf": config["csrf"],
        "key": secrets.token_urlsafe(16),
        "sentence": sentence(run, now=timezone.now(), ahead=ahead),
        "error": config["error"],
        "traceback": _traceback(config["error"]),
        "parameters": _pretty(run.parameters) if run.parameters else "",
        "result": _result(run),
        "tail": "" if run.pruned else printed.tail(run.pk, most=MOST_TAIL),
    }


def _traceback(error: dict[str, Any] | None) -> str:
    return plain("\n".join(error["traceback"] or ())) if error else ""


def _result(run: Run) -> str:
    """The result for reading; empty where there is none, or where it is too long for a page."""
    if run.result is None or len(run.result) > MOST_RESULT:
        return ""
    return _pretty(json.loads(run.result))


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
