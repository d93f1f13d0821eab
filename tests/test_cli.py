"""The command line: tokens that a program can use, refusals in one line, and the doctor."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from djsci import cli
from djsci.access import tokens
from djsci.models import Audit, PrivateFile, Token
from tests import live

ROOT = Path(__file__).parent.parent
NOTHING_LOADED = '{"POOL": {"preload": []}}'


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_token_is_made_listed_and_revoked(user: Any, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["token", "make", "--user", "ada", "--scope", "run", "--days", "2"]) == 0
    said = capsys.readouterr()
    secret = said.out.strip()
    token = tokens.find(secret)
    assert token is not None
    assert token.scopes == ["run"]
    assert token.expires is not None
    assert token.pk in said.err
    assert secret not in said.err
    assert cli.main(["token", "list", "--user", "ada"]) == 0
    listed = capsys.readouterr().out
    assert token.pk in listed
    assert secret not in listed
    assert cli.main(["token", "revoke", token.pk]) == 0
    assert tokens.find(secret) is None
    assert list(Audit.objects.values_list("action", flat=True)) == ["token revoked", "token"]


def test_a_token_is_made_for_one_file_only(
    user: Any, make_file: Any, capsys: pytest.CaptureFixture[str]
):
    file: PrivateFile = make_file("def djsci_handler(request): return 1", name="one")
    assert cli.main(["token", "make", "--user", "ada", "--file", "one"]) == 0
    token = tokens.find(capsys.readouterr().out.strip())
    assert token is not None
    assert token.is_limited_to_files
    assert list(token.files.all()) == [file]
    assert token.scopes == list(tokens.SCOPES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["make", "--user", "nobody"], "there is no user 'nobody'"),
        (["make", "--user", "ada", "--scope", "everything"], "scopes"),
        (["make", "--user", "ada", "--days", "-1"], "expires"),
        (["make", "--user", "ada", "--file", "missing"], "nothing here"),
        (["revoke", "missing"], "there is no token 'missing'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    user: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    assert cli.main(["token", *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Token.objects.exists()


def run(*arguments: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DJ")}
    return subprocess.run(
        [sys.executable, "-m", "djsci", *arguments],
        cwd=folder,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=100,
    )


LIMITS = ["wall", "CPU", "memory", "pids", "descriptors", "disk", "output", "result"]


def test_the_doctor_says_what_works_and_what_does_not(tmp_path: Path):
    variables = {
        "DJSCI_DATA": str(tmp_path / "data"),
        "DJSCI_OPTIONS": NOTHING_LOADED,
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C",
    }
    before = run("doctor", folder=ROOT, **variables)
    assert before.returncode == 1
    assert re.search(r"BAD +database .*run `migrate`", before.stdout)
    live.migrate(tmp_path / "data")
    after = run("doctor", folder=ROOT, **variables)
    assert after.returncode == 0, after.stdout + after.stderr
    assert "BAD" not in after.stdout
    assert "journal wal, transactions IMMEDIATE" in after.stdout
    assert re.search(r"ok +kernels .*python3", after.stdout)
    assert re.search(r"ok +isolation +runs are walled by", after.stdout)
    limits = re.findall(r"ok +limits +(\S+) +(\S.*)", after.stdout)
    assert [name for name, _ in limits] == LIMITS
    assert re.search(r"memory +1024 MiB: (cgroup v\d|.* since no cgroup can be made)", after.stdout)


def test_the_doctor_does_not_believe_in_a_redis_or_a_wall_that_is_not_there(tmp_path: Path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho another program\n")
    (tmp_path / "bwrap").chmod(0o755)
    variables = {
        "DJSCI_DATA": str(tmp_path / "data"),
        "DJSCI_OPTIONS": json.dumps({**json.loads(NOTHING_LOADED), "ISOLATION": "bwrap"}),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DJSCI_BROKER": "redis://:secret@127.0.0.1:1/1",
    }
    said = run("doctor", folder=ROOT, **variables)
    assert said.returncode == 1
    assert re.search(r"BAD +layer .*ConnectionError", said.stdout)
    assert re.search(r"BAD +dispatcher .*refused", said.stdout)
    assert "secret" not in said.stdout
    assert re.search(r"BAD +isolation .*is not bubblewrap. Install bubblewrap", said.stdout)


def test_outside_a_project_the_missing_settings_are_named(tmp_path: Path):
    said = run("doctor", folder=tmp_path, DJANGO_SETTINGS_MODULE="no_such_project.settings")
    assert said.returncode == 1
    assert "no_such_project.settings" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('{"TIMEOUT": "x"}', "(djsci.E002) DJSCI['TIMEOUT'] is not a number over 0."),
        ('{"TIMEOUTS": 3}', "(djsci.E001) DJSCI has no key 'TIMEOUTS'."),
        ('{"DISPATCHER": "pigeons"}', "(djsci.E010) DJSCI['DISPATCHER']"),
    ],
)
def test_what_the_checks_refuse_is_not_served(tmp_path: Path, options: str, said: str):
    data = {"DJSCI_DATA": str(tmp_path / "data"), "DJSCI_OPTIONS": options}
    settings = {"DJANGO_SETTINGS_MODULE": "asgi_project.settings"}
    done = run("up", "--port", "0", folder=ROOT, **data, **settings)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "serves" not in done.stdout


def test_the_options_of_the_environment_reach_the_setting(tmp_path: Path):
    code = (
        "import django, json; django.setup(); from djsci import conf;"
        "print(json.dumps([conf.get('TIMEOUT'), conf.get('TRUSTED_PROXIES')]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "asgi_project.settings",
            "DJSCI_DATA": str(tmp_path / "data"),
            "DJSCI_OPTIONS": '{"TIMEOUT": 7}',
            "DJSCI_TRUSTED_PROXIES": "10.0.0.1, 10.0.0.2",
        },
        capture_output=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == [7, ["10.0.0.1", "10.0.0.2"]], done.stderr.decode()
