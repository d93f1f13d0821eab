"""A real server in a process of its own, on a free port, with its own data folder and database.

with live.server("uvicorn", settings={"DJSCI": {"TIMEOUT": 5}}) as site:
    made = site.seed({"users": [{"name": "ada", "tokens": [{"name": "all"}]}],
                      "files": [{"name": "hello", "owner": "ada", "files": {"h.py": CODE}}]})
    httpx.get(f"{site.url}/djsci/sync_py/hello/", headers=made.bearer("ada"))
"""

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 60.0

SETTINGS = """
from asgi_project.settings import *
from djsci import conf
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
import json, pathlib
_said = json.loads(pathlib.Path(__file__).with_name("said.json").read_text(encoding="utf-8"))
_said["settings"]["DJSCI"] = {
    **DJSCI, "POOL": {"size": 1, "preload": []}, **_said["settings"].get("DJSCI", {})
}
globals().update(_said["settings"])
for _name, _value in _said["intervals"].items():
    assert hasattr(conf.intervals, _name), _name
    setattr(conf.intervals, _name, _value)
"""


@dataclass
class Seeded:
    """What `Site.seed` made: secrets of tokens and session keys by user, ids of files by name."""

    tokens: dict[str, str]
    sessions: dict[str, str]
    files: dict[str, str]

    def bearer(self, user: str) -> dict[str, str]:
        """The header with which a program acts as this user."""
        return {"Authorization": f"Bearer {self.tokens[user]}"}

    def cookies(self, user: str) -> dict[str, str]:
        """The cookie with which a browser acts as this user."""
        return {"sessionid": self.sessions[user]}


@dataclass
class Site:
    """A running server and the project behind it."""

    url: str
    data: Path
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"
    log: Path = field(repr=False)
    seeder: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def socket_url(self) -> str:
        """`url` for WebSockets."""
        return "ws" + self.url.removeprefix("http")

    def seed(self, wanted: Mapping[str, Any]) -> Seeded:
        """Make users, tokens, sessions and files in the server's project; see `tests/seed.py`."""
        return Seeded(**self._ask(dict(wanted)))

    def execute(self, code: str) -> Any:
        """Execute some lines in a process of the server's project: what they leave as `answer`."""
        return self._ask({"code": code})

    def _ask(self, wanted: dict[str, Any]) -> Any:
        if self.seeder is None:
            self.seeder = _seeding(self.environment, self.log)
        asked, answers = self.seeder.stdin, self.seeder.stdout
        assert asked is not None
        assert answers is not None
        asked.write(json.dumps(wanted).encode() + b"\n")
        asked.flush()
        assert select.select([answers], [], [], 60)[0], "no answer in a minute"
        answer = answers.readline()
        assert answer, self.said()
        return json.loads(answer)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def said(self) -> str:
        """What the server wrote so far, the end of it."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-6000:]


@contextmanager
def server(
    kind: Literal["daphne", "uvicorn"] = "daphne",
    *,
    database: str | None = None,
    redis: str | None = None,
    settings: Mapping[str, Any] | None = None,
    intervals: Mapping[str, float] | None = None,
    environment: Mapping[str, str] | None = None,
    data: Path | None = None,
    modules: Path | None = None,
    options: Sequence[str] = (),
) -> Iterator[Site]:
    """A server that `djsci up` runs; ended by its pid. Its log is shown when the test fails.

    `database`: the URL of a PostgreSQL in which a database is made for this server (default: a
    SQLite file). `settings` and `intervals` override the project's; JSON values only. Unless
    `DJSCI` names another `POOL`, one kernel is kept ready and nothing is imported ahead. With
    `data` the folder is kept: a second server can go on where the first one ended. `modules` is a
    folder from which the server may import; `options` are more of `djsci up`.
    """
    folder = Path(tempfile.mkdtemp(prefix="djsci-live-"))
    place = data or folder / "data"
    try:
        with new_database(database) as url:
            paths = [folder, ROOT, *([modules] if modules else ())]
            variables = _environment(paths, place, url, redis, environment)
            _write_settings(folder, settings or {}, intervals or {})
            if "DATABASE_URL" not in (environment or {}):  # else it is there, as it is
                _migrate(place, database or "", variables)
            with _running(kind, folder, place, variables, options) as site:
                yield site
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(
    paths: list[Path], data: Path, url: str, redis: str | None, extra: Mapping[str, str] | None
) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DJSCI_")}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "live_settings",
        "DJSCI_DATA": str(data),
        "DATABASE_URL": url,
        "REDIS_URL": redis or "",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONUNBUFFERED": "1",
        **(extra or {}),
    }


def _write_settings(
    folder: Path, settings: Mapping[str, Any], intervals: Mapping[str, Any]
) -> None:
    (folder / "live_settings.py").write_text(SETTINGS, encoding="utf-8")
    said = {"settings": dict(settings), "intervals": dict(intervals)}
    (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")


_templates: dict[str, str] = {}  # what new servers copy: a file, or by the server's URL a name


def forget_templates() -> None:
    """Remove the migrated databases that new servers copy."""
    for url, name in _templates.items():
        if url:
            _on_postgres(url, f'DROP DATABASE "{name}" WITH (FORCE)')
        else:
            shutil.rmtree(Path(name).parent, ignore_errors=True)
    _templates.clear()


def migrate(data: Path) -> None:
    """Make the stand-alone project's database anew, a SQLite file, in this folder of data."""
    (data / "db.sqlite3").unlink(missing_ok=True)
    settings = {"DJANGO_SETTINGS_MODULE": "asgi_project.settings"}
    _migrate(data, "", _environment([ROOT], data, "", None, settings))


