"""Who is calling: a session's user, a token's, or nobody."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from django.contrib.auth.models import AnonymousUser

from djsci.core.errors import NotAuthenticated
from djsci.models import Run, Token

from . import limits, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user and how they proved it. `scopes` None: whatever the user may do."""

    user: Any
    token: Token | None
    via: Literal["cookie", "token"] | None
    scopes: frozenset[str] | None
    address: str = ""

    @classmethod
    def of_token(cls, token: Token, *, address: str = "") -> "Caller":
        """Whoever holds this token."""
        scopes = frozenset(token.scopes)
        return cls(user=token.user, token=token, via="token", scopes=scopes, address=address)

    @classmethod
    def of_user(cls, user: Any, *, address: str = "") -> "Caller":
        """The user of a session, or nobody."""
        via: Literal["cookie"] | None = "cookie" if user.is_authenticated else None
        return cls(user=user, token=None, via=via, scopes=None, address=address)

    @classmethod
    def of_run(cls, run: Run) -> "Caller":
        """Who asked for a run, as user and token are now."""
        if run.token is not None:
            return cls.of_token(run.token)
        return cls.of_user(run.user or AnonymousUser())

    @property
    def is_authenticated(self) -> bool:
        """Whether this is an active user, by a token that still holds if by a token."""
        if not (self.user.is_authenticated and self.user.is_active):
            return False
        return self.token is None or tokens.is_usable(self.token)

    def has_scope(self, scope: str) -> bool:
        """Whether a token, if this is one, was given `scope`."""
        return self.scopes is None or scope in self.scopes


NOBODY = Caller(user=AnonymousUser(), token=None, via=None, scopes=None)


def identify(headers: Mapping[str, str], session_user: Any, *, address: str = "") -> Caller:
    """The caller of a request with these headers (names in lower case).

    A Bearer header wins: then cookies are ignored. Raises `NotAuthenticated`, the same for every
    token that does not hold, and `LimitReached` after too many of these from one address.
    """
    secret = bearer(headers.get("authorization", ""))
    if secret is None:
        return Caller.of_user(session_user, address=address)
    token = tokens.find(secret)
    if token is None:
        limits.count_failed_token(address)
        raise NotAuthenticated
    tokens.note_use(token)
    return Caller.of_token(token, address=address)


def bearer(authorization: str) -> tokens.Secret | None:
    """The secret of an `Authorization: Bearer …` header; None for any other scheme."""
    scheme, _, secret = authorization.strip().partition(" ")
    return tokens.Secret(secret.strip()) if scheme.lower() == "bearer" else None
