"""Content by its SHA-256, on a disk and in a storage of another kind."""

import datetime as dt
import hashlib
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from djsci import blobs

YEAR_AGO = time.time() - 365 * 86400


@pytest.fixture(params=["disk", "memory"])
def storage(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    backend = {
        "disk": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "media")},
        },
        "memory": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }[request.param]
    settings.STORAGES = {**settings.STORAGES, "versions": backend}
    settings.DJSCI = {"STORAGE": "versions"}
    return str(request.param)


@pytest.fixture
def disk(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return tmp_path / "media" / "private_files" / "blobs"


def make_old(path: Path) -> None:
    os.utime(path, (YEAR_AGO, YEAR_AGO))


def test_content_comes_back_by_its_digest(storage: str) -> None:
    content = b"x = 1\n" * 50_000
    sha256 = blobs.put(content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert blobs.put(content) == sha256
    assert blobs.exists(sha256)
    assert blobs.size(sha256) == len(content)
    assert blobs.get(sha256) == content


def test_empty_content_is_content(storage: str) -> None:
    assert blobs.get(blobs.put(b"")) == b""


def test_missing_content_is_named(storage: str) -> None:
    absent = "0" * 64
    assert not blobs.exists(absent)
    for read in (blobs.get, blobs.size):
        with pytest.raises(blobs.BlobMissing) as caught:
            read(absent)
        assert (caught.value.code, caught.value.status) == ("bad_source", 422)


def test_blobs_are_closed_to_other_users(disk: Path) -> None:
    sha256 = blobs.put(b"secret")
    blob = disk / sha256[:2] / sha256
    assert stat.S_IMODE(blob.stat().st_mode) == 0o600
    assert stat.S_IMODE(blob.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(disk.stat().st_mode) == 0o700
    assert os.listdir(blob.parent) == [sha256]


def test_changed_content_is_never_given_out_whole(disk: Path) -> None:
    content = os.urandom(200_000)
    sha256 = blobs.put(content)
    blob = disk / sha256[:2] / sha256
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(blobs.BlobChanged):
        blobs.get(sha256)
    blobs.put(content)
    assert blobs.get(sha256) == content


def test_one_content_put_at_once_by_many_is_there_once(disk: Path) -> None:
    content = b"same" * 10_000
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: blobs.put(content), range(40)))
    assert len(digests) == 1
    (sha256,) = digests
    assert os.listdir(disk / sha256[:2]) == [sha256]
    assert blobs.get(sha256) == content


def test_purge_takes_only_what_is_old_and_unreferenced(disk: Path) -> None:
    kept, lost, young = (blobs.put(text) for text in (b"kept", b"lost", b"young"))
    left_over = disk / lost[:2] / ".draft"
    left_over.write_bytes(b"half")
    for path in (disk / kept[:2] / kept, disk / lost[:2] / lost, left_over):
        make_old(path)
    assert blobs.purge({kept}) == 2
    assert (blobs.exists(kept), blobs.exists(lost), blobs.exists(young)) == (True, False, True)
    assert not left_over.exists()
    assert blobs.purge({kept}, older_than=-60) == 1
    assert not blobs.exists(young)


def test_purge_of_nothing_is_nothing(storage: str) -> None:
    assert blobs.purge(set()) == 0


def test_content_that_is_put_again_is_young_again(disk: Path) -> None:
    sha256 = blobs.put(b"again")
    make_old(disk / sha256[:2] / sha256)
    blobs.put(b"again")
    assert blobs.purge(set()) == 0
    assert blobs.exists(sha256)


def test_discard_leaves_what_was_put_since(storage: str) -> None:
    sha256 = blobs.put(b"used")
    now = dt.datetime.now(dt.UTC)
    assert not blobs.discard(sha256, before=now - dt.timedelta(hours=1))
    assert blobs.exists(sha256)
    assert blobs.discard(sha256, before=now + dt.timedelta(hours=1))
    assert not blobs.exists(sha256)
    assert not blobs.discard(sha256, before=now)


def test_contents_survive_puts_and_purges_that_race(disk: Path) -> None:
    content = b"raced"
    sha256 = blobs.put(content)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(50):
            make_old(disk / sha256[:2] / sha256)
            purged = pool.submit(blobs.purge, set())
            pool.submit(blobs.put, content).result(10)
            purged.result(10)
            assert blobs.get(sha256) == content
