"""schemathesis against a real server: whatever it sends, the answers are those of our document."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import live
from tests.conftest import notebook

STOCKS = """
import djsci
from datetime import date

def djsci_handler(request, ticker: str = "a", days: int = 30, when: date | None = None):
    print("asked for", ticker)
    djsci.artifact(b"a,b", "left.csv")
    return {"ticker": ticker, "days": days}
"""
ANYTHING = "def djsci_handler(request, **more):\n    return more\n"
MAIN = """
def main(name: str, times: int = 1) -> str:
    return name * max(0, min(times, 3))

if __name__ == "__main__":
    main("x")
"""
LAMBDA = "def lambda_handler(event, context):\n    return {'statusCode': 200, 'body': 'hello'}\n"
ARGPARSE = """
import argparse

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=1)
    print(parser.parse_args().times)

if __name__ == "__main__":
    main()
"""
CELLS = notebook("total = 0", "# GET /sum/:id\nprint(total)")
FILES = {
    "spare": {"spare.py": ANYTHING},
    "stocks": {"stocks.py": STOCKS, "helpers.py": "x = 1"},
    "{ref} ~1 \"'<a b+c é?x#y%日本>": {"odd.py": ANYTHING},
}
MORE = {
    "report": {"report.ipynb": notebook("x = 1", "x + 1").decode()},
    "main": {"main.py": MAIN},
    "lambda": {"fn.py": LAMBDA},
    "argparse": {"tool.py": ARGPARSE},
    "gateway": {"gateway.ipynb": CELLS.decode()},
}
# Its own ways are a handler's affair: any method, members that its signature does not name.
CONFIGURATION = """
hooks = "schemathesis_hooks.py"
request-timeout = 60.0
[generation]
database = "none"
[[operations]]
include-path-regex = "^/djsci/call/"
checks.negative_data_rejection.enabled = false
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false
"""
# Without these it would meet a 404 nearly everywhere.
KNOWN = """
[parameters]
"path.run_id" = "{run}"
[[operations]]
include-path-regex = "/files/.ref./"
exclude-method-regex = "PUT|PATCH|DELETE"
parameters."path.ref" = "{stocks}"
[[operations]]
include-path-regex = "/files/.ref./"
include-method-regex = "PUT|PATCH"
parameters."path.ref" = "{spare}"
[[operations]]
include-path-regex = "/source/.name."
parameters."path.name" = "helpers.py"
[[operations]]
include-path-regex = "/artifacts/.name."
parameters."path.name" = "left.csv"
"""
# Each request comes from elsewhere: ten bad tokens a minute from one address are a 429.
HOOKS = """
import itertools
import schemathesis

addresses = itertools.count(1)

@schemathesis.hook
def before_call(ctx, case, kwargs):
    number = next(addresses)
    case.headers["X-Forwarded-For"] = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
"""


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[live.Site, live.Seeded]]:
    """A catalogue of each kind of file; `ada` may do everything, `grace` a little."""
    options = {"TRUSTED_PROXIES": ["127.0.0.1"], "QUEUE_PER_USER": 1000}
    with live.server("uvicorn", settings={"DJSCI": options}) as running:
        users = [
            {"name": "ada", "superuser": True},
            {"name": "grace", "scopes": ["files:read", "run"]},
        ]
        made = running.seed({"users": users, "files": files(FILES, engine="thread")})
        yield running, made


def files(contents: dict[str, dict[str, str]], *, engine: str) -> list[dict[str, Any]]:
    """These files as `ada` shares them with everyone."""
    shared = {"owner": "ada", "access": "authenticated", "settings": {"engine": engine}}
    trusted = engine == "thread"
    return [
        {**shared, "trusted": trusted, "name": name, "files": parts}
        for name, parts in contents.items()
    ]


def known(site: tuple[live.Site, live.Seeded]) -> str:
    """The configuration's part that names what is there: files, and a run of `ada`."""
    running, made = site
    answer = httpx.post(
        f"{running.url}/djsci/api/v1/files/stocks/runs/",
        headers={**made.bearer("ada"), "Prefer": "wait=60"},
        timeout=90,
    )
    assert answer.json()["state"] == "succeeded", answer.text
    return KNOWN.format(run=answer.json()["id"], **made.files)


def check(
    site: tuple[live.Site, live.Seeded], folder: Path, user: str, *options: str, more: str = ""
) -> None:
    """Let schemathesis send what it thinks of as `user`; what it finds is shown."""
    running, made = site
    folder.joinpath("schemathesis.toml").write_text(CONFIGURATION + more, encoding="utf-8")
    folder.joinpath("schemathesis_hooks.py").write_text(HOOKS, encoding="utf-8")
    authorization = f"Authorization: {made.bearer(user)['Authorization']}"
    command = [sys.executable, "-m", "schemathesis.cli", "run", "-H", authorization, "--no-color"]
    command += ["--continue-on-failure", "--no-shrink", "--output-truncate", "false"]
    command += ["--exclude-checks", "positive_data_acceptance", *options]
    done = subprocess.run(
        [*command, f"{running.url}/djsci/api/v1/openapi.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unique failure" not in done.stdout


def test_answers_are_those_of_the_document(site, tmp_path):
    options = ("--phases=coverage,stateful", "--seed=1", "-n", "2")
    check(site, tmp_path, "ada", *options, more=known(site))


@pytest.mark.faults
def test_one_who_may_do_little_is_told_so(site, tmp_path):
    check(site, tmp_path, "grace", "--phases=fuzzing", "--seed=1", "-n", "1")


@pytest.mark.faults
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("user", ["ada", "grace"])
def test_answers_are_those_of_the_document_for_long(site, tmp_path, user):
    running, _ = site
    if not running.execute(
        "from djsci.models import PrivateFile; "
        "answer = PrivateFile.objects.filter(name='report').exists()"
    ):
        running.seed({"files": files(MORE, engine="auto")})
    check(site, tmp_path, user, "--max-time=90", "-n", "50", more=known(site))
