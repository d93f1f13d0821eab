"""Who sent an HTTP request, and whether it came from our own pages."""

import re
from typing import Any, Literal
from urllib.parse import unquote_plus

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from djsci.core.errors import BadRequest, Forbidden

from . import origins, sessions
from .addresses import client_address
from .callers import Caller, identify
from .tokens import Secret

_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
_SECRET = re.compile(r"djsci_[0-9A-Za-z]{36}")


class _Check(CsrfViewMiddleware):
    """Django's own check, whose answer is the reason."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def refuse_told_token(request: HttpRequest) -> None:
    """Raise `BadRequest` for a token in the URL, or in that of the page before.

    Asked first of all: a run's record, a redirect to the login or a log would repeat it.
    """
    names = ("QUERY_STRING", "HTTP_REFERER")
    told = " ".join((request.path, *(str(request.META.get(name, "")) for name in names)))
    if _SECRET.search(unquote_plus(told)):
        raise BadRequest("A token is never sent in a URL: revoke this one.")


def caller_of(request: HttpRequest) -> Caller:
    """The caller of a request. Raises as `callers.identify` does."""
    return _identified(request, getattr(request, "user", None) or AnonymousUser())


def caller_again(request: HttpRequest) -> Caller:
    """The caller of a request that lasts, by what session, token and user are now."""
    session = getattr(request, "session", None)
    key = getattr(session, "session_key", None)
    return _identified(request, sessions.user_of(key))


def guard(request: HttpRequest, caller: Caller, *, runs_or_changes: bool) -> Literal["ok", "ask"]:
    """Refuse what another site made a browser send.

    "ask": a link from elsewhere was followed to something that runs; a person is to be asked
    first. Raises `Forbidden` for a forged request.
    """
    if caller.via != "cookie":
        return "ok"
    is_unsafe = request.method not in _SAFE
    if is_unsafe:
        _check_csrf(request)
    return _check_site(request) if runs_or_changes or is_unsafe else "ok"


def _identified(request: HttpRequest, user: Any) -> Caller:
    headers = {"authorization": Secret(request.headers.get("Authorization", ""))}
    return identify(headers, user, address=client_address(request.META))


def _check_csrf(request: HttpRequest) -> None:
    """Django's check, made here as the views are exempt from the middleware, if there is one."""
    if getattr(request, "csrf_processing_done", False):
        return
    check = _Check(_nothing)
    if "CSRF_COOKIE" not in request.META:
        check.process_request(request)
    reason = check.process_view(request, _nothing, (), {})
    if reason is not None:
        raise Forbidden(f"CSRF check failed: {reason}")


def _nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _check_site(request: HttpRequest) -> Literal["ok", "ask"]:
    """Fetch Metadata; in its absence (plain http, old browsers) Origin and Referer."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        _check_origin(request)
        return "ok"
    if site in ("none", "same-origin"):
        return "ok"
    mode, place = (request.headers.get(f"Sec-Fetch-{name}") for name in ("Mode", "Dest"))
    if request.method == "GET" and (mode, place) == ("navigate", "document"):
        return "ask"
    raise Forbidden("A page of another site may not send this.")


def _check_origin(request: HttpRequest) -> None:
    own = origins.own_origin(request)
    origin, referer = (request.headers.get(name) for name in ("Origin", "Referer"))
    is_foreign = origin is not None and origins.parse(origin) != own
    is_linked = referer is not None and origins.parse_url(referer) != own
    if own is None or is_foreign or is_linked:
        raise Forbidden("A page of another site may not send this.")
