"""The stand-alone project: its settings, its demo, `make run`, and `djsci up` on both servers."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from asyncio import timeout as within
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from django.core.exceptions import ImproperlyConfigured

from asgi_project import environment
from tests import live, servers
from tests.test_documents import blocks
from tests.waiting import until

ROOT = Path(__file__).parent.parent
UP = [sys.executable, "-m", "djsci", "up"]
NOTHING_READY = '{"POOL": {"size": 0, "preload": []}}'
COPIED = ("djsci", "asgi_project", "examples", "manage.py", "Makefile", "pyproject.toml", ".ci")


def test_the_first_start_makes_one_secret_for_all(tmp_path: Path):
    path = tmp_path / "secret_key"
    barrier = threading.Barrier(8)

    def start(_: int) -> str:
        barrier.wait(10)
        return environment.secret_key(path)

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(start, range(8)))
    assert len(keys) == 1
    assert len(keys.pop()) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["secret_key"]


def test_a_damaged_secret_is_named_and_not_used(tmp_path: Path):
    (tmp_path / "secret_key").write_text("\n")
    with pytest.raises(ImproperlyConfigured, match="holds no secret key"):
        environment.secret_key(tmp_path / "secret_key")


def test_sqlite_is_used_as_a_real_deployment_needs_it(tmp_path: Path):
    settings = environment.database("", tmp_path / "da ta")
    assert settings["NAME"] == str(tmp_path / "da ta" / "db.sqlite3")
    assert settings["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in settings["OPTIONS"]["init_command"]


def test_postgresql_gets_a_pool_and_no_connection_is_kept(tmp_path: Path):
    url = "postgresql://ada:secret@127.0.0.1:5433/science"
    settings = environment.database(url, tmp_path)
    assert settings["CONN_MAX_AGE"] == 0
    assert settings["OPTIONS"]["pool"] == {"min_size": 1, "max_size": 12, "timeout": 2}
    assert "statement_timeout=30000" in settings["OPTIONS"]["options"]


def test_a_migration_may_take_its_time_but_no_lock_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import psycopg

    found = {}
    for command in ("migrate", "djsci_run"):
        monkeypatch.setattr(sys, "argv", ["manage.py", command, "--verbosity", "0"])
        with live.new_database(servers.postgres_url(), is_empty=True) as url:
            options = environment.database(url, tmp_path)["OPTIONS"]["options"]
            with psycopg.connect(url, options=options) as connection:
                found[command] = [
                    connection.execute(f"SHOW {name}_timeout").fetchone()
                    for name in ("statement", "lock")
                ]
    assert found == {"migrate": [("0",), ("5s",)], "djsci_run": [("30s",), ("5s",)]}


def manage(*arguments: str, folder: Path = ROOT, **variables: str) -> str:
    """What a Django command of the stand-alone project writes."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "asgi_project.settings", **variables},
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


def test_b4_deployed_behind_tls_django_has_nothing_to_warn_of(tmp_path: Path):
    said = manage(
        *("manage.py", "check", "--deploy", "--fail-level", "WARNING"),
        DJSCI_DATA=str(tmp_path / "data"),
        DJSCI_HTTPS="1",
        REDIS_URL="redis://127.0.0.1:1/0",
    )
    assert "no issues" in said


def test_behind_tls_metrics_and_probes_are_answered_without_it():
    """A scraper and a kubelet ask a process itself: by http, and by its address or loopback."""
    with live.server(
        "uvicorn", environment={"DJSCI_HTTPS": "1", "DJSCI_HOSTS": "127.0.0.1,10.1.2.3"}
    ) as site:
        staff = site.seed({"users": [{"name": "ada", "superuser": True}]}).bearer("ada")
        elsewhere = {**staff, "X-Forwarded-For": "10.1.2.9", "Host": "10.1.2.3:8000"}

        def status(path: str, **headers: str) -> int:
            return httpx.get(f"{site.url}/djsci/{path}", headers=headers, timeout=30).status_code

        assert [status("metrics"), status("metrics/")] == [200, 200]
        assert status("metrics", **elsewhere) == 200
        assert status("metrics", **{**elsewhere, "Authorization": "Bearer no"}) == 404
        assert status("metrics", **{**elsewhere, "Host": "10.1.2.4:8000"}) == 400
        assert status("health/ready", Host="10.1.2.3:8000") == 200
        assert [status("console/"), status("metrics/x")] == [301, 301]


