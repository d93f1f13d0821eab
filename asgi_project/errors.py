"""The project's error pages: those of the console, under its policy, on every address."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from djsci import policy
from djsci.core.errors import BadRequest, DjsciError, Forbidden, NotFound
from djsci.problems import ServerFailed
from djsci.web.page import problem_page


def _page(request: HttpRequest, error: DjsciError) -> HttpResponse:
    return policy.with_policy(request, problem_page(request, error, None))


def bad_request(request: HttpRequest, exception: Any) -> HttpResponse:
    """400"""
    return _page(request, BadRequest())


def forbidden(request: HttpRequest, exception: Any) -> HttpResponse:
    """403"""
    return _page(request, Forbidden())


def not_found(request: HttpRequest, exception: Any) -> HttpResponse:
    """404"""
    return _page(request, NotFound())


def failed(request: HttpRequest) -> HttpResponse:
    """500"""
    return _page(request, ServerFailed())


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 of a form without its token: it was open for long, or came from elsewhere."""
    error = Forbidden("This form is too old, or was sent from another site. Open it anew.")
    way = (reverse("login"), "Sign in")
    return policy.with_policy(request, problem_page(request, error, None, ways=[way]))
