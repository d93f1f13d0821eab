"""A run, live or ended: its page, its log as text, cancel, once more."""

from asgiref.sync import async_to_sync
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from djsci import runs
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.core.errors import BadParameters, DjsciError, Forbidden, Pruned
from djsci.runs import log, receipts

from . import console, documents, frames, printed, run_config
from .page import page, problem_page, render, see_other
from .reading import watched_run


@page("GET")
def run_page(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponse:
    """One run, live or ended: the page follows its log."""
    run = watched_run(caller, run_id)
    return render(request, "run.html", console.context(request, caller, run), caller)


@page("GET", "POST")
def run_notebook(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponse:
    """The run's executed notebook in a frame; a POST lets its scripts run."""
    run = watched_run(caller, run_id)
    permissions.require_read(caller, run.file, scope="runs:read")
    try:
        receipts.require(run)
    except DjsciError as error:
        way = (reverse("djsci_run", args=[run_id]), "To the run")
        return problem_page(request, error, caller, ways=[way])
    runs_scripts = request.method == "POST" or frames.may_run_scripts(caller, run)
    context = {
        "run": run,
        "frame": reverse("djsci_notebook_frame", args=[run_id]),
        "level": "interactive" if runs_scripts else "static",
        "download": f"{documents.run_path(run_id)}notebook/",
    }
    return render(request, "run_notebook.html", context, caller)


@page("POST")
def run_cancel(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponse:
    """Ask a run to stop; asked twice it is killed."""
    is_again = runs.get_now(run_id).cancel != ""
    async_to_sync(runs.cancel)(run_id, caller=caller, force=is_again)
    return see_other(request, "djsci_run", run_id)


@page("POST")
def run_again(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponse:
    """The same once more, on what the file holds now."""
    run = watched_run(caller, run_id)
    permissions.require_run(caller, run.file)
    if not run_config.may_repeat(caller, run, may_read=permissions.may_read(caller, run.file)):
        raise Forbidden("What this run was asked with is another's: fill in the form of the file.")
    try:
        started = async_to_sync(runs.repeat)(
            run, caller=caller, key=request.POST.get("key") or None
        )
    except BadParameters as error:
        edit = f"{reverse('djsci_file', args=[run.file_id])}?from={run.pk}"
        return problem_page(request, error, caller, ways=[(edit, "Edit and run")])
    return see_other(request, "djsci_run", started.run_id)


@page("GET")
def run_log(request: HttpRequest, caller: Caller, run_id: str) -> HttpResponseBase:
    """What a run has printed until now, as plain text."""
    run = watched_run(caller, run_id)
    printer = printed.Printer(
        with_traceback=permissions.may_read(caller, run.file),
        is_stripped=request.GET.get("ansi") == "strip",
    )
    try:
        first = log.read(run_id, after=0)
    except Pruned as error:
        way = (reverse("djsci_run", args=[run_id]), "What is kept of the run")
        return problem_page(request, error, caller, ways=[way])
    made = printed.parts_async if isinstance(request, ASGIRequest) else printed.parts
    response = StreamingHttpResponse(
        made(run_id, first, printer), content_type="text/plain; charset=utf-8"
    )
    response["Content-Disposition"] = f'inline; filename="run-{run_id}.txt"'
    return response
