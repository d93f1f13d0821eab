"""The history and the queue: what waits says why, what comes is told, what runs is cancelled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import console
from .sites import Place


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "gate"
    (tmp_path / "gate").touch()


def test_new_runs_are_told_of_and_the_chosen_are_cancelled(
    open_as: Any, daphne: Place, gate: Path
) -> None:
    parameters = {"lines": 1, "gate": str(gate)}
    runs = [daphne.start("steps", parameters) for _ in range(2)]
    page = open_as(daphne, "ada")
    page.clock.install()
    page.goto("/djsci/console/runs/?state=running")
    row = page.locator("tr", has=page.locator(f"a[href*='{runs[0]}']"))
    before = row.bounding_box()
    third = daphne.start("steps", parameters)
    page.clock.fast_forward(11_000)
    note = page.locator("[data-djsci-news]")
    note.filter(has_text="1 new run").wait_for()
    assert page.locator(f"a[href*='{third}']").count() == 0, "rows do not jump"
    assert row.bounding_box()["x"] == before["x"]
    note.get_by_role("link", name="Show").click()
    for run in (runs[0], third):
        page.locator("tr", has=page.locator(f"a[href*='{run}']")).get_by_role("checkbox").check()
    page.get_by_role("button", name="Cancel the chosen").click()
    assert "2 runs are being cancelled" in page.locator("main").inner_text()
    for run in (runs[0], third):
        assert daphne.finish(run)
    states = [daphne.get(f"runs/{run}/")["state"] for run in (*runs, third)]
    assert states == ["cancelled", "running", "cancelled"]


def test_a_run_that_waits_says_why(open_as: Any, daphne: Place, gate: Path) -> None:
    first, second, third = (daphne.start("one", {"gate": str(gate)}) for _ in range(3))
    page = open_as(daphne, "ada")
    console.watch(page, third)
    sentence = page.locator(".dj-sentence")
    sentence.filter(has_text="Queued").wait_for()
    assert "ahead of you" in sentence.inner_text()
    gate.touch()
    for run in (first, second, third):
        assert daphne.finish(run)
    console.wait_for_state(page, "succeeded")
