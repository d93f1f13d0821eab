"""R14, R15, R18: restarts, two versions side by side, and migrations there and back under data."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import live, servers
from tests.servers import absent
from tests.waiting import until

from .stage import Stage, judge, new_seed, stage

pytestmark = pytest.mark.faults
UPGRADE = live.ROOT / "tests" / "upgrade"


class Proxy(threading.Thread):
    """Calls one web process after the other, as a proxy does: who refuses is passed over."""

    def __init__(self, place: Stage) -> None:
        super().__init__(name="proxy", daemon=True)
        self.place = place
        self.answers: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            self.answers.append(self._call(number))

    def _call(self, number: int) -> str:
        asked = {"record": str(self.place.record), "lines": "2", "pause": "0.1"}
        for attempt in range(100):
            web = self.place.webs[(number + attempt) % len(self.place.webs)]
            try:
                answer = httpx.get(
                    f"{web.url}/djsci/sync_py/code/",
                    headers=self.place.headers,
                    params=asked,
                    timeout=60,
                )
            except httpx.ConnectError:
                time.sleep(0.05)
                continue
            except httpx.HTTPError as error:
                return f"{type(error).__name__} of {web.name}"
            if answer.status_code != 503:
                return "ok" if answer.text == "2" else answer.text
            time.sleep(0.05)
        return "nobody took it"

    def end(self) -> list[str]:
        self._over.set()
        self.join(60)
        return self.answers


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_r14_a_rolling_restart_fails_no_call(tmp_path: Path, kind: str):
    with ExitStack() as stack:
        options: dict[str, Any] = {"kind": kind, "webs": 2}
        if kind == "uvicorn":
            broker = stack.enter_context(servers.valkey_url())
            options |= {
                "workers": 2,
                "database": servers.postgres_url(),
                "redis": broker,
                "environment": {"DJSCI_BROKER": broker},
            }
        place = stack.enter_context(stage(tmp_path / "record", **options))
        proxies = [Proxy(place) for _ in range(3)]
        for proxy in proxies:
            proxy.start()
        for part in (*place.webs, *place.workers, *place.webs):
            until(lambda: all(proxy.answers for proxy in proxies))
            assert part.kill(signal.SIGTERM) == 0, part.said()[-2000:]
            part.log.unlink()
            part.start()
            part.wait_ready()
        answers = [answer for proxy in proxies for answer in proxy.end()]
        rows = place.all_ended(seconds=60)
        assert set(answers) == {"ok"}
        assert len(answers) > 20
        assert {row["state"] for row in rows.values()} == {"succeeded"}
        judge(rows, place.recorded())


def git(*arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=live.ROOT, check=True, capture_output=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        absent("git", f"the version before this one cannot be had: {error}")


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The project as it was before its newest migration."""
    newest = git("rev-list", "-1", "HEAD", "--", "djsci/migrations").decode().strip()
    if not newest:
        absent("git", "there is no version before this one")
    with tarfile.open(fileobj=BytesIO(git("archive", f"{newest}^"))) as archive:
        archive.extractall(tmp_path / "earlier", filter="data")
    return tmp_path / "earlier"


@pytest.mark.timeout(240)
async def test_r15_two_versions_side_by_side_share_a_database(tmp_path: Path, earlier: Path):
    plain = {"name": "plain", "files": {"plain.py": PLAIN}}
    with stage(tmp_path / "record", webs=2, intervals={}, files=[plain]) as place:
        old = place.webs[0]
        old.kill()
        paths = old.environment["PYTHONPATH"].split(os.pathsep)
        known = [str(earlier) if path == str(live.ROOT) else path for path in paths]
        old.environment["PYTHONPATH"] = os.pathsep.join(known)
        old.folder = earlier
        old.start()
        old.wait_ready()
        both = {web.pid for web in place.webs}
        runs: list[str] = []
        while set(place.site.execute(EXECUTED)) - {None} != both:  # on a busy machine one is late
            assert len(runs) < 400
            runs += await place.submit(80, name="plain", first=len(runs))
            rows = place.all_ended(seconds=90)
        assert set(rows) == set(runs)
        judge(rows, "")
        for row in rows.values():
            printed = [event["text"] for event in row["events"] if event["type"] == "stream"]
            assert (row["state"], row["result"], "".join(printed)) == (
                "succeeded",
                "5",
                "0\n1\n2\n3\n4\n",
            )


