"""Who reads which run over HTTP: looked up, allowed, and asked again while the stream lasts."""

from django.http import HttpRequest

from djsci import runs
from djsci.access import permissions
from djsci.access import requests as access
from djsci.access.callers import Caller
from djsci.access.database import in_database_soon
from djsci.core.errors import DjsciError, NotFound
from djsci.models import Run

from . import streams


def watched_run(caller: Caller, run_id: str) -> Run:
    """The run, if the caller may watch it. Raises `NotFound` for missing and hidden alike."""
    run = runs.get_now(run_id)
    permissions.require_watch(caller, run)
    return run


def _called_run(caller: Caller, run_id: str) -> Run:
    """The same for who calls a file: a token that may run it may follow what it runs."""
    run = runs.get_now(run_id)
    if not permissions.may_watch(caller, run, scope="run"):
        raise NotFound
    return run


async def require_run_of(caller: Caller, run_id: str, *, ref: str) -> None:
    """Raise `NotFound` unless the run is one of this file's that the caller may watch."""

    def look_up() -> None:
        run = _called_run(caller, run_id)
        if ref not in (run.file.pk, run.file.name):
            raise NotFound

    await in_database_soon(look_up)


async def reader(
    request: HttpRequest,
    caller: Caller,
    run_id: str,
    *,
    after: int,
    form: streams.Form,
    prefix: str = "",
) -> streams.Reading:
    """A reader of the run; `prefix` on `call/`. Raises `NotFound` for who may not watch it."""
    scope = "run" if prefix else "runs:read"

    def look_up() -> streams.Reading:
        run = (_called_run if prefix else watched_run)(caller, run_id)
        return streams.Reading(
            run_id=run_id,
            after=after,
            form=form,
            prefix=prefix,
            with_traceback=permissions.may_read(caller, run.file),
            allowed=lambda: may_still_watch(request, run_id, scope=scope),
            user_id=caller.user.pk,
        )

    return await in_database_soon(look_up)


def may_still_watch(request: HttpRequest, run_id: str, *, scope: str) -> bool:
    """Whether the session or token, the user and the right of a request hold still."""
    try:
        caller = access.caller_again(request)
        return permissions.may_follow(caller, runs.get_now(run_id), scope=scope)
    except DjsciError:
        return False
