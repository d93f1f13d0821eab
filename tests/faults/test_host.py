"""X6: the untouched settings of a host project, under WSGI: 16 callers, and no locked database."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests import live
from tests.waiting import until


@pytest.fixture
def host(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the project; its log is `host` in the test's folder."""
    with (tmp_path / "host").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.host", str(tmp_path)],
            cwd=live.ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline() or "{}")
        assert said, (tmp_path / "host").read_text()
        headers = {"Authorization": f"Bearer {said['token']}"}
        url = f"http://127.0.0.1:{said['port']}/djsci/"
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("each", [2, pytest.param(25, marks=pytest.mark.faults)])
@pytest.mark.timeout(300)
def test_x6_sixteen_callers_of_the_classic_urls_never_see_a_locked_database(
    host: httpx.Client, tmp_path: Path, each: int
):
    record = tmp_path / "record"

    def call(number: int) -> list[str]:
        asked = {"record": str(record), "lines": "2"}
        answers = [host.get("sync_py/code/", params=asked) for _ in range(each)]
        return [answer.text for answer in answers if answer.status_code != 200]

    with ThreadPoolExecutor(16) as callers:
        wrong = [text for texts in callers.map(call, range(16)) for text in texts]
    assert wrong == []
    until(lambda: record.read_text().count("done") == 16 * each)
    assert "locked" not in (tmp_path / "host").read_text()
