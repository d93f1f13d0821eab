"""Clients of the HTTP surfaces: a program with a token, a browser with a session."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import AsyncClient
from django.utils import timezone

from djsci import runs
from djsci.access import tokens
from djsci.core import events
from djsci.core.events import Event
from djsci.models import PrivateFile, Run
from djsci.runs import log

MakeClient = Callable[..., AsyncClient]
MakeRun = Callable[..., Run]


class Program(AsyncClient):
    """A client that sends a token with each request."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret

    def generic(self, *args: Any, headers: Any = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.secret}", **(headers or {})}
        return super().generic(*args, headers=headers, **options)


@pytest.fixture
def make_program(transactional_db: None) -> MakeClient:
    """A client with a token of `user`."""

    def make(user: Any, *scopes: str) -> AsyncClient:
        return Program(tokens.make(user, "test", scopes or tokens.SCOPES)[1])

    return make


@pytest.fixture
def program(make_program: MakeClient, user: Any) -> AsyncClient:
    """A program of the superuser who owns the files."""
    return make_program(user)


@pytest.fixture
def browser(user: Any) -> AsyncClient:
    """The same user, signed in, with CSRF checks as in a real server."""
    client = AsyncClient(enforce_csrf_checks=True)
    client.force_login(user)
    return client


@pytest.fixture
def grace(transactional_db: None) -> Any:
    """Somebody without any right."""
    return get_user_model().objects.create_user("grace", password="grace")


@pytest.fixture
def stranger(make_program: MakeClient, grace: Any) -> AsyncClient:
    """A program of hers."""
    return make_program(grace)


async def read(response: Any) -> bytes:
    """The whole body of a stream."""
    return b"".join([part async for part in response.streaming_content])


def problem_of(response: Any) -> dict[str, Any]:
    """The problem that the answer is."""
    assert response["Content-Type"] == "application/problem+json", response.content
    found: dict[str, Any] = json.loads(response.content)
    assert found["status"] == response.status_code
    assert {"type", "title", "status", "detail"} <= found.keys()
    return found


@pytest.fixture
def make_run(user: Any) -> MakeRun:
    """A run as it would stand in the database after these events; nothing is executed."""

    def make(file: PrivateFile, *said: Event, state: str = "succeeded", **columns: Any) -> Run:
        assert file.version
        now = timezone.now()
        end = [] if state in events.LIVE else [events.End(state=state, elapsed=1.5)]
        all_said = [events.Status(state="queued"), *said, *end]
        run = Run.objects.create(
            **{
                "file": file,
                "version": file.version,
                "user": user,
                "trigger": "api",
                "engine": "fork",
                "isolation": "process",
                "timeout": 300,
                "memory": 1,
                "created": now,
                "started": None if state == "queued" else now,
                "ended": now if end else None,
                "elapsed": 1.5 if end else None,
                "state": "queued",
                "queue": "nobody's",  # an executor that is still there leaves it alone
                "lease_until": now + timedelta(hours=1),
                **columns,
            }
        )
        lines = [
            log.numbered(event.to_json(), seq=seq, t=1e9) for seq, event in enumerate(all_said, 1)
        ]
        log.append(log.Append(run_id=run.pk, lease=0, head=0, lines=lines))
        Run.objects.filter(pk=run.pk).update(state=state)
        return runs.get_now(run.pk)

    return make