def test_the_project_sets_of_celery_what_a_host_is_told_to_set():
    text = (ROOT / "asgi_project/settings.py").read_text(encoding="utf-8")
    [told] = [block for block in blocks("docs/celery.md", "python") if "CELERY_" in block]
    lines = [line for line in told.splitlines() if not line.startswith("CELERY_BROKER_URL")]
    assert len(lines) > 3
    assert [line for line in lines if f"\n{line}" not in text] == []


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a fresh clone, in a folder whose name has spaces, with this environment."""
    folder = tmp_path_factory.mktemp("fresh clone") / "of djsci"
    folder.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (folder / ".venv" / ".made").touch()
    (folder / ".venv" / ".installed").touch()
    return folder


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


class Made:
    """A running `make run`, with what it has printed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "said"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DJ")}
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                ["make", "run", f"PORT={self.port}"],
                cwd=folder,
                env={**kept, "PYTHONPATH": "", "LANG": "C", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_until_it_serves(self) -> str:
        until = time.monotonic() + 100
        while "djsci serves " not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)
        return self.said()

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to everything that the terminal started."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(60)
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)


@pytest.fixture
def make_run(clone: Path) -> Iterator[Any]:
    started: list[Made] = []

    def start() -> Made:
        started.append(Made(clone))
        return started[-1]

    yield start
    for made in started:
        if made.process.poll() is None:
            os.killpg(made.process.pid, signal.SIGKILL)
            made.process.wait(10)


def printed_calls(said: str) -> list[list[str]]:
    """The curl lines, each as its words."""
    joined = said.replace("\\\n", " ")
    return [shlex.split(line) for line in joined.splitlines() if line.strip().startswith("curl ")]


def test_make_run_prints_lines_that_answer_and_works_a_second_time(make_run: Any, clone: Path):
    first = make_run()
    said = first.wait_until_it_serves()
    calls = printed_calls(said)
    assert [answer(call) for call in calls[:2]] == [
        "heyo multiverse !!!! [notebook]",
        "heyo multiverse !!!! [python]",
    ]
    assert answer(calls[2])["result"]["total"] == "433.80"
    assert_hashed_files_are_kept_for_ever(first.port)
    assert_readmes_lines_answer(first.port, clone)
    first.interrupt()
    second = make_run()
    again = second.wait_until_it_serves().replace(f":{second.port}", f":{first.port}")
    assert demo_lines(again) == demo_lines(said)
    second.interrupt()
    for name in ("secret_key", "demo_password", "demo_token"):
        assert stat.S_IMODE((clone / "data" / name).stat().st_mode) == 0o600


