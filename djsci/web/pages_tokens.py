"""The caller's own tokens: listed, made (the secret is shown once), revoked."""

from datetime import datetime, time, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_date

from djsci import uploads
from djsci.access import audit, permissions, tokens
from djsci.access.callers import Caller
from djsci.access.database import writing
from djsci.core.errors import BadRequest, DjsciError, NotFound
from djsci.models import PrivateFile, Token

from .page import page, render, see_other
from .pages_upload import by_field

MOST_TOKENS = 200
LASTING = {"30": "30 days", "90": "90 days", "365": "a year", "": "for ever"}
_TOLD = {
    "run": "start runs",
    "files:read": "list files and read source",
    "files:write": "upload, change and delete files",
    "runs:read": "read runs and follow them",
    "runs:cancel": "cancel runs",
}


@page("GET", "POST")
def token_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The tokens that are not revoked, and a form for one more."""
    permissions.require_session(caller)
    if request.method != "POST":
        return _page(request, caller)
    try:
        token, secret = _make(request, caller)
    except DjsciError as error:
        return _page(request, caller, problem=error)
    # In this very answer: a message would wait in a session's row.
    return render(request, "token_made.html", {"token": token, "secret": secret}, caller)


def _make(request: HttpRequest, caller: Caller) -> tuple[Token, str]:
    typed = request.POST
    files = _files(caller, typed.get("files", ""))
    if typed.get("limited") == "true" and not files:
        message = "Name at least one file."
        raise BadRequest(message, errors=[{"field": "files", "message": message}])
    name, scopes = typed.get("name", ""), typed.getlist("scopes")
    with writing():
        made = tokens.make(
            caller.user,
            name,
            scopes,
            files=files or None,
            expires=_expiry(typed.get("lasting", ""), typed.get("until", "")),
        )
        audit.record(caller, "token", made[0])
    return made


def _files(caller: Caller, text: str) -> list[PrivateFile]:
    found: list[PrivateFile] = []
    for ref in (line.strip() for line in text.splitlines() if line.strip()):
        try:
            file = uploads.find(ref)
            permissions.require_run(caller, file)
        except DjsciError as error:
            message = f"There is no file {ref[:80]} that you may run."
            raise BadRequest(message, errors=[{"field": "files", "message": message}]) from error
        found.append(file)
    return found


def _expiry(lasting: str, until: str) -> datetime | None:
    if until:
        try:
            day = parse_date(until)
        except ValueError:
            day = None
        if day is None:
            message = "A date like 2030-06-01."
            raise BadRequest(message, errors=[{"field": "expires", "message": message}])
        return timezone.make_aware(datetime.combine(day, time.max))
    days = int(lasting) if lasting in LASTING and lasting else 0
    return timezone.now() + timedelta(days=days) if days else None


def _page(
    request: HttpRequest, caller: Caller, *, problem: DjsciError | None = None
) -> HttpResponse:
    rows = tokens.list_of(caller.user).filter(revoked=None).prefetch_related("files")
    now = timezone.now()
    typed = request.POST
    chosen = typed.getlist("scopes") if problem else ["run", "runs:read"]
    context: dict[str, Any] = {
        "rows": [
            {"token": token, "is_expired": token.expires is not None and token.expires <= now}
            for token in rows[:MOST_TOKENS]
        ],
        "scopes": [(name, _TOLD[name], name in chosen) for name in tokens.SCOPES],
        "lasting": LASTING.items(),
        "problem": problem,
        "errors": by_field(problem),
        "typed": {
            "name": typed.get("name", ""),
            "files": typed.get("files", request.GET.get("file", "")),
            "lasting": typed.get("lasting", "90"),
            "until": typed.get("until", ""),
        },
    }
    status = problem.status if problem else 200
    return render(request, "tokens.html", context, caller, status=status)


@page("POST")
def token_revoke(request: HttpRequest, caller: Caller, token_id: str) -> HttpResponse:
    """End a token of one's own."""
    permissions.require_session(caller)
    with writing():
        token = tokens.list_of(caller.user).filter(pk=token_id).first()
        if token is None or not tokens.revoke(token):
            raise NotFound
        audit.record(caller, "token revoked", token)
    return see_other(request, "djsci_tokens")
