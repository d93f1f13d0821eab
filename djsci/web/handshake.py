"""Who opens a socket: asked of the handshake's headers, again and again; never writes a session."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.models import AnonymousUser
from django.http import parse_cookie
from django.utils.crypto import constant_time_compare

from djsci.access import callers, origins
from djsci.access.callers import Caller
from djsci.core.errors import BadRequest, Forbidden, NotAuthenticated

PROTOCOL = "djsci.v1"
_TICKET = "djsci.ticket."


class Refusal(Exception):
    """The handshake is answered by a bare 403; the message is for the log."""


def subprotocol(offered: Iterable[str]) -> str | None:
    """The subprotocol to answer with; None when none was offered. Raises `Refusal`."""
    known = [name for name in offered if name]
    if PROTOCOL in known:
        return PROTOCOL
    if any(not name.startswith(_TICKET) for name in known):
        raise Refusal("unknown subprotocol")
    return None


def query(scope: Mapping[str, Any]) -> dict[str, str]:
    """The last value of each name in the query string."""
    text = scope.get("query_string", b"").decode("latin-1")
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


def after(scope: Mapping[str, Any]) -> int:
    """The seq that `?after=` names, or 0. Raises `BadRequest`."""
    text = query(scope).get("after", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest("`after` is a whole number, the last seq that was seen.")
    return int(text)


def admitted(scope: Mapping[str, Any]) -> Caller:
    """Who calls, at the handshake. Raises `Refusal` for strangers and foreign pages."""
    if not origins.is_allowed_origin(scope):
        raise Refusal("foreign origin or host")
    try:
        caller = identified(scope)
    except (NotAuthenticated, Forbidden, BadRequest) as error:
        raise Refusal(error.code) from error
    return caller


def identified(scope: Mapping[str, Any]) -> Caller:
    """Who calls, as of now. Raises `NotAuthenticated`: the login or the token is gone."""
    headers = headers_of(scope)
    client = scope.get("client") or [""]
    caller = callers.identify(headers, session_user(headers), address=str(client[0]))
    if not caller.is_authenticated:
        raise NotAuthenticated
    return caller


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Headers by lower-case name; those that came several times joined as HTTP has it."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers


def session_user(headers: Mapping[str, str]) -> Any:
    """The user that the session cookie stands for; the session is read and never written."""
    key = parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    if not key:
        return AnonymousUser()
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    backend_path = session.get(BACKEND_SESSION_KEY)
    if SESSION_KEY not in session or backend_path not in settings.AUTHENTICATION_BACKENDS:
        return AnonymousUser()
    user_id = get_user_model()._meta.pk.to_python(session[SESSION_KEY])
    user = load_backend(backend_path).get_user(user_id)
    if user is None or not _is_of_this_password(user, session.get(HASH_SESSION_KEY, "")):
        return AnonymousUser()
    return user


def _is_of_this_password(user: Any, session_hash: str) -> bool:
    if not hasattr(user, "get_session_auth_hash"):
        return True
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(session_hash, each) for each in valid)
