"""A trusted version has the project's Django, in a process that can be killed and limited."""

from typing import Any

import httpx
import pytest

from tests.conftest import notebook
from tests.live import Site

COUNT = """
from django.contrib.auth import get_user_model
from djsci.models import PrivateFile

def djsci_handler(request):
    names = sorted(PrivateFile.objects.values_list("name", flat=True))
    get_user_model().objects.get_or_create(username="made by a handler")
    print(len(names), "files")
    return [names, get_user_model().objects.filter(username="made by a handler").count()]
"""
ASYNC = """
from djsci.models import PrivateFile

async def djsci_handler(request):
    return await PrivateFile.objects.acount()
"""
UNSAFE = """
import os
def djsci_handler(request):
    return [os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"), os.getpid(), os.getppid()]
"""
SLOW = """
import time
from djsci.models import PrivateFile
def djsci_handler(request):
    print(PrivateFile.objects.count() > 0, flush=True)
    time.sleep(60)
"""
LARGE = """
def djsci_handler(request):
    block = b"x" * (400 << 20)
    return len(block)
"""
CRASH = """
import os
def djsci_handler(request):
    os.abort()
"""
CELLS = (
    "from djsci.models import PrivateFile\nnames = list(PrivateFile.objects.all())",
    "len(names) > 0",
    "[file async for file in PrivateFile.objects.all()] == names",
)


@pytest.fixture
def call(site: Site, ada: Any) -> Any:
    """Calls a file of ada's, made on the spot: its run, at its end."""
    made = site.seed({"users": [ada]})

    def one(name: str, content: str | bytes, *, trusted: bool = True, **settings: Any) -> Any:
        entry = f"{name}.ipynb" if isinstance(content, bytes) else f"{name}.py"
        text = content.decode() if isinstance(content, bytes) else content
        file = {"name": name, "owner": "ada", "files": {entry: text}, "trusted": trusted}
        site.seed({"users": [ada], "files": [{**file, "settings": settings}]})
        path = f"{site.url}/djsci/api/v1/files/{name}/runs/"
        headers = {**made.bearer("ada"), "Prefer": "wait=60"}
        answer = httpx.post(path, headers=headers, json={}, timeout=90)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return one


def test_the_orm_works_in_files_and_notebooks_without_the_unsafe_flag(call: Any):
    run = call("trusted_count", COUNT)
    assert (run["state"], run["engine"], run["isolation"]) == ("succeeded", "fork", "process")
    assert "trusted_count" in run["result"][0]
    assert run["result"][1] == 1
    assert call("trusted_async", ASYNC)["result"] >= 2
    assert call("trusted_cells", notebook(*CELLS))["result"] is True
    flag, worker, parent = call("trusted_flag", UNSAFE)["result"]
    assert flag is None
    assert worker != parent


def test_a_trusted_run_is_killed_and_limited_like_any_other(call: Any):
    run = call("trusted_slow", SLOW, timeout=1)
    assert run["state"] == "timed_out"
    run = call("trusted_large", LARGE, memory=200 << 20)
    assert run["state"] == "crashed"
    assert call("trusted_crash", CRASH)["state"] == "crashed"
    assert call("trusted_again", COUNT)["state"] == "succeeded"


def test_without_trust_the_project_is_missed_and_the_switch_is_named(call: Any):
    run = call("untrusted_count", COUNT, trusted=False)
    assert (run["state"], run["isolation"] != "process") == ("failed", True)
    assert "`trusted`" in run["error"]["evalue"]
