"""Level `process`: the server's environment stays with the server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from djsci.isolation import process

PROGRAM = "import json, os; print(json.dumps([dict(os.environ), os.getsid(0), os.getpid()]))"


def test_a_program_finds_the_allowed_variables_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "secret")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("TZ", "Europe/Paris")
    done = subprocess.run(
        process.command([sys.executable, "-I", "-c", PROGRAM]),
        env=process.environment(tmp_path),
        capture_output=True,
        check=True,
        timeout=30,
        **process.START,
    )
    found, session, pid = json.loads(done.stdout)
    found.pop("LC_CTYPE", None)  # Python's own, under the C locale
    assert set(found) == {
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "MPLCONFIGDIR",
        "IPYTHONDIR",
        *process.ONE_THREAD,
    }
    assert (found["HOME"], found["TZ"]) == (str(tmp_path), "Europe/Paris")
    assert session == pid != os.getsid(0)
