"""What every page has in common: who may come in, the errors as pages, the policy for scripts."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.shortcuts import render as django_render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.csrf import csrf_exempt

from djsci import problems, surface
from djsci.access import requests as access
from djsci.access.callers import Caller
from djsci.core.errors import BadMethod, Forbidden, NotAuthenticated, NotFound
from djsci.policy import nonce, with_policy

View = Callable[..., HttpResponseBase]


def page(*methods: str) -> Callable[[View], View]:
    """Serve a view for `methods` to those who are signed in; it takes `(request, caller, …)`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            if request.method == "OPTIONS" or (request.method == "HEAD" and "GET" not in methods):
                return with_policy(request, surface.without_content(methods))
            caller: Caller | None = None
            try:
                access.refuse_told_token(request)
                known = access.caller_of(request)
                caller = known if known.is_authenticated else None
                _admit(request, caller, methods)
                if any("\x00" in str(value) for value in kwargs.values()):
                    raise NotFound  # no database holds it, and PostgreSQL will not even look
                response = view(request, caller, **kwargs)
            except NotAuthenticated:
                response = redirect_to_login(request.get_full_path())
            except Exception as error:
                response = problem_page(request, error, caller)
                if isinstance(error, BadMethod):
                    response["Allow"] = surface.allow(methods)
            return with_policy(request, response)

        # CSRF is checked by `access.requests`, so that its refusal is a page of ours too.
        served: View = csrf_exempt(non_atomic_requests(answer))
        return served

    return decorate


def _admit(request: HttpRequest, caller: Caller | None, methods: tuple[str, ...]) -> None:
    if request.method not in (*methods, *(("HEAD",) if "GET" in methods else ())):
        raise BadMethod
    if caller is None:
        raise NotAuthenticated
    is_change = request.method == "POST"
    if access.guard(request, caller, runs_or_changes=is_change) != "ok":
        raise Forbidden("This form was sent from another site.")


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
    try:
        response = render(request, "problem.html", context, caller, status=problem.status)
    except DatabaseError:  # it is away: who may do what cannot be asked
        response = render(request, "problem.html", context, None, status=problem.status)
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
        "admin_url": _admin_url(caller),
        "logout_url": _url("logout"),
    }
    return django_render(request, f"djsci/{template}", {**shared, **context}, status=status)


def _admin_url(caller: Caller | None) -> str | None:
    if caller is None or not caller.user.is_staff:
        return None
    return _url("admin:djsci_privatefile_changelist")


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
