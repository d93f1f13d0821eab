"""An HTTP request that runs a file: who asks, with what, and the run that comes of it."""

import re
from tempfile import SpooledTemporaryFile

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.utils.http import content_disposition_header

from . import conf, form_bodies, policy, problems, runs, uploads
from .access import permissions
from .access import requests as access
from .access.callers import Caller
from .access.database import in_database, in_database_soon, in_files
from .core import requests
from .core.errors import DjsciError, Draining, NotAuthenticated, TooLarge
from .guest.requests import HandlerRequest
from .models import PrivateFile

_CSRF_FIELD = "csrfmiddlewaretoken"
_MESSAGES_COOKIE = "messages"
OVERHEAD = 1 << 20  # what a form adds to the files that it carries
_WAIT = re.compile(r'\bwait\s*=\s*"?(\d{1,9})"?\s*(?:;|$)', re.IGNORECASE)
MOST_WAIT = 300
_SHORT = 16 << 10


async def identify(request: HttpRequest, *, is_unsafe: bool) -> tuple[Caller, bool]:
    """Who calls, and whether a person must first be asked; `is_unsafe`: runs or changes.

    Raises `NotAuthenticated` for a bad token, `BadRequest` for one in the URL, `Forbidden` for a
    forged or foreign request.
    """
    access.refuse_told_token(request)
    if is_unsafe:
        await read_body(request, most=conf.get("UPLOAD_LIMIT") + OVERHEAD)

    def look_up() -> tuple[Caller, bool]:
        caller = access.caller_of(request)
        verdict = access.guard(request, caller, runs_or_changes=is_unsafe)
        return caller, verdict == "ask"

    return await in_database_soon(look_up)


async def is_staff(request: HttpRequest) -> bool:
    """Whether one of the staff calls; whatever is wrong with the caller: no."""
    try:
        caller, _ = await identify(request, is_unsafe=False)
    except DjsciError:
        return False
    return caller.is_authenticated and bool(getattr(caller.user, "is_staff", False))


async def signed_in(request: HttpRequest, *, is_unsafe: bool = False) -> Caller:
    """Who calls; strangers are refused by `NotAuthenticated`."""
    caller, _ = await identify(request, is_unsafe=is_unsafe)
    if not caller.is_authenticated:
        raise NotAuthenticated
    return caller


async def read_body(request: HttpRequest, *, most: int) -> bytes:
    """The body, at most `most` bytes of it; Django's own lower cap for memory is not asked."""
    if not hasattr(request, "_body"):
        if request._read_started:  # type: ignore[attr-defined]
            return b""  # a middleware has parsed it: what it held is in POST and FILES
        if _is_in_memory(request):
            body = request.read(most + 1)
        else:
            body = await in_files(request.read, most + 1)
        if len(body) > most:
            raise TooLarge(f"The body has more than {most} bytes.")
        request._body = body
    return request.body


def _is_in_memory(request: HttpRequest) -> bool:
    """Whether the server's body is small enough that Django spooled nothing to a file."""
    stream = getattr(request, "_stream", None)
    return isinstance(stream, SpooledTemporaryFile) and not getattr(stream, "_rolled", True)


async def start(
    request: HttpRequest, ref: str, *, caller: Caller, trigger: str, rest: str | None = None
) -> str:
    """Start a run of the file whose request is this one; the run's id. `rest`: its `path_info`."""
    body = await read_body(request, most=conf.get("UPLOAD_LIMIT") + OVERHEAD)
    is_short = len(body) <= _SHORT and request.content_type != form_bodies.MULTIPART
    if is_short:  # nothing to read or to parse that would be worth another thread
        handed = _handed(request, body, rest)
    else:
        handed = await in_files(_handed, request, body, rest)
    started = await runs.start(
        ref,
        caller=caller,
        trigger=trigger,
        request=handed,
        text_parameters={**dict(request.GET.lists()), **dict(handed.POST.lists())},
    )
    return started.run_id


