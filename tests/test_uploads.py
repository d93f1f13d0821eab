"""Files and their versions: names, content of old rows, new content, settings, removal."""

import hashlib
import json
import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.db import close_old_connections, connections
from django.utils import timezone

from djsci import blobs, changes, uploads, versions
from djsci.access.callers import Caller
from djsci.core import errors
from djsci.models import Audit, PrivateFile, Run, Version

CODE = b"def djsci_handler(request, days: int = 3):\n    return days\n"
OTHER = CODE.replace(b"return days", b"return -days")
NOTEBOOK = json.dumps(
    {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"cell_type": "code", "metadata": {}, "source": "x = 1", "outputs": []},
            {"cell_type": "code", "metadata": {}, "source": CODE.decode(), "outputs": []},
        ],
    }
).encode()

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return tmp_path / "media"


@pytest.fixture
def owner() -> Any:
    return get_user_model().objects.create_user("owner")


@pytest.fixture
def superuser() -> Any:
    return get_user_model().objects.create_superuser("root")


def upload(owner: Any = None, *, name: str | None = None, **more: bytes) -> PrivateFile:
    files = {"main.py": CODE, **more}
    return uploads.create(name=name, entry="main.py", files=files, owner=owner)


def start_run(file: PrivateFile, state: str = "running") -> Run:
    return Run.objects.create(
        file=file,
        version=uploads.current_version(file),
        trigger="api",
        engine="kernel",
        isolation="process",
        timeout=1,
        memory=1,
        state=state,
        created=timezone.now(),
    )


def test_an_upload_becomes_a_version_whose_id_is_its_manifests_digest(owner: Any) -> None:
    file = uploads.create(
        name="prices", entry="main.py", files={"main.py": CODE, "data.csv": b"a,b\n"}, owner=owner
    )
    version = uploads.current_version(file)
    manifest = {
        "entry": "main.py",
        "files": {"data.csv": blobs.put(b"a,b\n"), "main.py": blobs.put(CODE)},
    }
    assert version.manifest == manifest
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    assert version.sha256 == hashlib.sha256(canonical.encode()).hexdigest()
    assert (version.kind, version.has_handler, version.uploader) == ("py", True, owner)
    assert version.parameters["properties"]["days"]["default"] == 3
    assert (file.owner, file.access, file.name) == (owner, "private", "prices")


def test_code_of_the_first_release_reads_the_entry_of_a_new_upload(owner: Any) -> None:
    file = PrivateFile.objects.get(pk=upload(owner).pk)
    with file.file.open() as opened:
        assert opened.read() == CODE
    before = file.versions.count()
    assert uploads.current_version(file) == file.version
    assert file.versions.count() == before


def test_a_source_holds_every_part_and_is_read_once(owner: Any) -> None:
    version = uploads.current_version(upload(owner, **{"data.csv": b"1\n"}))
    source = versions.source(version)
    assert source.files == {"main.py": CODE, "data.csv": b"1\n"}
    assert source.cells[0].text == CODE.decode()
    assert versions.source(Version.objects.get(pk=version.pk)) is source


def test_the_cache_of_sources_stays_within_its_bytes(owner: Any) -> None:
    cache = versions.SourceCache(limit=3 * len(CODE))
    sources = [uploads.read("main.py", {"main.py": CODE + b"#" * n}) for n in range(3)]
    for number, source in enumerate(sources):
        cache.add(str(number), source)
    assert [cache.get(str(n)) is not None for n in range(3)] == [False, True, True]
    cache.add("large", uploads.read("main.py", {"main.py": CODE + b"#" * 1000}))
    assert cache.get("large") is None


def test_n9_a_manifest_or_blob_that_was_changed_is_refused(owner: Any, media: Path) -> None:
    version = uploads.current_version(upload(owner, **{"n9.csv": b"data"}))
    digest = version.files["n9.csv"]
    (media / blobs.path(digest)).write_bytes(b"evil")
    with pytest.raises(errors.SourceInvalid):
        versions.source(version)
    (media / blobs.path(digest)).unlink()
    with pytest.raises(errors.SourceInvalid):
        versions.source(version)
    version.manifest["files"]["n9.csv"] = blobs.put(b"evil")
    with pytest.raises(errors.SourceInvalid):
        versions.source(version)


