"""Append-only rows of who changed a privilege or content; refusals belong in the log instead."""

from typing import TYPE_CHECKING, Any

from djsci.models import Audit

if TYPE_CHECKING:
    from .callers import Caller

LONGEST_SUBJECT = 64


def record(caller: "Caller | None", action: str, subject: str, **detail: Any) -> None:
    """Note what `caller` (None: somebody at the server's own command line) did to `subject`.

    Call it inside the transaction of the change. `detail` is JSON and holds no secret.
    """
    is_person = caller is not None and caller.user.pk is not None
    Audit.objects.create(
        user_id=caller.user.pk if caller is not None and is_person else None,
        action=action,
        subject=str(subject)[:LONGEST_SUBJECT],
        detail=detail,
        address=caller.address if caller is not None else "",
        token=caller.token.pk if caller is not None and caller.token is not None else "",
    )
