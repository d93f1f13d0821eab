"""The levels, each skipped only with the reason that its probe gives."""

import os
from functools import cache

import pytest

from djsci.isolation import container, image, probe
from djsci.runs import executor


@pytest.fixture(autouse=True)
def _alone() -> None:
    """Tests that count processes must not count those of the process's executor."""
    executor.stop()


def need(level: str) -> str:
    """Skip the test where `level` does not hold; fail it where `DJSCI_REQUIRE` names the level."""
    if level == "container":
        make_image()
    reason = probe.probe(level)
    if reason is not None:
        if level in os.environ.get("DJSCI_REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    return level


PACKAGES = ("ipython", "numpy", "pandas", "matplotlib", "matplotlib-inline", "pydantic")


@cache
def make_image() -> None:
    """The tests' image, where there is none and one can be had; it stays on the machine."""
    wanted = container.current()
    reason = container.missing(wanted) or ""
    if container.BUILD in reason:
        image.from_environment(wanted, PACKAGES)


@pytest.fixture(params=["landlock", "bwrap"])
def level(request: pytest.FixtureRequest) -> str:
    return need(request.param)


@pytest.fixture
def bubblewrap() -> str:
    return need("bwrap")


@pytest.fixture
def landlocked() -> str:
    return need("landlock")
