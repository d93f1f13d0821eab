"""`manage.py djsci_sweep` as a process of its own: it outlives a database that fails."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.live import ROOT
from tests.waiting import until

SWEEPS = "SELECT count FROM djsci_tally WHERE name = 'swept'"


def test_it_goes_on_after_an_error_of_the_database(tmp_path: Path):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "asgi_project.settings",
        "DJSCI_DATA": str(tmp_path),
        "DJSCI_OPTIONS": '{"HEARTBEAT": 0.1}',
    }
    manage = [sys.executable, "manage.py"]
    log = tmp_path / "log"
    with log.open("wb") as said:
        sweeping = subprocess.Popen(
            [*manage, "djsci_sweep"], cwd=ROOT, env=environment, stdout=said, stderr=said
        )
    try:
        until(lambda: log.read_text().count("a sweep failed: OperationalError") > 1)  # no tables
        subprocess.run([*manage, "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        until(lambda: swept(tmp_path / "db.sqlite3") > 1)
        assert sweeping.poll() is None, log.read_text()
    finally:
        sweeping.kill()
        sweeping.wait(10)


def swept(database: Path) -> int:
    with closing(sqlite3.connect(database, timeout=10)) as opened:
        return next(iter(opened.execute(SWEEPS)), (0,))[0]
