"""The environment that a file names: which Python its runs have, and what is refused."""

import sys
from pathlib import Path

import pytest
from django.test import override_settings

from djsci import runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import IsolationUnavailable
from djsci.models import Run
from tests.conftest import MakeFile
from tests.engines.test_environments import make

CODE = "import sys\ndef djsci_handler(request):\n    return sys.prefix\n"


async def test_a_file_runs_in_the_environment_that_it_names(
    make_file: MakeFile, caller: Caller, tmp_path: Path
) -> None:
    folder = make(tmp_path / "science")
    file = await in_database(make_file, CODE, engine="fork", environment="science")
    other = await in_database(make_file, CODE, engine="fork")
    with override_settings(DJSCI={"ENVIRONMENTS": {"science": str(folder)}}):
        for one, prefix in ((file, str(folder)), (other, sys.prefix)):
            started = await runs.start(one.pk, caller=caller, trigger="api")
            assert await runs.finish(started.run_id, wait=30)
            run = await Run.objects.aget(pk=started.run_id)
            assert run.result == f'"{prefix}"'


@pytest.mark.parametrize(
    ("engine", "environments", "reason"),
    [
        ("kernel", {"science": sys.prefix}, "cannot be had by the engine 'kernel'"),
        ("thread", {"science": sys.prefix}, "cannot be had by a trusted version"),
        ("fork", {}, "'science' is not set up any more"),
        ("fork", {"science": "/nowhere"}, "'science' cannot be used"),
    ],
)
async def test_an_environment_that_cannot_be_had_is_refused_before_a_run(
    make_file: MakeFile,
    caller: Caller,
    engine: str,
    environments: dict[str, str],
    reason: str,
) -> None:
    file = await in_database(make_file, CODE, engine=engine, environment="science")
    with (
        override_settings(DJSCI={"ENVIRONMENTS": environments}),
        pytest.raises(IsolationUnavailable, match=reason),
    ):
        await runs.start(file.pk, caller=caller, trigger="api")
    assert not await Run.objects.aexists()