def test_what_the_host_puts_into_the_file_field_becomes_a_version_when_needed() -> None:
    file = PrivateFile.objects.create(name="host", file=ContentFile(CODE, name="host.py"))
    assert file.version is None
    first = uploads.current_version(file)
    assert (first.entry, first.kind, first.uploader) == ("host.py", "py", None)
    assert file.file.name == "private_files/host.py"

    file.file.save("book.py", ContentFile(NOTEBOOK))
    second = uploads.current_version(PrivateFile.objects.get(pk=file.pk))
    assert (second.entry, second.kind) == ("book.py", "ipynb")
    assert list(file.versions.all()) == [second, first]

    file.refresh_from_db()
    file.file = ContentFile(CODE, name="again.py")
    file.save()
    third = uploads.current_version(file)
    assert (third.entry, third.files) == ("again.py", {"again.py": first.files["host.py"]})


def test_a_file_field_without_readable_content_is_not_found(media: Path) -> None:
    rows = [
        PrivateFile.objects.create(name="no file"),
        PrivateFile.objects.create(name="lost", file="private_files/lost.py"),
        PrivateFile.objects.create(name="outside", file="../../etc/passwd"),
        PrivateFile.objects.create(name="folder", file="private_files"),
    ]
    (media / "private_files").mkdir(parents=True, exist_ok=True)
    for row in rows:
        with pytest.raises(errors.NotFound):
            uploads.current_version(row)
        assert not row.versions.exists()


def test_a_file_field_over_the_limit_is_not_read(settings: Any) -> None:
    settings.DJSCI = {"UPLOAD_LIMIT": 10}
    row = PrivateFile.objects.create(file=ContentFile(CODE, name="big.py"))
    with pytest.raises(errors.TooLarge):
        uploads.current_version(row)


def test_an_id_wins_over_a_name(owner: Any) -> None:
    first = upload(owner, name="first")
    impostor = PrivateFile.objects.create(name=first.pk)
    assert uploads.find(first.pk) == first
    assert uploads.find("first") == first
    assert uploads.find(impostor.pk) == impostor


@pytest.mark.parametrize("ref", ["", "nothing", "a/b", "a\x00", "\udcff", "x" * 10_000])
def test_a_reference_to_nothing_is_not_found(ref: str) -> None:
    PrivateFile.objects.create(name="")
    PrivateFile.objects.create(name="a/b")
    with pytest.raises(errors.NotFound):
        uploads.find(ref)


def test_a_name_is_found_in_either_normal_form(owner: Any) -> None:
    file = upload(owner, name=unicodedata.normalize("NFD", "Zürich"))
    assert file.name == unicodedata.normalize("NFC", "Zürich")
    for form in ("NFC", "NFD"):
        assert uploads.find(unicodedata.normalize(form, "Zürich")) == file


