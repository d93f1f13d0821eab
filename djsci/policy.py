"""What a page of ours may load and run, and who may embed it: headers, the script's nonce."""

import secrets
from typing import TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.templatetags.static import static

Answer = TypeVar("Answer", bound=HttpResponseBase)
_NONCE = "_djsci_nonce"
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def nonce(request: HttpRequest) -> str:
    """The request's nonce: the project's own where a middleware made one."""
    for name in ("_csp_nonce", "csp_nonce", _NONCE):  # of Django 6, of django-csp, ours
        made = getattr(request, name, None)
        if made is not None:
            return str(made)
    made = secrets.token_urlsafe(16)
    setattr(request, _NONCE, made)
    return made


def with_policy(request: HttpRequest, response: Answer) -> Answer:
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
