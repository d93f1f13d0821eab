"""Which level `auto` picks, and that nothing runs below a level that was asked for."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from djsci.core.errors import IsolationUnavailable
from djsci.engines import registry
from djsci.isolation import bwrap, probe
from tests.isolation.conftest import need

ROOT = Path(__file__).parent.parent.parent
# What a server finds that is nobody special, where user namespaces are switched off.
UNPRIVILEGED = (
    *("--unshare-user", "--disable-userns", "--uid", "4711", "--gid", "4711", "--cap-drop", "ALL"),
    *("--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/dev/shm"),  # noqa: S108
)
SCRIPT = r"""
import asyncio, json, os, subprocess, sys
from contextlib import aclosing
sys.path.insert(0, sys.argv[1])
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "djsci"])
import django; django.setup()
from djsci.core import events, sources
from djsci.core.errors import IsolationUnavailable
from djsci.engines import registry
from djsci.engines.base import Limits, Stop
from djsci.engines.fork import ForkEngine
from djsci.guest.requests import HandlerRequest
from djsci.isolation import probe, process

CODE = b'''
import os, socket
def djsci_handler(request):
    found = [os.getuid()]
    for what in (lambda: open("/etc/hostname"), lambda: os.listdir("/root"),
                 lambda: socket.create_connection(("127.0.0.1", 9), 1)):
        try:
            what()
        except OSError as error:
            found.append(type(error).__name__)
    return found
'''

def read_ours():
    # what a child of ours, of the same user, can read of us
    code = (
        "import os, sys\nfound = []\n"
        "for name in ('environ', 'mem', 'maps'):\n"
        "    try:\n"
        "        open(f'/proc/{os.getppid()}/{name}', 'rb').read(1)\n"
        "        found.append(name)\n"
        "    except OSError: pass\n"
        "print(*found)"
    )
    argv = [sys.executable, "-I", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True).stdout.split()

async def run(level):
    engine = ForkEngine(size=0, isolation=level)
    await engine.open()
    source = sources.read("code.py", {"code.py": CODE})
    said = []
    run = engine.execute(source, HandlerRequest(), limits=Limits(), stop=Stop())
    async with aclosing(run) as heard:
        said = [event async for event in heard]
    await engine.close()
    return [e.value.text for e in said if isinstance(e, events.Result)] + [said[-1].state]

found = {"bwrap": probe.probe("bwrap"), "level": registry.level()}
found["run"] = asyncio.run(run(found["level"]))
try:
    asyncio.run(run("bwrap"))
except IsolationUnavailable as error:
    found["refused"] = error.code
try:
    registry.level("bwrap")
except IsolationUnavailable as error:
    found["file"] = error.code
found["before"] = read_ours()
process.hide()
found["after"] = read_ours()
print(json.dumps(found))
"""


def test_an_unprivileged_server_without_user_namespaces_has_landlock_and_refuses_bwrap() -> None:
    need("landlock")
    need("bwrap")
    argv = [bwrap.find(), *UNPRIVILEGED, "--", sys.executable, "-c", SCRIPT, str(ROOT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert "user namespaces" in found["bwrap"]
    assert found["level"] == "landlock"
    result, state = found["run"]
    assert (json.loads(result), state) == (
        [4711, "PermissionError", "PermissionError", "PermissionError"],
        "succeeded",
    )
    assert ("environ" in found["before"], found["after"]) == (True, [])
    assert (found["refused"], found["file"]) == ("isolation_unavailable", "isolation_unavailable")


@pytest.fixture
def _no_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What probes would find where neither wall holds."""
    now = time.monotonic()
    known = dict.fromkeys(("bwrap", "landlock"), (now, "There is none."))
    monkeypatch.setattr(probe, "_known", known)


@pytest.mark.usefixtures("_no_walls")
def test_a_refusal_hides_the_reason_that_the_log_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with override_settings(DEBUG=False, DJSCI={"ISOLATION": "landlock"}):
        with pytest.raises(IsolationUnavailable) as refused:
            registry.level()
        assert "There is none." not in refused.value.detail
        assert "There is none." in caplog.text


@pytest.mark.usefixtures("_no_walls")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DEBUG": False}, None),
        ({"DEBUG": True, "ALLOWED_HOSTS": ["example.test"]}, None),
        ({"DEBUG": True, "ALLOWED_HOSTS": ["127.0.0.1", "example.test"]}, None),
        ({"DEBUG": True, "ALLOWED_HOSTS": ["*"]}, None),
        ({"DEBUG": True, "ALLOWED_HOSTS": []}, "process"),
        ({"DEBUG": False, "DJSCI": {"ISOLATION": "process"}}, "process"),
        ({"DEBUG": True, "DJSCI": {"ISOLATION": "landlock"}}, None),
        ({"DEBUG": True, "DJSCI": {"ISOLATION": "bwrap"}}, None),
        ({"DEBUG": True, "DJSCI": {"ISOLATION": "moat"}}, None),
    ],
    ids=str,
)
def test_without_a_wall_nothing_runs_unasked(settings: dict[str, Any], expected: str | None):
    with override_settings(**{"ALLOWED_HOSTS": ["127.0.0.1"], **settings}):
        if expected is None:
            with pytest.raises(IsolationUnavailable):
                registry.level()
            return
        assert registry.level() == expected
        choice = registry.Choice(engine="fork", isolation=expected)
        assert (choice.warning is None) == ("DJSCI" in settings)
        with pytest.raises(IsolationUnavailable):
            registry.level("landlock")


def test_a_file_asks_for_more_isolation_and_never_for_less() -> None:
    need("landlock")
    need("bwrap")
    with override_settings(DJSCI={"ISOLATION": "landlock"}):
        assert registry.level() == "landlock"
        assert registry.level("process") == "landlock"
        assert registry.level("bwrap") == "bwrap"
    with override_settings(DJSCI={"ISOLATION": "process"}):
        assert registry.level("landlock") == "landlock"


def test_an_old_answer_is_renewed_beside_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    old = (time.monotonic() - probe.HOURLY - 1, "an old answer")
    monkeypatch.setitem(probe._known, "process", old)
    assert probe.probe("process") == "an old answer"
    until = time.monotonic() + 10
    while probe.probe("process") is not None:
        assert time.monotonic() < until
