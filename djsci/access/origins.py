"""Origins as parsed triples, and whether one may open a socket or send a cookie's request."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from djsci import conf

from .callers import bearer

Origin = tuple[str, str, int]
_PORTS = {"http": 80, "https": 443}


class Handshake(HttpRequest):
    """A WebSocket's opening request, so that Django itself judges its host and its scheme."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        super().__init__()
        self._is_secure = scope.get("scheme") in ("wss", "https")
        host, port = scope.get("server") or ("unknown", 0)
        self.META = {"SERVER_NAME": str(host), "SERVER_PORT": str(port or 0)}
        for name, value in scope.get("headers", ()):
            if b"_" in name:
                continue  # would be mistaken for the name with a dash
            key = f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
            text = value.decode("latin-1")
            self.META[key] = f"{self.META[key]},{text}" if key in self.META else text

    def _get_scheme(self) -> str:
        return "https" if self._is_secure else "http"


def is_allowed_origin(scope: Mapping[str, Any], *, needs_origin: bool = True) -> bool:
    """Whether a WebSocket handshake may go on, as far as Host and Origin go.

    A Bearer header, which browsers cannot send, needs no Origin, nor does who proves himself in
    another way (`needs_origin`); everyone else needs this server's own or one of `ALLOWED_ORIGINS`.
    """
    request = Handshake(scope)
    own = own_origin(request)
    if own is None:
        return False
    if not needs_origin or bearer(request.META.get("HTTP_AUTHORIZATION", "")) is not None:
        return True
    origin = parse(request.META.get("HTTP_ORIGIN", ""))
    return origin is not None and origin in {own, *allowed_origins()}


def own_origin(request: HttpRequest) -> Origin | None:
    """Scheme, host and port that this request was sent to; None for a host not ours."""
    try:
        return parse(f"{request.scheme}://{request.get_host()}")
    except DisallowedHost:
        return None


def allowed_origins() -> list[Origin]:
    """What of `ALLOWED_ORIGINS` is an origin; a system check names the rest."""
    parsed = (parse(str(entry)) for entry in conf.get("ALLOWED_ORIGINS"))
    return [origin for origin in parsed if origin is not None]


def parse(text: str) -> Origin | None:
    """The triple of `https://host:port`; None for anything more or less, as `null`."""
    found = parse_url(text)
    is_bare = found is not None and not set(text.partition("://")[2]) & set("/?#@\\")
    return found if is_bare else None


def parse_url(text: str) -> Origin | None:
    """The origin of an address with a path, as a Referer is."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or "@" in parts.netloc:
        return None
    return parts.scheme, host, port or _PORTS[parts.scheme]
