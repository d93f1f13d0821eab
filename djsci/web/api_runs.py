"""`api/v1/runs/` and `files/<ref>/runs/`: start, list, show, read, cancel."""

import re
from typing import Annotated, Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from ninja import Query, Router

from djsci import calling, problems, runs, surface
from djsci.access import permissions
from djsci.access.database import in_database
from djsci.core.errors import BadBody, BadRequest, Conflict
from djsci.models import Run

from . import answers, bodies, documents, reading, run_filters, streams, tables

router = Router(tags=["runs"])
of_files = Router(tags=["runs"])
Limit = Annotated[int, Query(ge=1, description="At most 100 items come.")]
After = Annotated[int, Query(ge=0, description="The last seq seen.")]
Wait = Annotated[
    float,
    Query(ge=0, allow_inf_nan=False, description="Seconds to wait for news (JSON only), up to 25."),
]
MOST_POLL = 25.0
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@of_files.post("{ref}/runs/", summary="Start a run")
async def start_run(request: HttpRequest, ref: str) -> HttpResponse:
    caller = await calling.signed_in(request, is_unsafe=True)
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest("An Idempotency-Key has 1 to 255 visible ASCII characters.")
    body = await bodies.json_object(request, known=("parameters",))
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        message = "`parameters` is not an object."
        raise BadBody(message, errors=[{"field": "parameters", "message": message}])
    started = await runs.start(ref, caller=caller, trigger="api", parameters=parameters, key=key)
    wait = calling.preferred_wait(request)
    is_done = False
    if wait is not None or not started.is_new:
        await surface.release_connections()
        is_done = await runs.finish(started.run_id, wait=wait or 0) is not None
    answer = await documents.run_answer(
        started.run_id, caller=caller, status=200 if is_done else 202
    )
    if wait is not None:
        answer["Preference-Applied"] = f"wait={wait}"
    return answer


@router.get("", summary="List the runs that you may see")
async def list_runs(
    request: HttpRequest,
    file: str | None = None,
    state: str | None = None,
    user: str | None = None,
    since: str | None = None,
    cursor: str | None = None,
    limit: Limit = 50,
) -> HttpResponse:
    caller = await calling.signed_in(request)
    conditions = run_filters.conditions(file, state, user, since)

    def look_up() -> dict[str, Any]:
        permissions.require_scope(caller, "runs:read")
        rows: QuerySet[Run] = permissions.visible_runs(caller).filter(conditions)
        return documents.page(
            rows.select_related("file", "version", "user"),
            lambda run: documents.run_document(run, caller),
            cursor=cursor,
            limit=limit,
        )

    return documents.answer(await in_database(look_up))


@router.get("{run_id}/", summary="Show a run")
async def show_run(request: HttpRequest, run_id: str) -> HttpResponse:
    caller = await calling.signed_in(request)
    await in_database(reading.watched_run, caller, run_id)
    return await documents.run_answer(run_id, caller=caller, status=200)


@router.get("{run_id}/events/", summary="Read what a run says, now or as it happens")
async def read_events(
    request: HttpRequest, run_id: str, after: After = 0, wait: Wait = 0
) -> HttpResponseBase:
    caller = await calling.signed_in(request)
    form = streams.wanted_form(request)
    if form != "json":
        after = _last_seen(request, run_id, after)
    reader = await reading.reader(request, caller, run_id, after=after, form=form)
    if form != "json":
        return await streams.stream(request, reader)
    is_brief = surface.is_head(request)
    return await streams.json_page(reader, wait=0 if is_brief else min(wait, MOST_POLL))


@router.get("{run_id}/result/", summary="The value that a run's handler returned")
async def read_result(request: HttpRequest, run_id: str) -> HttpResponse:
    caller = await calling.signed_in(request)
    run = runs.view(await in_database(reading.watched_run, caller, run_id))
    if not run.is_final:
        members = problems.problem(Conflict("The run has not ended yet."))
        return problems.as_response({**members, "run": run.id})
    answer = await calling.bare_result(run, caller=caller)
    if run.state == "succeeded":
        table = await tables.answer(request, answer.content.decode())
        answer = answers.sandboxed(table) if table else answer
    patch_vary_headers(answer, ["Accept"])
    return answer


@router.post("{run_id}/cancel/", summary="Ask a run to stop")
async def cancel_run(request: HttpRequest, run_id: str) -> HttpResponse:
    caller = await calling.signed_in(request, is_unsafe=True)
    body = await bodies.json_object(request, known=("force",))
    force = body.get("force", False)
    if not isinstance(force, bool):
        message = "`force` is true or false."
        raise BadBody(message, errors=[{"field": "force", "message": message}])
    answer = await runs.cancel(run_id, caller=caller, force=force)
    return await documents.run_answer(
        run_id, caller=caller, status=202 if answer == "asked" else 200
    )


def _last_seen(request: HttpRequest, run_id: str, after: int) -> int:
    """The seq that a reconnecting EventSource names; its address still says the first one."""
    named = request.headers.get("Last-Event-ID", "")
    if not named:
        return after
    prefix, _, seq = named.rpartition("/")
    if prefix not in ("", run_id) or not (seq.isascii() and seq.isdigit()) or len(seq) > 18:
        raise BadRequest("Last-Event-ID is not the id of an event of this run.")
    return int(seq)
