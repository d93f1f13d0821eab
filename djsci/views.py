"""The views of the first release: they run a file, wait to its end, answer its bare JSON value."""

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from . import calling, runs, surface, uploads
from .access import permissions
from .access.database import in_database_soon, in_files
from .core.errors import NotFound
from .models import PrivateFile


@surface.readable
async def api_root(request: HttpRequest) -> HttpResponseBase:
    """Who is here: answered to everyone."""
    if request.method != "GET":
        return surface.refused_method(("GET",))
    return HttpResponse(b'"djsci_api_root"', content_type="application/json")


@surface.surface("GET", "POST")
async def sync_py(request: HttpRequest, name_id: str) -> HttpResponseBase:
    """Run a file of either kind and answer what its handler returned."""
    return await _run(request, name_id)


@surface.surface("GET", "POST")
async def sync_ipynb(request: HttpRequest, name_id: str) -> HttpResponseBase:
    """The same: the kind comes from the file."""
    return await _run(request, name_id)


async def _run(request: HttpRequest, name_id: str) -> HttpResponseBase:
    caller, must_ask = await calling.identify(request, is_unsafe=True)
    if not caller.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if must_ask:
        return await calling.ask(request, name_id, caller=caller)
    run_id = await calling.start(request, name_id, caller=caller, trigger="classic")
    await surface.release_connections()
    run = await runs.finish(run_id, wait=None)
    if run is None:
        return calling.left_running(run_id)
    return await calling.bare_result(run, caller=caller)


@surface.readable
async def private_files(request: HttpRequest, path: str) -> HttpResponseBase:
    """What a FileField holds, for those who may read its source; the first release gave it to all.

    A token is of no use here.
    """
    if request.method != "GET":
        return surface.refused_method(("GET",))
    caller, _ = await calling.identify(request, is_unsafe=False)
    if caller.via != "cookie":
        return redirect_to_login(request.get_full_path())

    def look_up() -> PrivateFile:
        file = uploads.by_path(path)
        if not permissions.may_read(caller, file):
            raise NotFound
        return file

    file = await in_database_soon(look_up)
    content = await in_files(uploads.held_content, file)
    return calling.attachment(content, path.rpartition("/")[2])
