"""Who opens a socket: asked of the handshake's headers, again and again; never writes a session."""

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.http import parse_cookie

from djsci import uploads
from djsci.access import addresses, callers, limits, origins, sessions, tickets
from djsci.access.callers import Caller
from djsci.core.errors import BadRequest, NotAuthenticated, NotFound
from djsci.models import Ticket

PROTOCOL = "djsci.v1"
TICKET = "djsci.ticket."
_TAKEN = "djsci_ticket"  # the scope's: with what it was opened

Scope = MutableMapping[str, Any]


class Refusal(Exception):
    """The handshake is answered by a bare 403; the message is for the log."""


def subprotocol(offered: Iterable[str]) -> str | None:
    """The subprotocol to answer with; None when none was offered. Raises `Refusal`."""
    names = [name for name in offered if name]
    if PROTOCOL in names:
        return PROTOCOL
    if any(not name.startswith(TICKET) for name in names):
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
    """Who calls, at the handshake. Raises `Refusal`, `NotAuthenticated`, `LimitReached`.

    A ticket is used up; with one, cookies and the Origin are not looked at.
    """
    offered = [name for name in scope.get("subprotocols") or () if name.startswith(TICKET)]
    if not origins.is_allowed_origin(scope, needs_origin=not offered):
        raise Refusal("foreign origin or host")
    if any("djsci_" in value for values in _query(scope).values() for value in values):
        raise Refusal("a token in the URL")
    if offered:
        scope[_TAKEN] = _taken(scope, offered)
    return identified(scope)


def _taken(scope: Scope, offered: list[str]) -> Ticket:
    target = _target(scope["url_route"]["kwargs"])
    text = offered[0].removeprefix(TICKET)
    found = tickets.take(text, target=target) if len(offered) == 1 else None
    if found is None:
        limits.count_failed_token(addresses.scope_address(scope))
        raise NotAuthenticated
    return found


def to_run(run_id: str) -> str:
    """What a ticket to follow a run is bound to."""
    return f"run:{run_id}"


def to_file(file_id: str) -> str:
    """What a ticket to call a file is bound to."""
    return f"file:{file_id}"


def _target(route: Mapping[str, str]) -> str:
    if "run_id" in route:
        return to_run(route["run_id"])
    try:
        return to_file(uploads.find(route["name_id"]).pk)
    except NotFound as error:
        raise Refusal("a ticket to nowhere") from error


def identified(scope: Scope) -> Caller:
    """Who calls, as of now. Raises `NotAuthenticated`: the login or the token is gone."""
    if ticket := scope.get(_TAKEN):
        return _authenticated(tickets.caller_of(ticket, address=addresses.scope_address(scope)))
    headers = headers_of(scope)
    cookies = parse_cookie(headers.get("cookie", ""))
    user = sessions.user_of(cookies.get(settings.SESSION_COOKIE_NAME))
    return _authenticated(callers.identify(headers, user, address=addresses.scope_address(scope)))


def _authenticated(caller: Caller) -> Caller:
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