@pytest.mark.parametrize(
    "name",
    ["a/b", "a\nb", "a\x00b", "\x1b[2J", ".", "..", "a\u202eb", "a\u2028b", "\ud800", "x" * 501],
    ids=ascii,
)
def test_n2_a_bad_name_is_refused_at_its_field(owner: Any, name: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        upload(owner, name=name)
    assert caught.value.errors[0]["field"] == "name"
    assert not PrivateFile.objects.exists()


@pytest.mark.parametrize("name", ["-rf", ".hidden", "..\\", "x" * 300, "📈 prices", "'; DROP"])
def test_n2_an_odd_but_harmless_name_is_taken(owner: Any, name: str) -> None:
    assert uploads.find(upload(owner, name=name).pk).name == name


def test_ids_are_refused_as_names(owner: Any) -> None:
    other = upload(owner)
    gone = upload(owner)
    PrivateFile.objects.create(pk="chosen")
    gone_id = gone.pk
    changes.delete(gone)
    for name in (other.pk, gone_id, "chosen"):
        with pytest.raises(errors.BadRequest):
            upload(owner, name=name)


def test_a_blank_name_is_none_and_may_be_had_by_many(owner: Any) -> None:
    assert [upload(owner, name=name).name for name in ("", "  ", None)] == [None, None, None]


def test_twins_by_case_conflict(owner: Any) -> None:
    upload(owner, name="Prices")
    file = upload(owner, name="straße")
    for name in ("Prices", "prices", " PRICES ", "STRASSE"):
        with pytest.raises(errors.Conflict):
            upload(owner, name=name)
    with pytest.raises(errors.Conflict):
        changes.rename(file, "pRICES")
    assert file.name == "straße"
    changes.rename(file, "Straße")
    assert PrivateFile.objects.get(pk=file.pk).name == "Straße"


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 600, "a/b"], ids=ascii)
def test_an_old_rows_odd_name_may_stay_and_be_given_up(name: str) -> None:
    row = PrivateFile.objects.create(name=name)
    changes.rename(row, name)
    assert PrivateFile.objects.get(pk=row.pk).name == name
    changes.rename(row, "plain")
    assert uploads.find("plain") == row


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "a\\b", "/etc/passwd", "", ".hidden", "-rf", "a\nb", "a\x00", "x" * 151,
     "é" * 140, "a\u202ecsv"],
    ids=ascii,
)  # fmt: skip
def test_n2_a_bad_companion_name_is_refused(owner: Any, name: str) -> None:
    """C3: a name is one component, and never a way out of the folder."""
    with pytest.raises(errors.BadRequest) as caught:
        uploads.create(name=None, entry="m.py", files={"m.py": CODE, name: b""}, owner=owner)
    assert caught.value.errors[0]["field"] == "files"


def test_companions_that_differ_by_case_only_are_refused(owner: Any) -> None:
    for twin in ("DATA.csv", "Main.py"):
        files = {"main.py": CODE, "data.csv": b"1", twin: b"2"}
        with pytest.raises(errors.BadRequest):
            uploads.create(name=None, entry="main.py", files=files, owner=owner)


def test_the_limit_covers_the_companions(owner: Any, settings: Any) -> None:
    settings.DJSCI = {"UPLOAD_LIMIT": len(CODE) + 10}
    upload(owner, **{"data.csv": b"x" * 10})
    with pytest.raises(errors.TooLarge):
        upload(owner, **{"data.csv": b"x" * 11})


def test_a_refused_upload_leaves_nothing(owner: Any, media: Path) -> None:
    for content, refusal in (
        (b"PK\x03\x04 zip", errors.WrongKind),
        (b"def broken(:\n", errors.SourceInvalid),
        (b"x = 1\n", errors.NoHandler),
        (b"", errors.SourceInvalid),
    ):
        with pytest.raises(refusal):
            uploads.create(name="n", entry="m.py", files={"m.py": content}, owner=owner)
    assert not PrivateFile.objects.exists()
    assert not Version.objects.exists()
    assert not media.exists()


def test_new_content_is_a_new_version_and_old_content_the_old_one(owner: Any) -> None:
    file = upload(owner)
    first = file.version
    second = uploads.replace(file, entry="b.py", files={"b.py": OTHER}, uploader=None)
    stored = PrivateFile.objects.get(pk=file.pk)
    assert stored.version == second == file.version != first
    with stored.file.open() as opened:
        assert opened.read() == OTHER
    third = uploads.replace(file, entry="main.py", files={"main.py": CODE}, uploader=owner)
    assert third == first
    assert file.versions.count() == 2


def test_content_is_replaced_only_where_it_is_what_the_caller_saw(owner: Any) -> None:
    file = upload(owner)
    seen = uploads.current_version(file).sha256
    given = {"entry": "main.py", "files": {"main.py": OTHER}, "uploader": owner}
    for stale in (f'"{"0" * 64}"', "nonsense", '""'):
        with pytest.raises(errors.Changed):
            uploads.replace(file, **given, if_match=stale)
    uploads.replace(file, **given, if_match=f'"{seen}"')
    with pytest.raises(errors.Changed):
        uploads.replace(file, **given, if_match=f'"{seen}"')
    uploads.replace(file, **given, if_match="*")


