"""`call/<ref>/[<path>]`: an HTTP request is the handler's request, its answer the handler's."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from djsci import calling, problems, runs, surface
from djsci.access.callers import Caller
from djsci.core.errors import BadRequest, NotAuthenticated

from . import answers, documents, reading, streams

DEFAULT_WAIT = 30


@surface.surface()
async def call(request: HttpRequest, name_id: str, path: str = "") -> HttpResponseBase:
    """Run the file for this request and answer what its handler answers.

    202 when `Prefer: wait` seconds pass first; the run's events when `Accept` asks for them.
    """
    try:
        caller, must_ask = await calling.identify(request, is_unsafe=True)
        if not caller.is_authenticated:
            raise NotAuthenticated
        if must_ask:
            return await calling.ask(request, name_id, caller=caller)
        answer = await _answer(request, name_id, path, caller)
    except Exception as error:
        answer = problems.failure(error)
    return answers.sandboxed(answer)


async def _answer(
    request: HttpRequest, name_id: str, path: str, caller: Caller
) -> HttpResponseBase:
    form = streams.wanted_form(request)
    if form != "json" and request.headers.get("Last-Event-ID"):
        return await _resume(request, name_id, caller, form)
    run_id = await calling.start(request, name_id, caller=caller, trigger="call", rest=f"/{path}")
    if form != "json":
        return await _stream(request, caller, run_id, after=0, form=form)
    asked = calling.preferred_wait(request)
    await surface.release_connections()
    run = await runs.finish(run_id, wait=DEFAULT_WAIT if asked is None else asked)
    if run is None:
        return await documents.run_answer(run_id, caller=caller, status=202)
    return await _finished(request, run, caller)


async def _finished(request: HttpRequest, run: runs.RunView, caller: Caller) -> HttpResponse:
    if run.state != "succeeded":
        return await calling.failed(run, caller=caller)
    return answers.chosen(request, run.http or {}, await runs.result_text(run))


async def _stream(
    request: HttpRequest, caller: Caller, run_id: str, *, after: int, form: streams.Form
) -> HttpResponseBase:
    reader = await reading.reader(
        request, caller, run_id, after=after, form=form, prefix=f"{run_id}/"
    )
    answer = await streams.stream(request, reader)
    answer["Content-Location"] = f"{documents.run_path(run_id)}events/"
    return answer


async def _resume(
    request: HttpRequest, name_id: str, caller: Caller, form: streams.Form
) -> HttpResponseBase:
    """Go on with the run that the last event was of; a second one is never started."""
    run_id, _, seq = request.headers["Last-Event-ID"].rpartition("/")
    if not run_id or not (seq.isascii() and seq.isdigit()):
        raise BadRequest("Last-Event-ID is not the id of an event of this address.")
    await reading.require_run_of(caller, run_id, ref=name_id)
    return await _stream(request, caller, run_id, after=int(seq), form=form)