def _handed(request: HttpRequest, body: bytes, rest: str | None) -> HandlerRequest:
    """The plain values of a Django request; what must stay here is taken out by `core`."""
    form, parts = form_bodies.read(request, body)
    fields = [(key, text) for key, texts in form.lists() for text in texts if key != _CSRF_FIELD]
    headers, meta = dict(request.headers), request.META
    if _CSRF_FIELD in form and body:
        body = form_bodies.without(request, body, _CSRF_FIELD)
        headers["Content-Length"] = str(len(body))
        meta = {**meta, "CONTENT_LENGTH": str(len(body))}
    return requests.build(
        method=request.method or "GET",
        path=request.path,
        path_info=request.path_info if rest is None else rest,
        query=request.META.get("QUERY_STRING", ""),
        headers=headers,
        cookies=request.COOKIES,
        body=body,
        content_type=request.META.get("CONTENT_TYPE", ""),
        post=fields,
        files=[(field, _file(part)) for field, each in parts.lists() for part in each],
        meta=meta,
        dropped_cookies=(
            settings.SESSION_COOKIE_NAME,
            settings.CSRF_COOKIE_NAME,
            _MESSAGES_COOKIE,
        ),
    )


def _file(part: "UploadedFile[bytes]") -> requests.UploadedFile:
    kind = part.content_type or ""
    return requests.UploadedFile(name=part.name or "", content_type=kind, content=part.read())


def preferred_wait(request: HttpRequest) -> int | None:
    """The seconds of `Prefer: wait=N`; None when there is no usable one."""
    for preference in request.headers.get("Prefer", "").split(","):
        found = _WAIT.match(preference.strip())
        if found and int(found[1]) <= MOST_WAIT:
            return int(found[1])
    return None


async def ask(request: HttpRequest, ref: str, *, caller: Caller) -> HttpResponse:
    """The page that asks before a link from elsewhere runs something. Raises `NotFound`."""

    def look_up() -> str:
        file = uploads.find(ref)
        permissions.require_run(caller, file)
        return str(file)

    name = await in_database_soon(look_up)
    answer = render(
        request,
        "djsci/run_this.html",
        {
            "name": name,
            "parameters": [(key, value) for key, values in request.GET.lists() for value in values],
            "action": request.get_full_path(),
            "caller": caller,
            "csrf": get_token(request),
            "nonce": policy.nonce(request),
        },
    )
    return policy.with_policy(request, answer)


def attachment(content: bytes, name: str) -> HttpResponse:
    """Bytes to be saved, never shown: nothing in them may act as a page of ours."""
    answer = HttpResponse(content, content_type="application/octet-stream")
    disposition = content_disposition_header(as_attachment=True, filename=name)
    answer["Content-Disposition"] = disposition or "attachment"
    answer["Content-Security-Policy"] = "sandbox; default-src 'none'; frame-ancestors 'none'"
    answer["Cache-Control"] = "private, no-cache"
    return answer


async def bare_result(run: runs.RunView, *, caller: Caller) -> HttpResponse:
    """A run's JSON value as the worker encoded it, or the problem that it ended with."""
    if run.state != "succeeded":
        return await failed(run, caller=caller)
    answer = HttpResponse(await runs.result_text(run), content_type="application/json")
    answer["Cache-Control"] = "no-store"
    return answer


async def failed(run: runs.RunView, *, caller: Caller) -> HttpResponse:
    """The problem of a run that did not succeed; its traceback for those who read the source."""
    may_read = await in_database(reads_source, caller, run.file_id)
    return problems.as_response(problems.outcome(run, with_traceback=may_read))


def left_running(run_id: str) -> HttpResponse:
    """The problem for who waits for a run that goes on elsewhere while this server stops."""
    error = Draining("The server is shutting down. The run goes on: ask for it, do not call again.")
    return problems.as_response({**problems.problem(error), "run": run_id})


def reads_source(caller: Caller, file_id: str) -> bool:
    """Whether the caller may read the file's source, and so its tracebacks."""
    file = PrivateFile.objects.filter(pk=file_id).first()
    return file is not None and permissions.may_read(caller, file)
