"""Fixtures that make things: users, files, calls; and the proof that nothing is left behind."""

import gc
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from django.contrib.auth import get_user_model

from djsci import uploads
from djsci.access.callers import Caller
from djsci.access.database import DB_POOL, FILES_POOL, close_connections
from djsci.models import PrivateFile
from djsci.runs import executor
from tests import live, servers, settings

MakeFile = Callable[..., PrivateFile]


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """The suite ends its executor; then no process, thread, folder or connection of it is left."""
    yield
    executor.stop()
    close_connections()
    for pool in (DB_POOL, FILES_POOL):
        pool.shutdown()
    live.forget_templates()
    servers.stop()
    gc.collect()
    assert [child.cmdline() for child in psutil.Process().children(recursive=True)] == []
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("djsci")]
    for thread in ours:
        thread.join(10)  # a handler in a thread cannot be killed: the tests' return in seconds
    assert [thread.name for thread in ours if thread.is_alive()] == []
    left = [path.name for path in settings.TEMPORARY.glob("djsci-*")]
    shutil.rmtree(settings.BASE, ignore_errors=True)
    assert left == []


@pytest.fixture
def user(transactional_db: None) -> Any:
    """A superuser: she may trust a version."""
    return get_user_model().objects.create_superuser("ada", "ada@example.test", "ada")


@pytest.fixture
def caller(user: Any) -> Caller:
    return Caller(user=user, token=None, via="cookie", scopes=None)


def notebook(*cells: str, metadata: dict[str, Any] | None = None) -> bytes:
    """An .ipynb of these code cells."""
    body = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": metadata or {},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{place}",
                "metadata": {},
                "source": text,
                "outputs": [],
                "execution_count": None,
            }
            for place, text in enumerate(cells, 1)
        ],
    }
    return json.dumps(body).encode()


@pytest.fixture
def make_file(user: Any) -> MakeFile:
    """Upload code as a file of `user`; with engine="thread" its version is trusted."""

    def make(
        code: str | bytes,
        *,
        name: str | None = None,
        entry: str = "handler.py",
        companions: dict[str, bytes] | None = None,
        engine: str = "thread",
        access: str = "private",
        **settings: Any,
    ) -> PrivateFile:
        content = code.encode() if isinstance(code, str) else code
        file = uploads.create(
            name=name or f"file_{PrivateFile.objects.count() + 1}",
            entry=entry,
            files={entry: content, **(companions or {})},
            owner=user,
            access=access,
        )
        file.settings = {"engine": engine, **settings}
        file.trusted_version = file.version if engine == "thread" else None
        file.save()
        return file

    return make
