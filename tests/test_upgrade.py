"""A project of the released 0.0.0.0 upgrades in place, goes back, and comes forward again."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import models

from djsci.models import PrivateFile

from .servers import absent, postgres_database, postgres_url

HERE = Path(__file__).parent
RELEASED = "djsci==0.0.0.0"
OLD_PYTHON = "def djsci_handler(request):\n    return 'old python'\n"
OLD_COLUMNS = {"file", "filetype", "id", "metadata", "name", "notes"}


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released package's wheel, out of the registry."""
    folder = tmp_path_factory.mktemp("released")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", RELEASED]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=90)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace")
        absent("registry", f"{RELEASED} cannot be had: {error} {said[-500:]}")
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture
def database(kind: str, tmp_path: Path) -> Iterator[dict[str, Any]]:
    if kind == "sqlite":
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
        return
    with postgres_database(postgres_url()) as made:
        yield made


Program = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def site(released: Path, database: dict[str, Any], tmp_path: Path) -> Program:
    """Execute a program of `tests/upgrade` with the old or the new djsci; what it said."""
    old = tmp_path / "old"
    zipfile.ZipFile(released).extractall(old)
    folder = tmp_path / "site"
    folder.mkdir()

    def execute(program: str, *tasks: str) -> list[dict[str, Any]]:
        package = old if program == "old" else HERE.parent
        environment = {
            **os.environ,
            "PYTHONPATH": str(package),
            "DJANGO_SETTINGS_MODULE": "site_settings",
            "SITE_DATABASE": json.dumps(database),
        }
        done = subprocess.run(
            [sys.executable, str(HERE / "upgrade" / f"site_{program}.py"), *tasks],
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    return execute


def old_part(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first release's columns of the rows that it made."""
    return [
        {name: value for name, value in row.items() if name in OLD_COLUMNS}
        for row in rows
        if not (row["name"] or "").startswith("brought")
    ]


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        pytest.param("sqlite", "make", id="sqlite-as released"),
        pytest.param("postgres", "make-stray", id="postgres-stray 0002"),
        pytest.param("sqlite", "make-stray", id="sqlite-stray 0002", marks=pytest.mark.faults),
        pytest.param("postgres", "make", id="postgres-as released", marks=pytest.mark.faults),
    ],
)
def test_a_project_of_the_first_release_upgrades_and_goes_back(site: Program, task: str) -> None:
    (old,) = site("old", task)
    assert len(old["rows"]) == 14

    upgraded, used, after_use, called, returned = site("new", "forward", "use", "call", "back")
    assert old_part(upgraded["rows"]) == old["rows"]
    assert upgraded["files"] == old["files"]
    assert {row["access"] for row in upgraded["rows"]} == {"authenticated"}

    assert used["access"] == ["private"]
    assert_each_is_found(old["rows"], used["found"])
    assert old_part(after_use["rows"]) == old["rows"]

    assert called["strangers"] == [302] * 5
    assert called["answers"] == [
        [200, '"old python"'],
        [200, '"old notebook"'],
        [200, '"old notebook"'],
        [200, '"old python"'],
        [404, ""],
    ]

    assert returned["columns"] == old["columns"]
    assert returned["tables"] == old["tables"]
    assert old_part(returned["rows"]) == old["rows"]
    assert old["files"].items() <= returned["files"].items()
    new_code = OLD_PYTHON.replace("old python", "new")
    assert site("old", "read") == [{"brought": new_code, "brought by the host": new_code}]

    (again,) = site("new", "forward")
    assert old_part(again["rows"]) == old["rows"]
    assert {row["access"] for row in again["rows"]} == {"authenticated"}


def assert_each_is_found(rows: list[dict[str, Any]], found: dict[str, str]) -> None:
    by_id = {
        "notebook": OLD_PYTHON.replace("python", "notebook").rstrip(),
        "no file": "not_found",
        "lost": "not_found",
        "not python": "bad_source",
    }
    for row in rows:
        name = row["name"]
        if name in {other["id"] for other in rows}:
            # An id wins over a name: this one is the other row's.
            assert found[f"name {name}"] == OLD_PYTHON
            assert found[f"id of {name}"] == OLD_PYTHON.replace("old", "wrong")
            continue
        expected = by_id.get(name, OLD_PYTHON)
        assert found[f"id of {name}"].rstrip() == expected.rstrip()
        if name is not None:
            is_by_id_only = not name or "/" in name
            by_name = "not_found" if is_by_id_only else expected
            assert found[f"name {name}"].rstrip() == by_name.rstrip()


@pytest.mark.django_db
def test_the_models_need_no_new_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_the_first_releases_fields_are_as_they_were() -> None:
    from djsci.migrations import __path__ as folders

    names = sorted(path.stem for path in Path(folders[0]).glob("0*.py"))
    assert names[:2] == ["0001_initial", "0002_alter_privatefile_file"]
    meta = PrivateFile._meta
    assert (meta.app_label, meta.db_table) == ("djsci", "djsci_privatefile")
    identifier = meta.get_field("id")
    assert identifier.deconstruct()[3] == {
        "alphabet": None,
        "length": 22,
        "max_length": 22,
        "prefix": "",
        "primary_key": True,
        "serialize": False,
    }
    for name in OLD_COLUMNS - {"id"}:
        field = meta.get_field(name)
        assert isinstance(field, models.Field)
        assert (field.null, field.blank, field.get_default()) == (True, True, None)
        assert field.unique == (name == "name")
