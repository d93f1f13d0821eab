"""Append-only rows of who changed a privilege or content; refusals belong in the log instead."""

from typing import TYPE_CHECKING, Any

from djsci.models import Audit, PrivateFile, Run, Token

if TYPE_CHECKING:
    from .callers import Caller


def record(
    caller: "Caller | None", action: str, subject: PrivateFile | Run | Token, **detail: Any
) -> None:
    """Note what `caller` (None: somebody at the server's own command line) did to `subject`.

    Call it inside the transaction of the change. `detail` is JSON and holds no secret.
    """
    is_person = caller is not None and caller.user.pk is not None
    # The name stays when the user is deleted.
    by = {"by": caller.user.get_username()} if caller is not None and is_person else {}
    Audit.objects.create(
        user_id=caller.user.pk if caller is not None and is_person else None,
        action=action,
        subject=subject.pk,
        detail={**by, **_told_of(subject), **detail},
        address=caller.address if caller is not None else "",
        token=caller.token.pk if caller is not None and caller.token is not None else "",
    )


def _told_of(subject: PrivateFile | Run | Token) -> dict[str, Any]:
    """What the row should still say when its subject is gone."""
    match subject:
        case PrivateFile():
            version = subject.version.sha256 if subject.version else None
            return {"name": subject.name, "version": version}
        case Run():
            return {"file": subject.file_id, "version": subject.version.sha256}
    files = None
    if subject.is_limited_to_files:
        files = sorted(file.pk for file in subject.files.all())
    user = subject.user.get_username()
    return {"name": subject.name, "user": user, "scopes": subject.scopes, "files": files}
