"""Whatever is thrown at it: the contract's answer, one end, and a server that stays up."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import notebook
from tests.live import Site

from .conftest import ONE_CORNER

UPLOADS = {
    "not-a-notebook": ("a.ipynb", b'{"hello": "world"}', 422, "bad_source"),
    "nested-json": ("a.ipynb", b'{"cells": ' + b"[" * (3 << 20), 422, "bad_source"),
    "many-cells": ("a.ipynb", notebook(*["1"] * 50_000), 413, "too_large"),
    "binary": ("a.py", bytes(range(256)) * 100, 422, "bad_source"),
    "zip": ("a.ipynb", b"PK\x03\x04" + bytes(100), 415, "wrong_kind"),
    "empty": ("a.py", b"", 422, None),
    "no-handler": ("a.py", b"x = 1\n", 422, "no_handler"),
    "syntax-error": ("a.py", b"def djsci_handler(request)\n    return 1\n", 422, "bad_source"),
}
ENDS = {
    "result-not-json": ("return {'rows': [{'price': object()}]}", "failed", "result_not_json"),
    "nan": ("return float('nan')", "failed", "result_not_json"),
    "sys-exit": ("import sys; sys.exit(0)", "failed", "handler_failed"),
    "os-exit": ("import os; os._exit(9)", "crashed", "crashed"),
    "endless": ("while True: pass", "timed_out", "timed_out"),
    "raises": ("raise KeyError('auc')", "failed", "handler_failed"),
    "input": ("return input('?')", "failed", "handler_failed"),
    "killed": ("import os; os.kill(os.getpid(), 11)", "crashed", "crashed"),
}


@pytest.fixture(scope="module")
def headers(site: Site) -> dict[str, str]:
    return site.seed({"users": [{"name": "ada", "superuser": True}]}).bearer("ada")


@pytest.fixture
def http(site: Site, headers: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{site.url}/djsci/", headers=headers, timeout=60) as client:
        yield client
        assert client.get("health/live").status_code == 200


@pytest.mark.parametrize("case", UPLOADS)
def test_a_bad_upload_is_refused_and_leaves_nothing(http: httpx.Client, case: str):
    name, content, status, code = UPLOADS[case]
    answer = http.post("api/v1/files/", files={"file": (name, content)}, data={"name": f"x_{case}"})
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert code in (None, answer.json()["type"])
    assert http.get(f"api/v1/files/x_{case}/").status_code == 404


@ONE_CORNER
@pytest.mark.parametrize("kind", ["py", "ipynb"])
@pytest.mark.parametrize("case", ENDS)
def test_a_bad_run_ends_once_and_keeps_what_it_printed(http: httpx.Client, case: str, kind: str):
    body, state, code = ENDS[case]
    source = f"def djsci_handler(request):\n    print('before', flush=True)\n    {body}\n"
    content = source.encode() if kind == "py" else notebook("1 + 1", source)
    name = f"bad_{case}_{kind}"
    made = http.post("api/v1/files/", files={"file": (f"a.{kind}", content)}, data={"name": name})
    assert made.status_code in (201, 409), made.text
    if made.status_code == 201:
        http.patch(f"api/v1/files/{name}/", json={"settings": {"timeout": 2}}).raise_for_status()
    run = http.post(
        f"api/v1/files/{name}/runs/", json={"parameters": {}}, headers={"Prefer": "wait=40"}
    )
    assert run.status_code == 200, run.text
    assert run.json()["state"] == state, run.json()
    result = http.get(run.json()["links"]["result"].removeprefix("/djsci/"))
    assert (result.status_code, result.json()["type"]) == (500, code)
    events = http.get(run.json()["links"]["events"].removeprefix("/djsci/")).json()["events"]
    assert [event["type"] for event in events].count("end") == 1
    assert events[-1]["state"] == state
    assert "before\n" in "".join(e["text"] for e in events if e["type"] == "stream")


def test_wrong_and_missing_parameters_are_named_before_a_run_exists(http: httpx.Client):
    code = b"def djsci_handler(request, ticker: str, days: int = 30):\n    return ticker\n"
    http.post("api/v1/files/", files={"file": ("a.py", code)}, data={"name": "typed"})
    before = http.get("api/v1/runs/?file=typed").json()["items"]
    wrong = http.post("api/v1/files/typed/runs/", json={"parameters": {"days": "x", "more": 1}})
    assert wrong.status_code == 422
    assert wrong.json()["type"] == "bad_parameters"
    assert {error["field"] for error in wrong.json()["errors"]} == {"ticker", "days", "more"}
    assert http.get("call/typed/").status_code == 422
    assert http.get("call/typed/?ticker=A&days=3&unknown=1").json() == "A"
    after = http.get("api/v1/runs/?file=typed").json()["items"]
    assert len(after) == len(before) + 1


def test_unknown_and_foreign_files_are_the_same_404(http: httpx.Client, site: Site):
    made = site.seed(
        {
            "users": [{"name": "bob"}],
            "files": [
                {
                    "name": "secret",
                    "owner": "ada",
                    "files": {"s.py": "def djsci_handler(request): return 1"},
                }
            ]
            if http.get("api/v1/files/secret/").status_code == 404
            else [],
        }
    )
    headers = made.bearer("bob")
    answers = [
        httpx.get(f"{site.url}/djsci/sync_py/{name}/", headers=headers, timeout=30)
        for name in ("secret", "nothing")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json() == answers[1].json()


def test_a_client_that_leaves_changes_nothing(http: httpx.Client):
    code = b"""
import time
def djsci_handler(request):
    print("one", flush=True)
    time.sleep(1)
    return "done"
"""
    http.post("api/v1/files/", files={"file": ("a.py", code)}, data={"name": "left"})
    accept = {"Accept": "application/x-ndjson"}
    with http.stream("GET", "call/left/", headers=accept) as stream:
        for line in stream.iter_lines():
            if json.loads(line)["type"] == "stream":
                break
    [run, *_] = http.get("api/v1/runs/?file=left").json()["items"]
    path = run["links"]["events"].removeprefix("/djsci/")
    after, ended = 0, False
    while not ended:
        page = http.get(path, params={"after": after, "wait": 20}).json()
        after, ended = page["after"], page["ended"]
    assert http.get(run["links"]["result"].removeprefix("/djsci/")).json() == "done"
