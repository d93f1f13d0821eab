"""Runs in containers as a site has them: what a file asks for, what it is refused, the sweep."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings as now
from django.test import override_settings

from djsci import conf, runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import IsolationUnavailable
from djsci.core.sources import Source, read
from djsci.engines import registry
from djsci.isolation import container
from djsci.models import PrivateFile, Run
from djsci.runs import sweep
from tests.isolation.conftest import need

MakeFile = Callable[..., PrivateFile]
WHO = "import os\ndef djsci_handler(request):\n    return [os.uname().nodename, os.getcwd()]\n"
CODE = {"report.py": WHO.encode()}


@pytest.fixture
def containers() -> str:
    return need("container")


async def test_a_file_asks_for_a_container_and_its_run_says_so(
    containers: str, make_file: MakeFile, caller: Caller
) -> None:
    with override_settings(DJSCI={**now.DJSCI, "POOL": {"size": 0, "preload": None}}):
        file = await in_database(make_file, WHO, engine="fork", isolation="container")
        started = await runs.start(file.pk, caller=caller, trigger="api", parameters={})
        assert await runs.finish(started.run_id, wait=60)
    run = await Run.objects.aget(pk=started.run_id)
    assert (run.state, run.isolation) == ("succeeded", "container")
    assert json.loads(run.result) == ["djsci", "/workdir"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"engine": "kernel"}, "no kernels"),
        ({"environment": "books"}, "the image is the environment"),
        ({"connections": ["warehouse"]}, "need the level 'bwrap', not 'container'"),
    ],
    ids=str,
)
def test_what_a_container_cannot_have_is_refused_by_name(
    containers: str, make_file: MakeFile, settings: dict[str, Any], why: str
) -> None:
    site = {
        **now.DJSCI,
        "ENVIRONMENTS": {"books": sys.executable},
        "CONNECTIONS": {"warehouse": {"hosts": ["localhost:1"]}},
    }
    with override_settings(DJSCI=site):
        file = make_file(WHO, engine="fork", isolation="container")
        file.settings = {**file.settings, **settings}
        source: Source = read("report.py", CODE)
        with pytest.raises(IsolationUnavailable, match=why):
            registry.choose(file, file.version, source)


def test_a_header_is_refused_in_a_container_though_the_server_has_all_of_it(
    containers: str, make_file: MakeFile
) -> None:
    file = make_file(WHO, engine="fork", isolation="container")
    header = '# /// script\n# dependencies = ["django"]\n# ///\n'
    source = read("report.py", {"report.py": f"{header}{WHO}".encode()})
    with pytest.raises(IsolationUnavailable, match="no header"):
        registry.choose(file, file.version, source)


def test_a_warm_file_is_fresh_in_a_container(containers: str, make_file: MakeFile) -> None:
    file = make_file(WHO, engine="fork", isolation="container", instance="warm")
    chosen = registry.choose(file, file.version, read("report.py", CODE))
    assert (chosen.isolation, chosen.instance) == ("container", "fresh")


@pytest.mark.django_db
def test_each_minute_a_site_with_containers_removes_what_was_left(containers: str) -> None:
    chosen = conf.container()
    dead = f"{container.owner().rpartition(':')[0].rpartition(':')[0]}:1:1"
    given = ["--label", f"{container.OWNER}={dead}", "--network", "none", "--pull", "never"]
    argv = [container.find(chosen), "create", *given, chosen.image, "true"]
    name = container.ask(argv).stdout.strip()

    def is_there() -> bool:
        asked = [container.find(chosen), "container", "inspect", name]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    try:
        assert is_there()
        looks = sweep.Looks(next_hour=float("inf"))
        sweep.sweep(looks)
        assert looks.aside is not None
        looks.aside.join(60)
        assert not is_there()
    finally:
        container.ask(container.removed(chosen, name))
