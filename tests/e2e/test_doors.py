"""The form of the handler that `docs/doors.md` shows: the same function, a browser's door."""

from pathlib import Path
from typing import Any

import pytest

from tests.test_documents import blocks, handler_of

from . import console
from .sites import Place


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
def test_the_documents_form_gives_the_documents_result(
    open_as: Any, daphne: Place, tmp_path: Path, has_script: bool
) -> None:
    name, code = handler_of("docs/doors.md")
    [table] = blocks("docs/doors.md", "csv")
    (tmp_path / "sales.csv").write_text(table)
    file = f"totals_{has_script}"
    daphne.site.seed({"files": [{"name": file, "owner": "ada", "files": {name: code}}]})
    page = open_as(daphne, "ada", java_script_enabled=has_script)
    page.goto(f"/djsci/console/files/{file}/")
    assert "The dearest items of a table." in page.locator("main").inner_text()
    page.get_by_label("sales").set_input_files(tmp_path / "sales.csv")
    page.get_by_label("top").fill("1")
    page.get_by_role("button", name="Run", exact=True).click()
    if has_script:
        console.wait_for_state(page, "succeeded")
        shown = console.part(page, "Result").inner_text()
    else:
        page.wait_for_url("**/console/runs/*/")
        daphne.finish(page.url.rstrip("/").rpartition("/")[2])
        page.reload()
        shown = page.locator("main").inner_text()
    assert "sofa" in shown
    assert "899" in shown
    assert "desk" not in shown