PLAIN = """
import time
def djsci_handler(request, record: str):
    for number in range(5):
        print(number)
        time.sleep(0.05)
    return 5
"""
EXECUTED = """
from djsci.models import Run
answer = list(Run.objects.values_list("executor__pid", flat=True).distinct().order_by())
"""


class Project:
    """A host project of its own database, whose migrations go there and back."""

    def __init__(self, folder: Path, database: dict[str, Any]) -> None:
        self.folder = folder
        self.database = database

    def command(self, target: str) -> list[str]:
        name = ["djsci", target] if target else []
        return [sys.executable, "-m", "django", "migrate", "--verbosity", "0", *name]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(live.ROOT), str(UPGRADE)]),
            "DJANGO_SETTINGS_MODULE": "site_settings",
            "SITE_DATABASE": json.dumps(self.database),
        }

    def migrate(self, target: str = "") -> float:
        """Seconds that it took."""
        began = time.monotonic()
        done = subprocess.run(
            self.command(target), cwd=self.folder, env=self.environment(), capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return time.monotonic() - began

    def killed(self, target: str, after: float) -> int:
        """A migration that is killed after so many seconds; its exit status."""
        process = subprocess.Popen(
            self.command(target),
            cwd=self.folder,
            env=self.environment(),
            stderr=subprocess.DEVNULL,
        )
        try:
            return process.wait(after)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def execute(self, *statements: str) -> list[Any]:
        """Execute them in one transaction; the rows of the last one."""
        if self.database["ENGINE"].endswith("sqlite3"):
            with closing(sqlite3.connect(self.database["NAME"])) as lite:
                for statement in statements:
                    found = lite.execute(statement).fetchall()
                lite.commit()
                return found
        import psycopg

        names = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
        known = {key: self.database[name] for name, key in names.items() if self.database[name]}
        with psycopg.connect(**known) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def digest(self) -> str:
        """Of every row and column that the first release had."""
        said = hashlib.sha256()
        for row in self.execute(
            "SELECT id, file, name, filetype, notes FROM djsci_privatefile ORDER BY id"
        ):
            said.update(repr(tuple(row)).encode())
        return said.hexdigest()


@pytest.fixture(params=["sqlite", "postgres"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    if request.param == "sqlite":
        name = str(tmp_path / "db.sqlite3")
        yield Project(tmp_path, {"ENGINE": "django.db.backends.sqlite3", "NAME": name})
        return
    with servers.postgres_database(servers.postgres_url()) as database:
        yield Project(tmp_path, database)


FILES = (
    "INSERT INTO djsci_privatefile (id, file, name, filetype, notes) "
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
    "SELECT substr('0000000000000000000000' || i, -22), 'private_files/' || i || '.py', "
    "'name ' || i, 'py', 'notes ' || i FROM n"
)
FILES_POSTGRES = (
    "INSERT INTO djsci_privatefile (id, file, name, filetype, notes) "
    "SELECT lpad(i::text, 22, '0'), 'private_files/' || i || '.py', 'name ' || i, 'py', "
    "'notes ' || i FROM generate_series(1, {count}) AS i"
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2000, 1_000_000])
def test_r18_migrations_there_and_back_keep_every_row(project: Project, count: int):
    is_lite = project.database["ENGINE"].endswith("sqlite3")
    project.migrate("0002")
    project.migrate("0002")
    project.execute((FILES if is_lite else FILES_POSTGRES).format(count=count))
    before = project.digest()
    forward = project.migrate()
    assert project.digest() == before
    assert project.execute("SELECT access, count(*) FROM djsci_privatefile GROUP BY access") == [
        ("authenticated", count)
    ]
    back = project.migrate("0001")
    print(f"{count} rows: forward {forward:.1f} s, back {back:.1f} s")
    assert project.digest() == before


@pytest.mark.timeout(600)
def test_r18_a_migration_that_is_killed_leaves_the_old_table_or_the_new_one(project: Project):
    is_lite = project.database["ENGINE"].endswith("sqlite3")
    project.migrate("0002")
    project.execute((FILES if is_lite else FILES_POSTGRES).format(count=100_000))
    before = project.digest()
    chance = random.Random(new_seed())
    whole = project.migrate()
    exits = []
    for number in range(8):
        target = "0002" if number % 2 == 0 else ""
        exits.append(project.killed(target, chance.uniform(0.2, 1.0) * whole))
        assert project.digest() == before
    assert -signal.SIGKILL in exits
    project.migrate()
    assert project.digest() == before
    project.migrate("0001")
    assert project.digest() == before
