"""Every error is a problem; what goes wrong unforeseen tells nothing."""

import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import OperationalError
from django.http import Http404
from django.test import Client

from djsci import problems
from djsci.core.errors import BadParameters, LimitReached, NotAuthenticated


@dataclass
class Ended:
    state: str
    reason: str = ""
    error: dict[str, Any] | None = None
    id: str = "r1"


ERROR = {
    "ename": "KeyError",
    "evalue": "'auc'",
    "cell": 4,
    "line": 7,
    "traceback": ["File secret.py"],
}


@pytest.mark.parametrize(
    ("ended", "detail"),
    [
        (Ended("timed_out", "over the limit of 1 s", ERROR), "over the limit of 1 s"),
        (Ended("cancelled", "shutdown", ERROR), "shutdown"),
        (Ended("cancelled", "", ERROR), "The run was cancelled."),
        (Ended("crashed", "signal 9", ERROR), "signal 9"),
        (Ended("failed", "said otherwise", ERROR), "KeyError: 'auc'"),
        (Ended("failed", "its libraries were not installed"), "its libraries were not installed"),
    ],
    ids=str,
)
def test_a_run_that_was_stopped_says_why_and_not_that_its_handler_was_interrupted(
    ended: Ended, detail: str
):
    told = problems.outcome(ended)
    assert told["detail"] == detail
    assert told.get("error", {}).get("ename") == (ended.error and "KeyError")


def test_a_refusal_has_its_members_and_its_fields():
    answer = problems.response(BadParameters("no", errors=[{"field": "n", "message": "not int"}]))
    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    assert json.loads(answer.content) == {
        "type": "bad_parameters",
        "title": "The parameters do not fit the handler's signature.",
        "status": 422,
        "detail": "no",
        "errors": [{"field": "n", "message": "not int"}],
    }


def test_a_limit_says_when_to_come_back_and_a_stranger_how_to_come_in():
    assert problems.response(LimitReached(retry_after=7))["Retry-After"] == "7"
    assert problems.response(LimitReached())["Retry-After"]
    assert problems.response(NotAuthenticated())["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OperationalError("no such host db.internal"), 503, "no_capacity"),
        (Http404(), 404, "not_found"),
        (PermissionDenied(), 403, "forbidden"),
        (RequestDataTooBig(), 413, "too_large"),
        (SuspiciousOperation("x"), 400, "bad_request"),
        (BadRequest("a form that is not UTF-8"), 400, "bad_request"),
        (ZeroDivisionError("secret"), 500, "server_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_any_exception_is_a_problem_that_tells_no_secret(error, status, code, caplog):
    caplog.set_level(logging.CRITICAL, "djsci")
    answer = problems.failure(error)
    assert (answer.status_code, json.loads(answer.content)["type"]) == (status, code)
    assert b"secret" not in answer.content
    assert b"db.internal" not in answer.content
    assert ("Retry-After" in answer) == (status == 503)


@pytest.mark.parametrize(
    ("run", "status", "code"),
    [
        (Ended("failed", "KeyError: 'auc'", ERROR), 500, "handler_failed"),
        (Ended("failed", "result_not_json"), 500, "result_not_json"),
        (Ended("failed", "result_too_large"), 500, "result_too_large"),
        (Ended("timed_out"), 500, "timed_out"),
        (Ended("crashed", "signal 9"), 500, "crashed"),
        (Ended("lost"), 500, "lost"),
        (Ended("cancelled"), 409, "cancelled"),
        (Ended("denied"), 403, "denied"),
    ],
    ids=lambda value: value.state if isinstance(value, Ended) else None,
)
def test_a_run_that_did_not_succeed_says_how_it_ended(run, status, code):
    told = problems.outcome(run)
    assert (told["type"], told["status"], told["run"]) == (code, status, "r1")
    assert told["detail"]


def test_only_those_who_may_read_the_source_get_the_traceback():
    run = Ended("failed", "KeyError: 'auc'", ERROR)
    assert problems.outcome(run)["error"] == {
        "ename": "KeyError",
        "evalue": "'auc'",
        "cell": 4,
        "line": 7,
    }
    assert problems.outcome(run, with_traceback=True)["error"] == ERROR


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/djsci/api/v1/files/", "application/problem+json"),
        ("/djsci/call/x/", "application/problem+json"),
        ("/djsci/consoles", "application/problem+json"),
        ("/djsci/console/", "text/html; charset=utf-8"),
        ("/accounts/login/", "text/html; charset=utf-8"),
    ],
)
def test_a_foreign_host_is_refused_in_the_form_of_the_address(path: str, kind: str, settings: Any):
    settings.ALLOWED_HOSTS = ["testserver"]
    answer = Client().get(path, HTTP_HOST="elsewhere.example")
    assert (answer.status_code, answer["Content-Type"]) == (400, kind)
    assert b"does not answer to the host" in answer.content
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