def assert_hashed_files_are_kept_for_ever(port: int) -> None:
    """Those that the login page names, compressed where that is worth it."""
    site = f"http://127.0.0.1:{port}"
    page = httpx.get(f"{site}/accounts/login/").text
    for kind in ("css", "js"):
        [address] = re.findall(rf'"(/static/djsci/console\.[0-9a-f]{{12}}\.{kind})"', page)
        answer = httpx.get(site + address, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.content == (ROOT / "djsci/static/djsci" / f"console.{kind}").read_bytes()


def assert_readmes_lines_answer(port: int, clone: Path) -> None:
    """Those that use what `make run` has left in `data/`, and those that make a token."""
    lines = [text for text in blocks("README.md", "sh") if "token" in text]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DJ")}
    said = ""
    for text in lines:
        done = subprocess.run(
            ["sh", "-ec", text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")],
            cwd=clone,
            env={**kept, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    whole = ('"heyo multiverse !!!! [notebook]"', '"heyo multiverse !!!! [python]"', '"433.80"')
    assert [text for text in whole if text not in said] == []
    assert '"type":"end","state":"succeeded"' in said.replace(" ", "")
    assert re.search(r"^djsci_\w{42}$", said, re.MULTILINE)


def test_the_wheel_holds_the_console(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    [wheel] = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as held:
        for name in ("console.js", "console.css", "icon.svg"):
            path = f"djsci/static/djsci/{name}"
            assert held.read(path) == (ROOT / path).read_bytes()
        assert "djsci/templates/djsci/run_console.html" in held.namelist()
        assert not [name for name in held.namelist() if name.startswith(("frontend", "tests"))]


def demo_lines(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("  ")]


def answer(call: list[str]) -> Any:
    """The JSON that a printed curl line gets."""
    options = [*zip(call[1::2], call[2::2], strict=False)]
    headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
    body = next((value for option, value in options if option == "-d"), None)
    response = httpx.request(
        "POST" if body else "GET", call[-1], headers=headers, content=body, timeout=60
    )
    assert response.status_code == 200, response.text
    return response.json()


SITE = """
import asyncio
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

begun = asyncio.Event()

async def quick(request):
    await asyncio.wait_for(begun.wait(), 20)
    return HttpResponse("quick")

async def slow(request):
    begun.set()
    await asyncio.sleep(1)
    return HttpResponse("x" * 5_000_000)

urlpatterns = [path("quick", quick), path("slow", slow)]
"""
ASGI = "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n"


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param("daphne", signal.SIGTERM, id="daphne-SIGTERM"),
        pytest.param("uvicorn", signal.SIGINT, id="uvicorn-SIGINT"),
        pytest.param("daphne", signal.SIGINT, id="daphne-SIGINT", marks=pytest.mark.faults),
        pytest.param("uvicorn", signal.SIGTERM, id="uvicorn-SIGTERM", marks=pytest.mark.faults),
    ],
)
def test_a_signal_lets_the_request_in_flight_finish(
    kind: Any, number: signal.Signals, tmp_path: Path
):
    (tmp_path / "slow_site.py").write_text(SITE)
    (tmp_path / "slow_asgi.py").write_text(ASGI)
    settings = {"ROOT_URLCONF": "slow_site", "ASGI_APPLICATION": "slow_asgi.application"}
    with (
        live.server(kind, settings=settings, modules=tmp_path) as site,
        ThreadPoolExecutor(1) as pool,
    ):
        in_flight = pool.submit(httpx.get, f"{site.url}/slow", timeout=30)
        assert httpx.get(f"{site.url}/quick", timeout=30).text == "quick"
        assert site.stop(number) == 0, site.said()
        assert len(in_flight.result(30).content) == 5_000_000
        assert "Traceback" not in site.said()


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_second_signal_skips_the_waiting(kind: Any, tmp_path: Path):
    (tmp_path / "slow_site.py").write_text(SITE.replace("sleep(1)", "sleep(60)"))
    (tmp_path / "slow_asgi.py").write_text(ASGI)
    settings = {"ROOT_URLCONF": "slow_site", "ASGI_APPLICATION": "slow_asgi.application"}
    with (
        live.server(kind, settings=settings, modules=tmp_path) as site,
        ThreadPoolExecutor(1) as pool,
    ):
        broken = pool.submit(httpx.get, f"{site.url}/slow", timeout=50)
        assert httpx.get(f"{site.url}/quick", timeout=30).text == "quick"
        begun = time.monotonic()
        site.process.send_signal(signal.SIGTERM)
        until = begun + 20
        while "draining" not in site.said() and time.monotonic() < until:
            time.sleep(0.02)
        assert site.stop(signal.SIGTERM) == 0, site.said()
        assert time.monotonic() - begun < 25
        assert broken.exception(10) is not None or broken.result().status_code >= 500


@pytest.mark.parametrize("kind", ["uvicorn", pytest.param("daphne", marks=pytest.mark.faults)])
def test_a_lame_duck_takes_every_call_that_comes_before_a_proxy_notices(kind: Any):
    code = "def djsci_handler(request):\n    return 1\n"
    file = {"name": "one", "owner": "ada", "files": {"one.py": code}}
    with live.server(kind, options=["--lame-duck", "3"]) as site:
        ada = site.seed({"users": [{"name": "ada"}], "files": [file]}).bearer("ada")
        with httpx.Client(base_url=f"{site.url}/djsci", headers=ada, timeout=30) as http:
            assert http.get("/health/ready").status_code == 200
            site.process.send_signal(signal.SIGTERM)
            statuses = []
            until = time.monotonic() + 20
            while http.get("/health/ready").status_code == 200 and time.monotonic() < until:
                statuses.append(http.get("/call/one/").status_code)
            statuses.append(http.get("/call/one/").status_code)
        assert set(statuses) == {200}
        assert site.process.wait(60) == 0, site.said()


def test_a_second_signal_ends_a_lame_duck():
    with live.server(options=["--lame-duck", "600"]) as site:
        site.process.send_signal(signal.SIGTERM)
        until(lambda: "leaving" in site.said())
        assert site.stop(signal.SIGTERM) == 0, site.said()


def test_a_taken_port_is_an_error_and_not_a_silent_server(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for kind in ("daphne", "uvicorn"):
            done = subprocess.run(
                [*UP, "--server", kind, "--port", str(taken.getsockname()[1])],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DJSCI_DATA": str(tmp_path / "data"),
                    "DJANGO_SETTINGS_MODULE": "asgi_project.settings",
                    "DJSCI_OPTIONS": NOTHING_READY,
                },
                capture_output=True,
                timeout=60,
            )
            assert done.returncode not in (0, -9)
            assert "in use" in done.stderr.decode().lower()
            assert b"serves" not in done.stdout


def test_the_project_has_a_login_an_admin_and_static_files():
    with live.server("uvicorn") as site, httpx.Client(base_url=site.url, timeout=30) as client:
        seeded = site.seed({"users": [{"name": "ada", "superuser": True}]})
        assert client.get("/").headers["location"].endswith("djsci/console/")
        page = client.get("/accounts/login/")
        assert page.status_code == 200
        style = client.get("/static/djsci/console.css")
        assert style.status_code == 200
        assert "access-control-allow-origin" not in style.headers
        assert client.get("/static/admin/css/base.css").status_code == 200
        signed_in = client.post(
            "/accounts/login/",
            data={
                "username": "ada",
                "password": "ada",
                "csrfmiddlewaretoken": client.cookies["csrftoken"],
            },
        )
        assert signed_in.status_code == 302
        assert client.get("/admin/").status_code == 200
        client.cookies.clear()
        assert client.get("/admin/").status_code == 302
        assert httpx.get(f"{site.url}/admin/", cookies=seeded.cookies("ada")).status_code == 200
        assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400


def test_five_failed_logins_make_an_address_wait_and_successes_do_not_count():
    with live.server("daphne") as site, httpx.Client(base_url=site.url, timeout=30) as client:
        site.seed({"users": [{"name": "ada"}]})
        assert client.get("/static/djsci/console.css").status_code == 200

        def sign_in(password: str) -> int:
            client.cookies.clear()
            client.get("/accounts/login/")
            token = client.cookies["csrftoken"]
            form = {"username": "ada", "password": password, "csrfmiddlewaretoken": token}
            return client.post("/accounts/login/", data=form).status_code

        assert [sign_in("ada") for _ in range(6)] == [302] * 6
        assert [sign_in("guess") for _ in range(5)] == [200] * 5
        assert sign_in("ada") == 429
        assert client.get("/admin/login/").headers["location"].startswith("/accounts/login/")


WALK = """
import time

def djsci_handler(request, seconds: float = 60):
    print("begun", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)
    return "arrived"
"""


def walking(site: live.Site) -> live.Seeded:
    """A file that walks for as long as it is told to."""
    return site.seed(
        {
            "users": [{"name": "ada"}],
            "files": [{"name": "walk", "owner": "ada", "files": {"walk.py": WALK}}],
        }
    )


@pytest.mark.parametrize("kind", [pytest.param("daphne", marks=pytest.mark.faults), "uvicorn"])
async def test_draining_tells_sockets_to_come_back_and_lets_runs_end(kind: Any):
    with (
        live.server(
            kind, settings={"DJSCI": {"DRAIN": 20}}, intervals={"drain_jitter": 0.1}
        ) as site,
        ThreadPoolExecutor(2) as pool,
    ):
        headers = walking(site).bearer("ada")
        async with (
            within(60),
            websockets.connect(
                f"{site.socket_url}/djsci/ws/call/walk/", additional_headers=headers
            ) as connection,
        ):
            await connection.send(json.dumps({"type": "start", "parameters": {"seconds": 3}}))
            frames = []
            while "begun" not in str(frames):
                frames.append(json.loads(await connection.recv()))
            stopped = pool.submit(site.stop)
            with suppress(websockets.ConnectionClosed):
                while True:
                    frames.append(json.loads(await connection.recv()))
        assert connection.close_code == 4410, site.said()
        assert frames[-1]["code"] == "draining"
        assert stopped.result(60) == 0, site.said()
        [run] = [frame["run"] for frame in frames if frame["type"] == "started"]
        assert state_of(site, run) == ("succeeded", "")


def state_of(site: live.Site, run: str) -> tuple[str, str]:
    """The state and the reason that the database holds, the server being gone."""
    code = f"from djsci.models import Run\nrun = Run.objects.get(pk={run!r})"
    state, reason = site.execute(f"{code}\nanswer = [run.state, run.reason]")
    return state, reason


def test_the_project_runs_on_uvicorn_postgresql_and_redis():
    with (
        servers.valkey_url() as redis,
        live.server("uvicorn", database=servers.postgres_url(), redis=redis) as site,
    ):
        headers = walking(site).bearer("ada")
        url = f"{site.url}/djsci/sync_py/walk/?seconds=0"
        assert httpx.get(url, headers=headers, timeout=60).json() == "arrived"
        wrong = {"Authorization": "Bearer djsci_nonsense"}
        codes = {httpx.get(url, headers=wrong, timeout=60).status_code for _ in range(12)}
        assert codes == {401, 429}  # counted in Redis, as JSON
        assert site.stop() == 0, site.said()
