"""Who opens a socket: asked of the handshake's headers, again and again; never writes a session."""

from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.http import parse_cookie

from djsci.access import addresses, callers, origins, sessions
from djsci.access.callers import Caller
from djsci.core.errors import BadRequest, NotAuthenticated

PROTOCOL = "djsci.v1"
_TICKET = "djsci.ticket."

Scope = MutableMapping[str, Any]


class Refusal(Exception):
    """The handshake is answered by a bare 403; the message is for the log."""


def subprotocol(offered: Iterable[str]) -> str | None:
    """The subprotocol to answer with; None when none was offered. Raises `Refusal`."""
    names = [name for name in offered if name]
    if PROTOCOL in names:
        return PROTOCOL
    if any(not name.startswith(_TICKET) for name in names):
        raise Refusal("unknown subprotocol")
    return None


def after(scope: Scope) -> int:
    """The seq that `?after=` names, or 0. Raises `BadRequest`."""
    text = _query(scope).get("after", ["0"])[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest("`after` is a whole number, the last seq that was seen.")
    return int(text)


def _query(scope: Scope) -> dict[str, list[str]]:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def admitted(scope: Scope) -> Caller:
    """Who calls, at the handshake. Raises `Refusal`, `NotAuthenticated`, `LimitReached`."""
    if not origins.is_allowed_origin(scope):
        raise Refusal("foreign origin or host")
    if any("djsci_" in value for values in _query(scope).values() for value in values):
        raise Refusal("a token in the URL")
    return identified(scope)


def identified(scope: Scope) -> Caller:
    """Who calls, as of now. Raises `NotAuthenticated`: the login or the token is gone."""
    headers = headers_of(scope)
    cookies = parse_cookie(headers.get("cookie", ""))
    user = sessions.user_of(cookies.get(settings.SESSION_COOKIE_NAME))
    caller = callers.identify(headers, user, address=addresses.scope_address(scope))
    if not caller.is_authenticated:
        raise NotAuthenticated
    return caller


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; those that came several times joined as HTTP has it."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers
