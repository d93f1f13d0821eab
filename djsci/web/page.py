"""What every page has in common: who may come in, the errors as pages, the policy for scripts."""

import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.shortcuts import render as django_render
from django.urls import NoReverseMatch, reverse

from djsci import problems, surface
from djsci.access import permissions
from djsci.access import requests as access
from djsci.access.callers import Caller
from djsci.core.errors import BadMethod, Forbidden, NotAuthenticated

View = Callable[..., HttpResponse]


def page(*methods: str) -> Callable[[View], View]:
    """Serve a view for `methods` to those who are signed in; it takes `(request, caller, …)`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            if request.method == "OPTIONS" or (request.method == "HEAD" and "GET" not in methods):
                return _with_policy(request, surface.without_content(methods))
            caller: Caller | None = None
            try:
                caller = _admit(request, methods)
                response = view(request, caller, **kwargs)
            except NotAuthenticated:
                response = redirect_to_login(request.get_full_path())
            except Exception as error:
                response = _problem(request, error, caller, methods)
            return _with_policy(request, response)

        served: View = non_atomic_requests(answer)
        return served

    return decorate


def _admit(request: HttpRequest, methods: tuple[str, ...]) -> Caller:
    if request.method not in (*methods, *(("HEAD",) if "GET" in methods else ())):
        raise BadMethod
    caller = access.caller_of(request)
    if not caller.is_authenticated:
        raise NotAuthenticated
    is_change = request.method == "POST"
    if access.guard(request, caller, runs_or_changes=is_change) != "ok":
        raise Forbidden("This form was sent from another site.")
    return caller


def _problem(
    request: HttpRequest, error: Exception, caller: Caller | None, methods: tuple[str, ...]
) -> HttpResponse:
    problem = problems.translated(error)
    response = render(request, "problem.html", {"problem": problem}, caller, status=problem.status)
    if problem.retry_after is not None:
        response["Retry-After"] = str(problem.retry_after)
    if isinstance(problem, BadMethod):
        response["Allow"] = ", ".join(methods)
    return response


def render(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    caller: Caller | None,
    *,
    status: int = 200,
) -> HttpResponse:
    """One of our templates; every one shows who is signed in and where the rest is."""
    shared = {
        "nonce": nonce(request),
        "csrf": get_token(request),
        "caller": caller,
        "admin_url": _admin_url(caller, "changelist"),
        "upload_url": _admin_url(caller, "add")
        if caller and permissions.may_upload(caller)
        else None,
        "logout_url": _url("logout"),
    }
    return django_render(request, f"djsci/{template}", {**shared, **context}, status=status)


def _admin_url(caller: Caller | None, page_name: str) -> str | None:
    if caller is None or not caller.user.is_staff:
        return None
    return _url(f"admin:djsci_privatefile_{page_name}")


def _url(name: str, *args: Any) -> str | None:
    """Where the project has this page, if it has it."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return None


def admin_page_of(caller: Caller, file_id: str) -> str | None:
    """The admin's page of a file, for staff who have one."""
    return _url("admin:djsci_privatefile_change", file_id) if caller.user.is_staff else None


def see_other(request: HttpRequest, name: str, *args: Any) -> HttpResponse:
    """303: the form is done, look there."""
    response = HttpResponseRedirect(reverse(name, args=args))
    response.status_code = 303
    return response


def nonce(request: HttpRequest) -> str:
    """The request's nonce: the project's own where a middleware made one."""
    made = getattr(request, "_csp_nonce", None)
    if made is None:
        made = getattr(request, "_djsci_nonce", None)
    if made is None:
        made = secrets.token_urlsafe(16)
        request._djsci_nonce = made  # type: ignore[attr-defined]
    return str(made)


def _with_policy(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    static = _static_origin()
    response["Content-Security-Policy"] = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce(request)}' 'strict-dynamic'",
            f"style-src 'self'{static}",
            "img-src 'self' data:",
            f"font-src 'self'{static}",
            "connect-src 'self'",
            "frame-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "same-origin"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    # Where the middleware is not installed the cookie must still be set.
    CsrfViewMiddleware(lambda _: response).process_response(request, response)
    return response


def _static_origin() -> str:
    place = urlsplit(settings.STATIC_URL or "")
    return f" {place.scheme}://{place.netloc}" if place.netloc else ""