def _migrate(data: Path, server: str, variables: Mapping[str, str]) -> None:
    """Migrate, once for SQLite and once for each PostgreSQL; afterwards that database is copied."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = data / "db.sqlite3"
    if server in _templates if server else target.exists():
        return  # a PostgreSQL's database was made as a copy
    if not server and server in _templates:
        shutil.copy(_templates[server], target)
        return
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    done = subprocess.run(command, cwd=ROOT, env=dict(variables), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    if server:
        migrated = urlsplit(variables["DATABASE_URL"]).path.removeprefix("/")
        name = f"djsci_template_{secrets.token_hex(6)}"
        _on_postgres(server, f'CREATE DATABASE "{name}" TEMPLATE "{migrated}"')
        _templates[server] = name
    else:
        kept = Path(tempfile.mkdtemp(prefix="djsci-template-")) / "db.sqlite3"
        shutil.copy(target, kept)
        _templates[server] = str(kept)


@contextmanager
def new_database(server: str | None, *, is_empty: bool = False) -> Iterator[str]:
    """A new database on this PostgreSQL, dropped afterwards; "" for SQLite."""
    if server is None:
        yield ""
        return
    name = f"djsci_live_{secrets.token_hex(6)}"
    is_copy = server in _templates and not is_empty
    template = f' TEMPLATE "{_templates[server]}"' if is_copy else ""
    _on_postgres(server, f'CREATE DATABASE "{name}"{template}')
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        _on_postgres(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _on_postgres(url: str, statement: Any) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def _running(
    kind: str, folder: Path, data: Path, variables: dict[str, str], options: Sequence[str]
) -> Iterator[Site]:
    log = folder / "log"
    command = [sys.executable, "-m", "djsci", "up", "--server", kind, "--port", "0", *options]
    with log.open("ab") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=said, stderr=said)
    site: Site | None = None
    try:
        site = Site(_listening(process, log), data, variables, process, log)
        yield site
    except BaseException:
        print(f"--- the {kind} server said:\n{log.read_text(errors='replace')[-6000:]}")
        raise
    finally:
        if site is not None and site.seeder is not None:
            site.seeder.kill()
            site.seeder.communicate()
        _end(process)


@dataclass
class Worker:
    """A Celery worker of a site's project."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def said(self) -> str:
        """What the worker wrote so far, the end of it."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-6000:]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def worker(
    site: Site,
    *,
    slots: int = 4,
    queues: str = "djsci.default",
    name: str = "one",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Worker]:
    """A worker that has said that it is ready; killed by its pid unless it has ended."""
    log = site.log.with_name(f"worker-{name}-{secrets.token_hex(3)}")
    command = [sys.executable, "-m", "celery", "-A", "asgi_project", "worker", "-P", "threads"]
    more = ["-c", str(slots), "-Q", queues, "-n", f"{name}@%h", "-l", "INFO"]
    quiet = ["--without-gossip", "--without-mingle"]
    with log.open("ab") as said:
        process = subprocess.Popen(
            [*command, *more, *quiet],
            cwd=ROOT,
            env={**site.environment, **(environment or {})},
            stdout=said,
            stderr=said,
        )
    started = Worker(process, log)
    try:
        _ready(started)
        yield started
    except BaseException:
        print(f"--- the worker {name} said:\n{started.said()}")
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def _ready(started: Worker) -> None:
    until = time.monotonic() + START_SECONDS
    while " ready." not in started.log.read_text(encoding="utf-8", errors="replace"):
        assert started.process.poll() is None, started.said()
        assert time.monotonic() < until, started.said()
        time.sleep(0.05)


def _seeding(variables: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """`tests/seed.py` in the server's project; what it complains of is in the server's log."""
    command = [sys.executable, "-m", "tests.seed"]
    with log.open("ab") as said:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        )


def _listening(process: "subprocess.Popen[bytes]", log: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("djsci serves "):
                return line.split()[2].rstrip("/")
        assert process.poll() is None, log.read_text(errors="replace")[-6000:]
        time.sleep(0.02)
    raise AssertionError(f"no answer in {START_SECONDS} s:\n{log.read_text()[-6000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    process.send_signal(signal.SIGTERM)  # the second one skips the waiting
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
