"""The project's errors: pages of the console, under its policy; below `djsci/` problems."""

import re
from typing import Any

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from djsci import policy, problems, surface
from djsci.core.errors import BadRequest, DjsciError, Forbidden, NotFound
from djsci.problems import ServerFailed
from djsci.web.page import problem_page

_PROGRAMS = re.compile(r"/djsci/(?!console(?:/|\Z))")


def _page(request: HttpRequest, error: DjsciError) -> HttpResponse:
    """A page where people are; what middleware refuses below `djsci/` is for programs."""
    if _PROGRAMS.match(request.path_info):
        answer = problems.response(error)
        for name, value in surface.HEADERS.items():
            answer.setdefault(name, value)
        return answer
    return policy.with_policy(request, problem_page(request, error, None))


def bad_request(request: HttpRequest, exception: Any) -> HttpResponse:
    """400"""
    is_foreign = isinstance(exception, DisallowedHost)
    detail = "This site does not answer to the host of the request." if is_foreign else None
    return _page(request, BadRequest(detail))


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
