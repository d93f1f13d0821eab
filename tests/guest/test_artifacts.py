"""What of a folder becomes an artifact, and what the log says of the rest."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from djsci.guest import artifacts
from djsci.guest.artifacts import Artifacts
from djsci.guest.quota import Quota, refusal


class Sent:
    """Takes what is sent, and makes the folder's artifacts."""

    def __init__(self, folder: Path, limit: int = 1000) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.logs: list[str] = []
        self.artifacts = Artifacts(str(folder), send=self._say, send_bytes=self._take, limit=limit)

    def _say(self, frame: dict[str, Any]) -> None:
        self.logs.append(frame["message"])

    def _take(self, name: str, pieces: Iterator[bytes]) -> None:
        self.files.append((name, b"".join(pieces)))


def test_only_what_is_new_is_sent_and_what_was_handed_over_not_again(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_bytes(b"code")
    sent = Sent(tmp_path)
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    sent.artifacts.add(tmp_path / "a.txt")
    sent.artifacts.add(str(tmp_path / "b.txt"), "other.txt")
    sent.artifacts.add(tmp_path / "c.txt")
    (tmp_path / "c.txt").write_bytes(b"written again")
    (tmp_path / "entry.py").write_bytes(b"changed, and still no artifact")
    sent.artifacts.collect()
    expected = [("a.txt", b"a.txt"), ("other.txt", b"b.txt"), ("c.txt", b"c.txt")]
    assert sent.files == [*expected, ("c.txt", b"written again")]
    assert sent.logs == []


def test_names_are_kept_in_one_form_and_temporary_files_where_they_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(tmp_path)
    for name in ("e\u0301.txt", "tmp1a2b3c4d", "tmp.txt", ".hidden"):
        (tmp_path / name).touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sent.artifacts.collect()
    assert sorted(name for name, _ in sent.files) == ["tmp.txt", "\u00e9.txt"]
    monkeypatch.setenv("TMPDIR", "/tmp")  # noqa: S108 - elsewhere
    sent.artifacts.collect()
    assert "tmp1a2b3c4d" in [name for name, _ in sent.files]


def test_many_files_and_deep_folders_are_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(tmp_path)
    deep = tmp_path.joinpath(*"abcdefghi")
    deep.mkdir(parents=True)
    (deep / "unseen").touch()
    (tmp_path / "a" / "seen").touch()
    for number in range(130):
        (tmp_path / f"{number:03}.txt").touch()
    sent.artifacts.collect()
    assert len(sent.files) == 100
    [log] = sent.logs
    assert "'100.txt' (a run has at most 100 artifacts)" in log
    assert log.endswith(" and 12 more.")
    monkeypatch.setattr(artifacts, "ENTRIES", 5)
    few = Sent(tmp_path / "nowhere")
    few.artifacts.folder = str(tmp_path)
    few.artifacts.collect()
    assert len(few.files) in (4, 5)  # the folder among those that are looked at is none
    assert "more than 5 files are in the folder" in few.logs[0]


def test_a_file_that_changes_while_it_is_read_neither_blocks_nor_grows(tmp_path: Path) -> None:
    path = tmp_path / "grows.bin"
    path.write_bytes(b"x" * 10)
    descriptor = os.open(path, os.O_RDONLY)
    pieces = artifacts._pieces(descriptor, 10)
    path.write_bytes(b"y" * 500)
    assert b"".join(pieces) == b"y" * 10
    path.write_bytes(b"")
    os.lseek(descriptor, 0, os.SEEK_SET)
    assert b"".join(artifacts._pieces(descriptor, 10)) == b""
    os.close(descriptor)


NAMES = ("", ".", "..", "a/../b", "/a", "a/", "a//b", "-rf", "a\\b", "a\0", "a\u2067b", " ")
LONG = ("x" * 151, "é" * 130, "a/" * 8 + "b")


@pytest.mark.parametrize("name", [*NAMES, *LONG])
def test_names_that_no_artifact_may_have(name: str) -> None:
    assert refusal(name)
    assert Quota(100).take(name, 1)


def test_a_limit_of_nothing_keeps_nothing() -> None:
    assert Quota(0).take("empty.txt", 0) == "no artifacts are kept here"
    quota = Quota(10)
    assert quota.take("a", 10) is None
    assert quota.take("b", 0) is None
    assert quota.take("c", 1) == "1 bytes are over the limit of 10 bytes for a run's artifacts"
