"""Another environment's Python: what it has, and what it has not."""

import asyncio
import os
import site
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from djsci.core import events
from djsci.engines.fork import ForkEngine
from djsci.isolation import python
from tests.engines.test_fork import cells, play, printed, py, result
from tests.isolation.conftest import need

asynchronous = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.timeout(90)
SEES = """
import sys, only_there
def djsci_handler(request):
    try:
        import django
    except ImportError:
        return [only_there.ANSWER, sys.prefix]
"""


def make(folder: Path) -> Path:
    """An environment with one library, and nothing else."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60
    )
    packages(folder).joinpath("only_there.py").write_text("ANSWER = 42\n")
    return folder


def packages(folder: Path) -> Path:
    [found] = folder.glob("lib/python*/site-packages")
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("environments") / "science")


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["process", "landlock", "bwrap"]
)
async def engine(request: pytest.FixtureRequest, environment: Path) -> AsyncIterator[ForkEngine]:
    if request.param != "process":
        need(request.param)
    engine = ForkEngine(size=0, isolation=request.param, python=python.find(str(environment)))
    await engine.open()
    yield engine
    await engine.close()


@asynchronous
async def test_a_run_has_what_its_environment_has_and_nothing_of_the_servers(
    engine: ForkEngine, environment: Path
) -> None:
    said = await play(engine, py(SEES))
    assert result(said) == [42, str(environment)]


@asynchronous
async def test_a_program_that_a_run_starts_is_of_its_environment(
    engine: ForkEngine, environment: Path
) -> None:
    code = """
import subprocess
def djsci_handler(request):
    asked = ["python", "-c", "import only_there, sys; print(sys.prefix)"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()
"""
    assert result(await play(engine, py(code))) == str(environment)


@asynchronous
async def test_a_notebook_needs_ipython_in_it(engine: ForkEngine) -> None:
    said = await play(engine, cells("1"))
    [error] = [event for event in said if isinstance(event, events.Error)]
    assert "IPython" in error.evalue


@asynchronous
async def test_a_notebook_runs_with_a_library_that_the_server_does_not_have(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path / "books")
    lines = "".join(f"{path}\n" for path in site.getsitepackages())
    packages(folder).joinpath("with_ipython.pth").write_text(lines)
    engine = ForkEngine(size=0, python=python.find(str(folder)))
    await engine.open()
    try:
        said = await play(engine, cells("import only_there", "print(only_there.ANSWER)\n%pwd"))
        assert printed(said) == "42\n"
        assert any(isinstance(event, events.ExecuteResult) for event in said)
    finally:
        await engine.close()


@asynchronous
async def test_what_is_installed_later_is_there_for_the_next_run(
    engine: ForkEngine, environment: Path
) -> None:
    name = f"later_{engine.supply.ground.isolation}"
    source = py(f"import {name}\ndef djsci_handler(request):\n    return {name}.HERE\n")
    first = await play(engine, source)
    [error] = [event for event in first if isinstance(event, events.Error)]
    assert error.ename == "ModuleNotFoundError"
    packages(environment).joinpath(f"{name}.py").write_text("HERE = True\n")
    async with asyncio.timeout(30):
        while True:
            said = await play(engine, source)
            if any(isinstance(event, events.Result) for event in said):
                return


def test_a_folder_without_a_python_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="holds no Python"):
        python.find(str(tmp_path))
    with pytest.raises(OSError, match="in full"):
        python.find("science")
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(OSError, match="does not start"):
        python.find(str(program))
    program.write_text('#!/bin/sh\necho \'{"version": [3, 9], "paths": [], "packages": []}\'\n')
    with pytest.raises(OSError, match=r"is Python 3\.9; 3\.11 is needed"):
        python.find(str(program))


@asynchronous
async def test_pandas_is_preloaded_where_pyarrow_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment = make(tmp_path / "environment")
    added = [*site.getsitepackages(), os.path.join(sys.prefix, "beside")]
    packages(environment).joinpath("added.pth").write_text("\n".join(added))
    engine = ForkEngine(size=0, preload=["pandas"], python=python.find(str(environment)))
    loaded = "import sys\n[name in sys.modules for name in ('pandas', 'pyarrow')]"
    assert result(await play(engine, cells(loaded))) == [True, True]
    await engine.close()
    assert caplog.text == ""
