"""`{% load djsci %}{% djsci_console run %}`: a run's live console in any template of a project."""

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template import RequestContext
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from djsci import runs
from djsci.access import permissions
from djsci.access import requests as access
from djsci.core.errors import DjsciError
from djsci.models import Run
from djsci.policy import nonce
from djsci.web import console

register = template.Library()
_ASSETS = "_djsci_assets"


@register.simple_tag(takes_context=True)
def djsci_console(context: RequestContext, run: Run | str) -> SafeString:
    """The console of a run, or of the run with this id, for who may watch it; else a sentence."""
    request = context.get("request")
    if not isinstance(request, HttpRequest):
        raise ImproperlyConfigured(
            "{% djsci_console %} needs `request` in the context: add the context processor "
            "`django.template.context_processors.request`, or render with a request."
        )
    shown: dict[str, Any] = {"run": None}
    try:
        caller = access.caller_of(request)
        found = runs.get_now(run.pk if isinstance(run, Run) else str(run))
        permissions.require_watch(caller, found)
        shown = console.context(request, caller, found)
    except DjsciError:
        return render_to_string("djsci/no_run.html", shown)
    shown["heading"] = "h2"
    shown["with_assets"] = not getattr(request, _ASSETS, False)
    setattr(request, _ASSETS, True)
    return render_to_string("djsci/run_console.html", {**shown, "nonce": nonce(request)})
