"""`call/<ref>/[<path>]`: an HTTP request is the handler's request, its answer the handler's."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from djsci import calling, problems, runs, surface
from djsci.access.callers import Caller
from djsci.core.errors import BadRequest, NotAuthenticated

from . import answers, documents, reading, streams, tables
from .stream_limits import Place

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
    if form != "json":
        return await _streamed(request, name_id, path, caller, form)
    run_id = await calling.start(request, name_id, caller=caller, trigger="call", rest=f"/{path}")
    asked = calling.preferred_wait(request)
    await surface.release_connections()
    run = await runs.finish(run_id, wait=DEFAULT_WAIT if asked is None else asked)
    if run is None:
        return await documents.run_answer(run_id, caller=caller, status=202)
    return await _finished(request, run, caller)


async def _finished(request: HttpRequest, run: runs.RunView, caller: Caller) -> HttpResponse:
    if run.state != "succeeded":
        return await calling.failed(run, caller=caller)
    text = await runs.result_text(run)
    table = await tables.answer(request, text) if run.http is None else None
    answer = table or answers.chosen(request, run.http or {}, text)
    patch_vary_headers(answer, ["Accept"])
    return answer


async def _streamed(
    request: HttpRequest, name_id: str, path: str, caller: Caller, form: streams.Form
) -> HttpResponseBase:
    """The events of a new run, or the rest of the one that the last event was of."""
    place = Place(request, caller.user.pk)
    try:
        if request.headers.get("Last-Event-ID"):
            run_id, after = await _last_seen(request, name_id, caller)
        else:
            after = 0
            run_id = await calling.start(
                request, name_id, caller=caller, trigger="call", rest=f"/{path}"
            )
        reader = await reading.reader(
            request, caller, run_id, after=after, form=form, prefix=f"{run_id}/"
        )
    except BaseException:
        place.close()
        raise
    answer = await streams.stream(request, reader, place)
    answer["Content-Location"] = f"{documents.run_path(run_id)}events/"
    return answer


async def _last_seen(request: HttpRequest, name_id: str, caller: Caller) -> tuple[str, int]:
    """The run and seq of the last event; a second run is never started."""
    run_id, _, seq = request.headers["Last-Event-ID"].rpartition("/")
    if not run_id or not (seq.isascii() and seq.isdigit()) or len(seq) > 18:
        raise BadRequest("Last-Event-ID is not the id of an event of this address.")
    await reading.require_run_of(caller, run_id, ref=name_id)
    return run_id, int(seq)
