"""What every page has in common: who may come in, the errors as pages, the policy for scripts."""

import secrets
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.shortcuts import render as django_render
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.views.decorators.csrf import csrf_exempt

from djsci import problems, surface
from djsci.access import permissions
from djsci.access import requests as access
from djsci.access.callers import Caller
from djsci.core.errors import BadMethod, Forbidden, NotAuthenticated, NotFound

View = Callable[..., HttpResponseBase]
_NONCE = "_djsci_nonce"
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def page(*methods: str) -> Callable[[View], View]:
    """Serve a view for `methods` to those who are signed in; it takes `(request, caller, …)`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            if request.method == "OPTIONS" or (request.method == "HEAD" and "GET" not in methods):
                return with_policy(request, surface.without_content(methods))
            caller: Caller | None = None
            try:
                caller = _admit(request, methods)
                if any("\x00" in str(value) for value in kwargs.values()):
                    raise NotFound  # no database holds it, and PostgreSQL will not even look
                response = view(request, caller, **kwargs)
            except NotAuthenticated:
                response = redirect_to_login(request.get_full_path())
            except Exception as error:
                response = problem_page(request, error, caller)
                if isinstance(error, BadMethod):
                    response["Allow"] = ", ".join(methods)
            return with_policy(request, response)

        # CSRF is checked by `access.requests`, so that its refusal is a page of ours too.
        served: View = csrf_exempt(non_atomic_requests(answer))
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


def problem_page(
    request: HttpRequest,
    error: Exception,
    caller: Caller | None,
    *,
    ways: Sequence[tuple[str, str]] = (),
) -> HttpResponse:
    """An error as a page that says what happened and where to go: `ways` are (address, words)."""
    problem = problems.translated(error)
    may_pass = problem.status in (429, 503) and request.method in ("GET", "HEAD")
    again = [(request.get_full_path(), "Try again")] if may_pass else []
    context = {"problem": problem, "ways": [*ways, *again]}
    response = render(request, "problem.html", context, caller, status=problem.status)
    if problem.retry_after is not None:
        response["Retry-After"] = str(problem.retry_after)
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
    for name in ("_csp_nonce", "csp_nonce", _NONCE):  # of Django 6, of django-csp, ours
        made = getattr(request, name, None)
        if made is not None:
            return str(made)
    made = secrets.token_urlsafe(16)
    setattr(request, _NONCE, made)
    return made


def with_policy(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The answer with the headers of every page: what may load, run, embed it or keep it."""
    elsewhere = _static_origin(request)
    response["Content-Security-Policy"] = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce(request)}' 'strict-dynamic'",
            f"style-src 'self'{elsewhere}",
            f"img-src 'self' data:{elsewhere}",
            f"font-src 'self'{elsewhere}",
            "connect-src 'self'",
            "frame-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types lit-html",
        )
    )
    for name, value in _HEADERS.items():
        response[name] = value
    # Where the middleware is not installed the cookie must still be set.
    CsrfViewMiddleware(lambda _: response).process_response(request, response)
    return response


def _static_origin(request: HttpRequest) -> str:
    """Where the console's files come from, if that is another origin."""
    try:
        place = urlsplit(static("djsci/console.css"))
    except ValueError:  # a manifest that was not collected: the page itself says so
        place = urlsplit(settings.STATIC_URL or "")
    return f" {place.scheme or request.scheme}://{place.netloc}" if place.netloc else ""
