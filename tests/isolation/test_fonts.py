"""A walled guest gets the machine's list of fonts, and makes none of its own."""

import os
from pathlib import Path

import pytest

from djsci.engines.ground import fonts_offered
from djsci.guest import fonts as guest
from djsci.isolation import fonts


def test_the_list_is_made_once_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "host"))
    (tmp_path / "host").mkdir()
    fonts.offered.cache_clear()
    try:
        given = fonts_offered()
    finally:
        fonts.offered.cache_clear()
    offered = Path(given[fonts.VARIABLE])
    assert offered.parent == tmp_path / "host"
    assert '"ttflist"' in offered.read_text()
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "guest"))
    monkeypatch.setenv(fonts.VARIABLE, str(offered))
    guest.take()
    assert (tmp_path / "guest" / offered.name).read_bytes() == offered.read_bytes()
    assert fonts.VARIABLE not in os.environ


def test_a_list_that_cannot_be_read_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "guest"))
    monkeypatch.setenv(fonts.VARIABLE, str(tmp_path / "nothing.json"))
    guest.take()
    assert list((tmp_path / "guest").iterdir()) == []
