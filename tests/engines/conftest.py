"""Tests of engines are alone with theirs: the executor, which has some too, is stopped."""

import pytest

from djsci.runs import executor


@pytest.fixture(autouse=True)
def _alone() -> None:
    executor.stop()
