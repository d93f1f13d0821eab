"""One JSON line an event: about which run, and never a token, a query, a source or a result."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import AsyncClient, override_settings

from djsci import runs
from djsci.access import logs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.runs import executor
from tests.conftest import MakeFile

TOKEN = "djsci_" + "a1B" * 14


class Lines(logging.Handler):
    """What the formatter makes of each record."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def read(self) -> list[dict[str, Any]]:
        assert all("\n" not in line for line in self.lines)
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def said() -> Iterator[Lines]:
    handler = Lines()
    handler.setFormatter(logs.JsonLines())
    logging.getLogger().addHandler(handler)
    logging.getLogger("djsci").setLevel("INFO")
    yield handler
    logging.getLogger().removeHandler(handler)
    logging.getLogger("djsci").setLevel("NOTSET")


def test_a_line_has_what_is_known_and_masks_tokens_in_tracebacks_too(said: Lines):
    logger = logging.getLogger("djsci.test")
    with logs.about(run="r1", lease=3):
        try:
            raise ValueError(f"no {TOKEN} here\nnor there")
        except ValueError:
            logger.exception("it failed for %s", TOKEN)
    logger.warning("later")
    first, later = said.read()
    assert (first["run"], first["lease"], first["level"]) == ("r1", 3, "error")
    assert first["message"] == "it failed for djsci_…"
    assert "ValueError: no djsci_… here\nnor there" in first["error"]
    assert TOKEN not in "".join(said.lines)
    assert first["time"].endswith("Z")
    assert "run" not in later


@pytest.mark.parametrize("name", logs.LOGGERS)
def test_lines_of_servers_lose_queries_and_tokens(
    said: Lines, name: str, monkeypatch: pytest.MonkeyPatch
):
    logs.hide_tokens()
    logger = logging.getLogger(name)  # a server in this process may have set it up
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [said])
    monkeypatch.setattr(logger, "disabled", False)
    line = f"GET /djsci/call/one/?ticket=secret&x={TOKEN} HTTP/1.1"
    told = (line, 200, f"/at/{TOKEN}/")
    logger.handle(logger.makeRecord(name, logging.WARNING, "", 0, '"%s" %s %s', told, None))
    [found] = said.read()
    assert found["message"] == '"GET /djsci/call/one/?… HTTP/1.1" 200 /at/djsci_…/'


def test_named_arguments_of_a_line_lose_them_too(said: Lines):
    logger = logging.getLogger("django.channels.server")
    logger.warning("%(method)s %(path)s", {"method": "GET", "path": f"/djsci/?secret={TOKEN}"})
    [line] = said.read()
    assert line["message"] == "GET /djsci/?\u2026"


async def test_a_run_is_told_with_its_lease_and_executor_and_nothing_of_its_own(
    make_file: MakeFile, caller: Caller, said: Lines
):
    code = (
        "def djsci_handler(request, secret: str):\n    print(secret)\n    raise KeyError(secret)\n"
    )
    file = await in_database(make_file, code)
    parameters = {"secret": "xyzzy-result"}
    started = await runs.start(file.pk, caller=caller, trigger="api", parameters=parameters)
    assert (await runs.finish(started.run_id, wait=30)).state == "failed"
    executor.stop()  # its last line is written by then
    told = [line for line in said.read() if line.get("run") == started.run_id]
    assert [line["logger"] for line in told] == ["djsci.runs"]
    assert told[0]["message"].startswith(f"run {started.run_id}: failed after ")
    assert (told[0]["lease"], len(told[0]["executor"])) == (1, 36)
    assert "xyzzy" not in "".join(said.lines)


async def test_refusals_for_limits_go_to_the_log(
    make_file: MakeFile, caller: Caller, user: Any, said: Lines
):
    file = await in_database(make_file, "def djsci_handler(request):\n    return 1\n")
    client = AsyncClient()
    await client.aforce_login(user)
    with override_settings(DJSCI={"QUEUE_PER_USER": 0}):
        assert (await client.get(f"/djsci/call/{file.pk}/?q=xyzzy")).status_code == 429
    refused = [line["message"] for line in said.read() if line["logger"] == "djsci.problems"]
    assert refused == ["refused with 429 limit: QUEUE_PER_USER: too many of your runs are waiting."]
    assert "xyzzy" not in "".join(said.lines)


def test_the_stand_alone_project_logs_json_where_no_terminal_is():
    code = """
import logging, django
django.setup()
logging.getLogger("django.server").info('"%s" %s %s', "GET /?ticket=a HTTP/1.1", "200", "7")
logging.getLogger("djsci.test").info("hello")
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "asgi_project.settings"}
    for wanted, reads in (("", json.loads), ("text", str)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "DJSCI_LOG": wanted},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        told = [reads(line) for line in done.stderr.splitlines()]
        assert len(told) == 2
        assert "ticket" not in done.stderr
    assert told[1].endswith("INFO djsci.test: hello")
