"""Every error as `application/problem+json` (RFC 9457), whoever raised it."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from django.conf import settings
from django.core.exceptions import BadRequest as DjangoBadRequest
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError

from .core import errors
from .core.errors import (
    BadRequest,
    DiskFull,
    DjsciError,
    Draining,
    Forbidden,
    NoCapacity,
    NotFound,
    TooLarge,
)
from .core.events import dumps

logger = logging.getLogger("djsci.problems")

CONTENT_TYPE = "application/problem+json"
RETRY_SECONDS = 2

# How a run that did not succeed answers: status and title by code.
_OUTCOMES: dict[str, tuple[int, str]] = {
    "handler_failed": (500, "The handler raised an exception."),
    "result_not_json": (500, "The handler's result is not JSON."),
    "result_too_large": (500, "The handler's result is larger than the site allows."),
    "bad_parameters": (422, "The file's own parser refused its arguments."),
    "timed_out": (500, "The run was stopped at its time limit."),
    "crashed": (500, "The process of the run was killed."),
    "lost": (500, "The executor of the run vanished."),
    "cancelled": (409, "The run was cancelled."),
    "denied": (403, "The right to run the file was gone when the run was to start."),
}


_REASONS = ("bad_parameters", "result_not_json", "result_too_large")


class EndedRun(Protocol):
    """What is asked of a run to tell how it ended."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def error(self) -> dict[str, Any] | None: ...


def problem(error: DjsciError, *, instance: str = "") -> dict[str, Any]:
    """The members of the problem that tells of `error`."""
    members: dict[str, Any] = {
        "type": error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if instance:
        members["instance"] = instance
    if error.errors:
        members["errors"] = error.errors
    return members


def outcome(run: EndedRun, *, with_traceback: bool = False) -> dict[str, Any]:
    """The problem of a run that ended, but did not succeed."""
    error = dict(run.error or {})
    code = _code_of(run.state, run.reason)
    status, title = _OUTCOMES[code]
    members: dict[str, Any] = {
        "type": code,
        "title": title,
        "status": status,
        "detail": _detail(run, error) or title,
        "run": run.id,
    }
    if error:
        shown: dict[str, Any] = {
            "ename": error.get("ename", ""),
            "evalue": error.get("evalue", ""),
            "cell": error.get("cell"),
            "line": error.get("line"),
        }
        if with_traceback:
            shown["traceback"] = list(error.get("traceback") or ())
        members["error"] = shown
    return members


def _code_of(state: str, reason: str) -> str:
    if state in _OUTCOMES:
        return state
    return reason if reason in _REASONS else "handler_failed"


def _detail(run: EndedRun, error: Mapping[str, Any]) -> str:
    """Of a run that was stopped the reason: its handler only says that it was interrupted."""
    if run.state == "failed" and error.get("ename"):
        evalue = error.get("evalue")
        return f"{error['ename']}: {evalue}" if evalue else str(error["ename"])
    return run.reason


def codes() -> dict[int, list[str]]:
    """Every code that a problem may have, by status."""
    known = [error for error in vars(errors).values() if isinstance(error, type)]
    refusals = [(error.status, error.code) for error in known if issubclass(error, DjsciError)]
    ends = [(status, code) for code, (status, _) in _OUTCOMES.items()]
    every = sorted({*refusals, *ends, (ServerFailed.status, ServerFailed.code)})
    return {status: [code for each, code in every if each == status] for status, _ in every}


def response(error: DjsciError) -> HttpResponse:
    """The answer to a request that djsci refuses."""
    answer = as_response(problem(error))
    if error.status == 401:
        answer["WWW-Authenticate"] = 'Bearer realm="djsci"'
    if error.retry_after is not None:
        answer["Retry-After"] = str(max(0, error.retry_after))
    elif error.status in (429, 503):
        answer["Retry-After"] = str(RETRY_SECONDS)
    return answer


def as_response(members: Mapping[str, Any]) -> HttpResponse:
    """A problem's members as an answer with its status."""
    answer = HttpResponse(dumps(members), status=members["status"], content_type=CONTENT_TYPE)
    answer["Cache-Control"] = "no-store"
    return answer


def failure(error: Exception) -> HttpResponse:
    """The answer to any exception that reached a surface; what nobody foresaw is logged."""
    return response(translated(error))


def translated(error: Exception) -> DjsciError:
    """The error of ours that says what any exception means to the caller."""
    match error:
        case DjsciError():
            _note_refusal(error)
            return error
        case OperationalError() | InterfaceError():
            logger.warning("the database is away: %s", type(error).__name__)
            return NoCapacity("The database cannot be reached; try again.", retry_after=5)
        case OSError() if error.errno in DiskFull.errnos:
            logger.error("the disk is full: %s", error.filename or "a temporary file")
            return DiskFull()
        case Http404():
            return NotFound()
        case PermissionDenied():
            return Forbidden()
        case TooManyFieldsSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
            return BadRequest(f"A form or a query has more than {most} fields.")
        case TooManyFilesSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
            return BadRequest(f"A form has more than {most} files.")
        case RequestDataTooBig():
            return TooLarge("The body is larger than the site allows.")
        case SuspiciousOperation() | MultiPartParserError() | UnreadablePostError():
            return BadRequest("The request cannot be read.")
        case DjangoBadRequest():  # such as a form that is not UTF-8
            return BadRequest("The request cannot be read.")
    logger.error("a surface failed", exc_info=error)
    return ServerFailed()


def _note_refusal(error: DjsciError) -> None:
    """What the site would not take; a drain is told to all who are there, so once is enough."""
    if error.status in (429, 503) and not isinstance(error, Draining):
        logger.warning("refused with %d %s: %s", error.status, error.code, error.detail)


class ServerFailed(DjsciError):
    """The server failed; the site's log says why."""

    code = "server_error"
    status = 500
