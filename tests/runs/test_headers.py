"""Files with a PEP 723 header: what is installed for their runs, and what is refused."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from djsci import runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import IsolationUnavailable
from djsci.core.requirements import Requirements
from djsci.engines import environments, installing, opening
from djsci.engines.opening import Engines
from djsci.engines.registry import Choice
from djsci.models import Run
from djsci.runs import executor, retention
from tests import wheels
from tests.conftest import MakeFile, notebook
from tests.runs.test_runs import transcript

pytestmark = pytest.mark.timeout(90)
HEADER = "# /// script\n# dependencies = ['{}']\n# ///\n"
HANDLER = "def djsci_handler(request):\n    import {0}\n    return {0}.TEXT\n"


@pytest.fixture
def sold(tmp_path: Path) -> Iterator[Path]:
    """The site installs from a folder of wheels."""
    folder = wheels.folder(tmp_path / "wheels")
    given = {"find_links": [str(folder)], "folder": str(tmp_path / "environments")}
    with override_settings(DJSCI={"PEP723": given}):
        yield folder
    executor.stop()  # its workers stand on folders that go now


async def run(make_file: MakeFile, caller: Caller, code: str | bytes, **how: Any) -> Run:
    file = await in_database(make_file, code, engine="fork", **how)
    started = await runs.start(file.pk, caller=caller, trigger="api")
    assert await runs.finish(started.run_id, wait=60)
    return await Run.objects.aget(pk=started.run_id)


def installs(said: list[dict[str, Any]]) -> list[str]:
    return [event["detail"] for event in said if event.get("detail")]


async def test_a_notebook_runs_with_what_its_header_names_and_is_installed_for_once(
    make_file: MakeFile, caller: Caller, sold: Path
) -> None:
    code = notebook(HEADER.format("greetings"), "import greetings\n%pwd\ngreetings.TEXT")
    first = await run(make_file, caller, code, entry="a.ipynb")
    assert (first.state, first.result) == ("succeeded", '"hello"')
    assert installs(await transcript(first.pk)) == ["installing 3 libraries"]
    shutil.rmtree(sold)
    executor.stop()  # the next is as a new process's: no engine is open, nothing is remembered
    again = await run(make_file, caller, code, entry="a.ipynb", name="again")
    assert (again.state, again.result) == ("succeeded", '"hello"')
    assert installs(await transcript(again.pk)) == []


async def test_what_cannot_be_installed_fails_the_run_and_says_why(
    make_file: MakeFile, caller: Caller, sold: Path
) -> None:
    code = HEADER.format("nowhere>=2") + HANDLER.format("nowhere")
    failed = await run(make_file, caller, code)
    assert (failed.state, failed.reason) == (
        "failed",
        "its libraries were not installed: No matching distribution found for nowhere>=2",
    )
    [error] = [event for event in await transcript(failed.pk) if event["type"] == "error"]
    assert error["ename"] == "InstallFailed"


async def test_a_cancel_ends_what_is_installed(
    make_file: MakeFile,
    caller: Caller,
    sold: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pip = wheels.Standstill()
    monkeypatch.setattr(installing, "_pip", pip)
    code = HEADER.format("greetings") + HANDLER.format("greetings")
    file = await in_database(make_file, code, engine="fork")
    started = await runs.start(file.pk, caller=caller, trigger="api")
    await asyncio.to_thread(pip.begins)
    waits = await Run.objects.aget(pk=started.run_id)
    assert waits.deadline is not None
    assert waits.deadline - waits.created > timedelta(seconds=waits.timeout + 500)
    await runs.cancel(started.run_id, caller=caller)
    assert await runs.finish(started.run_id, wait=60)
    ended = await Run.objects.aget(pk=started.run_id)
    assert (ended.state, ended.started) == ("cancelled", None)
    pip.ends()


@pytest.mark.parametrize(
    ("header", "how", "reason"),
    [
        ("greetings", {}, r"asks for greetings, which is not here \(PEP723 in the settings is off"),
        ("django>=99", {}, "asks for django>=99"),
        ("greetings", {"environment": "own"}, r"it has the environment 'own'"),
        ("greetings", {"engine": "kernel"}, "the engine 'kernel' has the server's"),
        ("greetings", {"engine": "thread"}, "a trusted version has the server's"),
    ],
)
async def test_what_is_not_here_and_not_installed_is_refused_before_a_run(
    make_file: MakeFile, caller: Caller, header: str, how: dict[str, str], reason: str
) -> None:
    code = HEADER.format(header) + HANDLER.format("greetings")
    file = await in_database(make_file, code, **{"engine": "fork", **how})
    with (
        override_settings(DJSCI={"ENVIRONMENTS": {"own": sys.prefix}}),
        pytest.raises(IsolationUnavailable, match=reason),
    ):
        await runs.start(file.pk, caller=caller, trigger="api")
    assert not await Run.objects.aexists()


async def test_what_is_here_already_will_do_where_nothing_is_installed(
    make_file: MakeFile, caller: Caller
) -> None:
    named = """django>=1", "no-such; python_version < '3'"""
    code = f'# /// script\n# dependencies = ["{named}"]\n# ///\n'
    code += "def djsci_handler(request):\n    import django\n    return django.VERSION[0]\n"
    ran = await run(make_file, caller, code)
    assert ran.state == "succeeded"
    old = '# /// script\n# requires-python = ">=4"\n# dependencies = []\n# ///\n'
    with pytest.raises(IsolationUnavailable, match="asks for Python >=4"):
        await run(make_file, caller, old + HANDLER.format("os"))


async def test_engines_of_headers_do_not_pile_up_and_none_that_is_used_is_closed(
    sold: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(opening, "MOST", 3)
    site = installing.Site(folder=str(tmp_path))
    choices = [
        Choice(
            engine="fork",
            isolation="process",
            installs=environments.wanted(
                Requirements(dependencies=(name,)), site, is_notebook=False
            ),
        )
        for name in "abcd"
    ]
    closed: list[str] = []

    class Opened:
        def __init__(self, choice: Choice) -> None:
            self.name = choice.installs.packages[0] if choice.installs else ""

        async def open(self) -> None:
            """Nothing."""

        async def close(self) -> None:
            closed.append(self.name)

    monkeypatch.setitem(opening._MAKERS, "fork", Opened)
    engines = Engines()
    async with engines.used(choices[0]):
        for choice in (*choices[1:3], choices[1], choices[3]):
            async with engines.used(choice):
                pass
        assert closed == ["c"]
    await engines.close()


async def test_no_worker_of_an_installed_environment_waits_without_a_run(
    sold: Path, tmp_path: Path
) -> None:
    site = installing.Site(folder=str(tmp_path / "environments"), find_links=(str(sold),))
    asked = Requirements(dependencies=("greetings",))
    environment = environments.wanted(asked, site, is_notebook=False)
    choice = Choice(engine="fork", isolation="process", installs=environment)
    told = asyncio.Event()

    async def on_install() -> None:
        told.set()

    engines = Engines()
    async with environments.used(environment, on_install=on_install):
        try:
            await engines.get(choice)
            stock = engines.stock()[choice]
        finally:
            await engines.close()
    assert (told.is_set(), stock.wanted, stock.ready) == (True, 0, 0)


@pytest.mark.faults
async def test_a_purge_removes_environments_that_nobody_used(
    make_file: MakeFile, caller: Caller, sold: Path, tmp_path: Path
) -> None:
    code = HEADER.format("greetings") + HANDLER.format("greetings")
    assert (await run(make_file, caller, code)).state == "succeeded"
    [mark] = (tmp_path / "environments").glob("*.json")
    assert retention.purge_environments() == 0
    os.utime(mark, (1, 1))
    assert retention.purge_environments() == 1
    assert not mark.with_suffix("").exists()
    again = await run(make_file, caller, code, name="again")
    assert again.state == "succeeded", (again.reason, again.error)
