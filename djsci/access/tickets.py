"""Tickets: for whoever opens a socket and cannot send a header; signed, short, for one use."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import AnonymousUser
from django.core.signing import BadSignature, TimestampSigner
from django.db import transaction
from django.utils import timezone

from djsci.models import Ticket, Token

from . import sessions
from .callers import Caller

SECONDS = 30
_RANDOM = 24  # bytes


def make(caller: Caller, *, session_key: str | None, target: str) -> tuple[str, datetime]:
    """A ticket of `caller` to `target`, and when it ends. Only its digest is stored."""
    now = timezone.now()
    text = _signer().sign(secrets.token_urlsafe(_RANDOM))
    expires = now + timedelta(seconds=SECONDS)
    with transaction.atomic():
        Ticket.objects.filter(expires__lt=now).delete()
        Ticket.objects.create(
            digest=_digest(text),
            user=caller.user,
            token=caller.token,
            session_key="" if caller.token else session_key or "",
            target=target,
            expires=expires,
        )
    return text, expires


def take(text: str, *, target: str) -> Ticket | None:
    """The ticket, used up now; None for one that is forged, late, used, or to somewhere else."""
    try:
        _signer().unsign(text, max_age=SECONDS)
    except BadSignature:
        return None
    found = Ticket.objects.filter(digest=_digest(text)).first()
    if found is None or Ticket.objects.filter(digest=found.digest).delete()[0] != 1:
        return None
    return found if found.target == target and found.expires > timezone.now() else None


def caller_of(ticket: Ticket, *, address: str = "") -> Caller:
    """Whose ticket it is, by what token, session and user are now."""
    if ticket.token_id is not None:
        token = Token.objects.select_related("user").filter(pk=ticket.token_id).first()
        if token is not None:
            return Caller.of_token(token, address=address)
        return Caller.of_user(AnonymousUser(), address=address)
    user = sessions.user_of(ticket.session_key or None)
    if user.pk != ticket.user_id:
        user = AnonymousUser()
    return Caller.of_user(user, address=address)


def _signer() -> TimestampSigner:
    # A subprotocol may hold dots, but no colons.
    return TimestampSigner(sep=".", salt="djsci.ticket")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
