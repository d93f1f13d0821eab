"""Tokens: secrets that stand for a user, of which only the SHA-256 digest is stored."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from djsci.core import tokentext
from djsci.core.errors import BadRequest
from djsci.models import PrivateFile, Token

SCOPES = ("run", "files:read", "files:write", "runs:read", "runs:cancel")
LONGEST_NAME = 100
_USED_AGAIN = timedelta(minutes=1)  # how often `last_used` is written


class Secret(str):
    """A token's text. Error pages show the locals of each frame by their `repr`: not this one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'•••'"


def make(
    user: Any,
    name: str,
    scopes: Sequence[str],
    files: Iterable[PrivateFile] | None = None,
    expires: datetime | None = None,
) -> tuple[Token, Secret]:
    """A new token of `user` and its secret, shown this once. Raises `BadRequest` with `errors`.

    With `files` it is good for these only, and for none that is made later. Who asked for it
    records that with `audit`.
    """
    _require_good(name, scopes, expires)
    secret = Secret(tokentext.make())
    with transaction.atomic():
        token = Token.objects.create(
            user=user,
            name=name.strip(),
            digest=_digest(secret),
            scopes=[scope for scope in SCOPES if scope in scopes],
            is_limited_to_files=files is not None,
            expires=expires,
        )
        token.files.set(files or ())
    return token, secret


def find(secret: str) -> Token | None:
    """The token with this secret, its user beside it; None for unknown, expired, revoked alike."""
    if not tokentext.check(secret):
        return None
    found = Token.objects.select_related("user").filter(digest=_digest(secret)).first()
    return found if found is not None and is_usable(found) else None


def is_usable(token: Token) -> bool:
    """Whether a token holds now: not revoked, not expired, its user active."""
    is_alive = token.expires is None or token.expires > timezone.now()
    return token.revoked is None and is_alive and bool(token.user.is_active)


def list_of(user: Any) -> "QuerySet[Token]":
    """The tokens of one user, the newest first."""
    return Token.objects.filter(user=user).order_by("-created", "-pk")


def revoke(token: Token) -> bool:
    """End a token for good; False when it was ended before."""
    now = timezone.now()
    is_new = bool(Token.objects.filter(pk=token.pk, revoked=None).update(revoked=now))
    token.revoked = token.revoked or now
    return is_new


def note_use(token: Token) -> None:
    """Write `last_used`, at most once a minute; a busy database may lose it."""
    now = timezone.now()
    old = now - _USED_AGAIN
    if token.last_used is not None and token.last_used > old:
        return
    rows = Token.objects.filter(Q(last_used=None) | Q(last_used__lte=old), pk=token.pk)
    try:
        with transaction.atomic():
            rows.update(last_used=now)
    except DatabaseError:
        return
    token.last_used = now


def _require_good(name: str, scopes: Sequence[str], expires: datetime | None) -> None:
    errors = {}
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        errors["name"] = f"A name of 1 to {LONGEST_NAME} printable characters."
    if not scopes or not set(scopes) <= set(SCOPES):
        errors["scopes"] = f"One or more of {', '.join(SCOPES)}."
    if expires is not None and (timezone.is_naive(expires) or expires <= timezone.now()):
        errors["expires"] = "A time in the future, with its offset."
    if errors:
        raise BadRequest(
            "; ".join(f"{field}: {message}" for field, message in errors.items()),
            errors=[{"field": field, "message": message} for field, message in errors.items()],
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
