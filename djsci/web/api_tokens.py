"""`api/v1/tokens/`: the caller's own tokens, by cookie only: a token cannot make another."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from djsci import calling, uploads
from djsci.access import audit, permissions, tokens
from djsci.access.callers import Caller
from djsci.access.database import in_database, writing
from djsci.core.errors import BadBody, DjsciError, NotFound
from djsci.models import PrivateFile

from . import bodies, documents
from .api_files import Limit

router = Router(tags=["tokens"])


@router.get("", summary="List your tokens")
async def list_tokens(
    request: HttpRequest, cursor: str | None = None, limit: Limit = 50
) -> HttpResponse:
    caller = await _person(request, is_unsafe=False)

    def look_up() -> dict[str, Any]:
        rows = tokens.list_of(caller.user).filter(revoked=None)
        return documents.page(rows, documents.token_document, cursor=cursor, limit=limit)

    return documents.answer(await in_database(look_up))


@router.post("", summary="Make a token; its secret is shown once")
async def make_token(request: HttpRequest) -> HttpResponse:
    caller = await _person(request, is_unsafe=True)
    body = await bodies.json_object(request, known=("name", "scopes", "files", "expires"))
    name, scopes, files = body.get("name"), body.get("scopes", []), body.get("files")
    if (
        not isinstance(name, str)
        or not _is_texts(scopes)
        or not (files is None or _is_texts(files))
    ):
        raise BadBody("`name` is a text, `scopes` and `files` are lists of texts.")
    expires = _expiry(body.get("expires"))

    @writing()
    def make() -> tuple[dict[str, Any], str]:
        chosen = None if files is None else [_file(caller, ref) for ref in files]
        token, secret = tokens.make(caller.user, name, scopes, files=chosen, expires=expires)
        audit.record(caller, "token", token)
        return documents.token_document(token), secret

    document, secret = await in_database(make)
    return documents.answer({**document, "secret": secret}, status=201)


@router.delete("{token_id}/", summary="Revoke a token")
async def revoke_token(request: HttpRequest, token_id: str) -> HttpResponse:
    caller = await _person(request, is_unsafe=True)

    @writing()
    def revoke() -> None:
        token = tokens.list_of(caller.user).filter(pk=token_id).first()
        if token is None or not tokens.revoke(token):
            raise NotFound
        audit.record(caller, "token revoked", token)

    await in_database(revoke)
    return HttpResponse(status=204)


async def _person(request: HttpRequest, *, is_unsafe: bool) -> Caller:
    caller = await calling.signed_in(request, is_unsafe=is_unsafe)
    permissions.require_session(caller)
    return caller


def _file(caller: Caller, ref: str) -> PrivateFile:
    try:
        file = uploads.find(ref)
        permissions.require_run(caller, file)
    except DjsciError as error:
        message = f"There is no file {ref!r} that you may run."
        raise BadBody(message, errors=[{"field": "files", "message": message}]) from error
    return file


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _expiry(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError) as error:
        message = "An ISO 8601 time is needed, or null."
        raise BadBody(message, errors=[{"field": "expires", "message": message}]) from error