def test_new_content_ends_trust_even_if_only_a_companion_is_new(owner: Any, superuser: Any) -> None:
    file = upload(owner)
    changes.change_settings(file, {"trusted": True, "engine": "thread"}, Caller.of_user(superuser))
    assert file.is_trusted
    trusted = file.trusted_version
    uploads.replace(
        file, entry="main.py", files={"main.py": CODE, "helpers.py": b""}, uploader=superuser
    )
    stored = PrivateFile.objects.get(pk=file.pk)
    assert (stored.is_trusted, stored.trusted_version) == (False, trusted)


def test_content_of_the_file_field_ends_trust_too(superuser: Any) -> None:
    file = upload(superuser)
    changes.change_settings(file, {"trusted": True}, Caller.of_user(superuser))
    file.file.save("evil.py", ContentFile(OTHER))
    uploads.current_version(file)
    assert not PrivateFile.objects.get(pk=file.pk).is_trusted


def test_only_superusers_set_privileges(owner: Any, superuser: Any, settings: Any) -> None:
    settings.DJSCI = {"CONNECTIONS": {"warehouse": {}}}
    file = upload(owner)
    privileged = [{"trusted": True}, {"connections": ["warehouse"]}, {"engine": "thread"}]
    for values in privileged:
        with pytest.raises(errors.Forbidden):
            changes.change_settings(file, values, Caller.of_user(owner))
    assert not Audit.objects.exists()
    with pytest.raises(errors.BadRequest, match="trusted version"):
        changes.change_settings(file, {"engine": "thread"}, Caller.of_user(superuser))
    for values in privileged:
        changes.change_settings(file, values, Caller.of_user(superuser))
    assert sorted(Audit.objects.values_list("action", flat=True)) == [
        "connections",
        "engine",
        "trusted",
    ]
    # What a superuser granted may be named by others while it stays, and be given up.
    same = {"engine": "thread", "connections": ["warehouse"], "trusted": True, "timeout": 5}
    changes.change_settings(file, same, Caller.of_user(owner))
    assert file.settings == {"engine": "thread", "connections": ["warehouse"], "timeout": 5}
    changes.change_settings(file, {"engine": "auto"}, Caller.of_user(owner))
    with pytest.raises(errors.Forbidden):
        changes.change_settings(file, {"engine": "thread"}, Caller.of_user(owner))


@pytest.mark.parametrize(
    "values",
    [
        {"timeout": 0}, {"timeout": 301}, {"timeout": "5"}, {"timeout": True},
        {"timeout": float("nan")}, {"memory": 2 << 30}, {"memory": -1}, {"retries": 99},
        {"retries": 1.5}, {"concurrency": 0}, {"engine": "fork?"}, {"isolation": "none"},
        {"queue": "elsewhere"}, {"environment": "x"}, {"connections": ["unknown"]},
        {"connections": "open"}, {"output": []}, {"unknown": 1}, {"access": "public"},
        {"trusted": "yes"},
    ],
    ids=str,
)  # fmt: skip
def test_a_setting_that_loosens_or_is_unknown_is_refused(superuser: Any, values: Any) -> None:
    file = upload(superuser)
    with pytest.raises(errors.BadRequest) as caught:
        changes.change_settings(file, values, Caller.of_user(superuser))
    assert caught.value.errors[0]["field"] == next(iter(values))
    assert PrivateFile.objects.get(pk=file.pk).settings == {}


@pytest.mark.parametrize(
    ("site", "refused"),
    [
        ("auto", ()),
        ("process", ()),
        ("landlock", ("process",)),
        ("bwrap", ("process", "landlock")),
        ("container", ("process", "landlock", "bwrap")),
    ],
)
def test_a_file_asks_for_no_less_than_the_level_that_the_site_names(
    owner: Any, settings: Any, site: str, refused: tuple[str, ...]
) -> None:
    settings.DJSCI = {"ISOLATION": site}
    file, caller = upload(owner), Caller.of_user(owner)
    for level in ("auto", "process", "landlock", "bwrap", "container"):
        if level in refused:
            with pytest.raises(errors.BadRequest, match=f"own level is '{site}'"):
                changes.change_settings(file, {"isolation": level}, caller)
        else:
            changes.change_settings(file, {"isolation": level}, caller)


def test_settings_tighten_and_go_back_to_the_sites(owner: Any) -> None:
    file = upload(owner)
    caller = Caller.of_user(owner)
    changes.change_settings(file, {"timeout": 2.5, "memory": 1 << 20, "retries": 1}, caller)
    changes.change_settings(file, {"timeout": None, "access": "authenticated"}, caller)
    stored = PrivateFile.objects.get(pk=file.pk)
    assert stored.settings == {"memory": 1 << 20, "retries": 1}
    assert stored.access == "authenticated"
    assert [(row.detail["before"], row.detail["now"]) for row in Audit.objects.all()] == [
        ("private", "authenticated")
    ]


def test_a_file_with_a_live_run_stays(owner: Any) -> None:
    file = upload(owner)
    run = start_run(file)
    assert changes.has_live_runs(file)
    with pytest.raises(errors.Conflict):
        changes.delete(file)
    Run.objects.filter(pk=run.pk).update(state="succeeded")
    assert not changes.has_live_runs(file)
    changes.delete(file)
    assert not Run.objects.exists()
    with pytest.raises(errors.NotFound):
        changes.delete(file)


@pytest.mark.django_db(transaction=True)
def test_blobs_go_with_their_last_file(owner: Any) -> None:
    mine, shared = b"mine only", b"of both"
    first = upload(owner, **{"mine.csv": mine, "shared.csv": shared})
    second = upload(owner, **{"shared.csv": shared})
    digests = uploads.current_version(first).files
    changes.delete(first)
    assert [blobs.exists(digests[name]) for name in ("mine.csv", "shared.csv", "main.py")] == [
        False,
        True,
        True,
    ]
    changes.delete(second)
    assert not blobs.exists(digests["shared.csv"])


@pytest.mark.django_db(transaction=True)
def test_a_blob_that_is_just_being_uploaded_again_stays(owner: Any) -> None:
    file = upload(owner)
    digest = blobs.put(CODE)
    changes.delete(file)
    assert blobs.get(digest) == CODE


@pytest.mark.django_db(transaction=True)
def test_n7_of_racing_uploads_of_one_name_one_wins(owner: Any) -> None:
    def race(number: int) -> str:
        close_old_connections()
        try:
            upload(owner, name="prices" if number % 2 else "Prices")
        except errors.Conflict:
            return "conflict"
        finally:
            connections.close_all()
        return "won"

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(race, range(20)))
    assert sorted(outcomes) == ["conflict"] * 19 + ["won"]
    assert PrivateFile.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_racing_first_looks_at_a_file_field_one_makes_the_version() -> None:
    row = PrivateFile.objects.create(file=ContentFile(CODE, name="raced.py"))

    def look(_: int) -> int:
        close_old_connections()
        try:
            return uploads.current_version(PrivateFile.objects.get(pk=row.pk)).pk
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(look, range(16)))) == 1
    assert row.versions.count() == 1


def test_the_path_of_a_file_field_finds_its_file_but_no_blob(owner: Any) -> None:
    row = PrivateFile.objects.create(file=ContentFile(CODE, name="by path.py"))
    assert uploads.by_path(os.path.basename(str(row.file.name))) == row
    assert uploads.held_content(row) == CODE
    new = upload(owner)
    blob = str(new.file.name).removeprefix("private_files/")
    for path in (blob, "", "nothing.py", "../db.sqlite3", "a\x00"):
        with pytest.raises(errors.NotFound):
            uploads.by_path(path)


def test_a_default_that_databases_refuse_is_stored_cleaned(owner: Any) -> None:
    code = b'def djsci_handler(request, a: str = "x\\0y"):\n    return a\n'
    file = uploads.create(name=None, entry="m.py", files={"m.py": code}, owner=owner)
    assert "\x00" not in json.dumps(uploads.current_version(file).parameters)
    assert "\\u0000" not in json.dumps(uploads.current_version(file).parameters)


def test_another_storage_keeps_versions_and_leaves_the_file_field_alone(
    owner: Any, settings: Any
) -> None:
    memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, "versions": memory}
    settings.DJSCI = {"STORAGE": "versions"}
    file = PrivateFile.objects.get(pk=upload(owner).pk)
    assert not file.file
    assert versions.contents(uploads.current_version(file)) == {"main.py": CODE}
