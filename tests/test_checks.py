"""Each system check speaks when its mistake is made, is silent otherwise, and is documented."""

import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import celery
import pytest
from django.conf import settings as now
from django.conf.urls.static import static
from django.core import checks
from django.test import override_settings

from djsci.checks import check, check_hosts, check_walls
from djsci.isolation import probe

ROOT = Path(__file__).parent.parent
POSTGRES = {"default": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 0}}
SQLITE = {"default": {**now.DATABASES["default"], "OPTIONS": {}}}
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
PUBLIC = {
    **now.STORAGES,
    "public": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": "/srv/static/files"},
    },
}


def ids() -> set[str]:
    return {str(message.id) for message in [*check(None), *check_hosts(None)]}


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes `DATABASES` out of settings and sets it: Django warns of overriding it."""

    def put(settings: dict[str, Any]) -> None:
        monkeypatch.setattr(now, "DATABASES", settings.pop("DATABASES", now.DATABASES))

    return put


def test_the_settings_of_the_tests_are_good():
    assert ids() <= {"djsci.W001"}


def test_the_checks_are_registered():
    assert {message.id for message in checks.run_checks(tags=["djsci"])} <= {"djsci.W001"}
    with override_settings(DJSCI={"NO_SUCH_KEY": 1}):
        found = checks.run_checks(tags=["djsci"])
    assert [message.id for message in found] == ["djsci.E001"]
    with override_settings(ALLOWED_HOSTS=["*"]):
        deployed = checks.run_checks(tags=["djsci"], include_deployment_checks=True)
        assert "djsci.E009" not in {message.id for message in checks.run_checks(tags=["djsci"])}
    assert "djsci.E009" in {message.id for message in deployed}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DJSCI": {"NO_SUCH_KEY": 1, "LEASE": 1}}, "djsci.E001"),
        ({"DJSCI": ["TIMEOUT"]}, "djsci.E002"),
        ({"DJSCI": {"TIMEOUT": "300"}}, "djsci.E002"),
        ({"DJSCI": {"TIMEOUT": 0}}, "djsci.E002"),
        ({"DJSCI": {"RETRIES": -1}}, "djsci.E002"),
        ({"DJSCI": {"ARTIFACT_LIMIT": "1 GiB"}}, "djsci.E002"),
        ({"DJSCI": {"TIMEOUT": float("inf")}}, "djsci.E002"),
        ({"DJSCI": {"GRACE": float("nan")}}, "djsci.E002"),
        ({"DJSCI": {"RETRIES": 1.5}}, "djsci.E002"),
        ({"DJSCI": {"QUEUE": 1.5}}, "djsci.E002"),
        ({"DJSCI": {"RUNNING": 1.5}}, "djsci.E002"),
        ({"DJSCI": {"PIDS_LIMIT": 1.5}}, "djsci.E002"),
        ({"DJSCI": {"UPLOAD_LIMIT": 1e6}}, "djsci.E002"),
        ({"DJSCI": {"QUEUES": []}}, "djsci.E002"),
        ({"DJSCI": {"QUEUES": ["default", ""]}}, "djsci.E002"),
        ({"DJSCI": {"QUEUES": ["gpu"]}}, "djsci.W011"),
        ({"DJSCI": {"POOL": {"sise": 3}}}, "djsci.E001"),
        ({"DJSCI": {"POOL": {"size": "x"}}}, "djsci.E002"),
        ({"DJSCI": {"POOL": {"size": -1}}}, "djsci.E002"),
        ({"DJSCI": {"POOL": {"preload": "numpy"}}}, "djsci.E002"),
        ({"DJSCI": {"POOL": {"recycle": 0}}}, "djsci.E002"),
        ({"DJSCI": {"POOL": 3}}, "djsci.E002"),
        ({"DJSCI": {"RETENTION": {"log": 3}}}, "djsci.E001"),
        ({"DJSCI": {"RETENTION": {"logs": "x"}}}, "djsci.E002"),
        ({"DJSCI": {"RETENTION": {"logs": -1}}}, "djsci.E002"),
        ({"DJSCI": {"RETENTION": {"runs": True}}}, "djsci.E002"),
        ({"DJSCI": {"RUNNING": True}}, "djsci.E002"),
        ({"DJSCI": {"ALLOWED_ORIGINS": "https://a.test"}}, "djsci.E002"),
        ({"DJSCI": {"ENGINES": "kernel"}}, "djsci.E002"),
        ({"DJSCI": {"TRUSTED_PROXIES": ["10.0.0.0/8", "proxy"]}}, "djsci.E003"),
        ({"DJSCI": {"ALLOWED_ORIGINS": ["https://a.test/"]}}, "djsci.E004"),
        ({"DJSCI": {"ALLOWED_ORIGINS": ["*"]}}, "djsci.E004"),
        ({"DJSCI": {"ENGINES": {"py": "thread"}}}, "djsci.E005"),
        ({"DJSCI": {"ENGINES": {"ipynb": "rocket"}}}, "djsci.E006"),
        ({"DJSCI": {"ISOLATION": "moat"}}, "djsci.E007"),
        ({"DJSCI": {"LEASE": 14.9, "HEARTBEAT": 5}}, "djsci.E008"),
        ({"ALLOWED_HOSTS": ["127.0.0.1", "*"]}, "djsci.E009"),
        ({"DJSCI": {"DISPATCHER": "pigeons"}}, "djsci.E010"),
        ({"DJSCI": {"DISPATCHER": "djsci.runs.dispatch.Bell"}}, "djsci.E010"),
        ({"DJSCI": {"STORAGE": "attic"}}, "djsci.E011"),
        ({"DATABASES": {"default": {**POSTGRES["default"], "CONN_MAX_AGE": 60}}}, "djsci.E012"),
        ({"DATABASES": {"default": {**POSTGRES["default"], "CONN_MAX_AGE": None}}}, "djsci.E012"),
        ({"DJSCI": {"ENVIRONMENTS": {"a": "/nowhere"}}}, "djsci.E021"),
        ({"DJSCI": {"PEP723": {}}}, "djsci.E023"),
        ({"DJSCI": {"PEP723": "https://index.test"}}, "djsci.E023"),
        ({"DJSCI": {"PEP723": {"find_links": "/srv/wheels"}}}, "djsci.E023"),
        ({"DJSCI": {"PEP723": {"index": "https://a.test", "indexes": []}}}, "djsci.E023"),
        ({"DJSCI": {"PEP723": {"index": "https://a.test", "folder": "here"}}}, "djsci.E023"),
        ({"DJSCI": {"PEP723": {"index": "https://a.test", "timeout": 0}}}, "djsci.E023"),
        ({"DJSCI": {"PEP723": {"index": "https://a.test", "total": 1 << 30}}}, "djsci.E023"),
        ({"DJSCI": {"PEP723": {"index": "https://a.test", "pythons": ["/no"]}}}, "djsci.E023"),
        (
            {
                "DJSCI": {"PEP723": {"index": "https://a.test", "folder": "/m/e"}},
                "MEDIA_ROOT": "/m",
            },
            "djsci.E023",
        ),
        ({"DJSCI": {"CONTAINER": {"imag": "x"}}}, "djsci.E024"),
        ({"DJSCI": {"UID_RANGE": 62464}}, "djsci.E022"),
        ({"DJSCI": {"UID_RANGE": (0, 100)}}, "djsci.E022"),
        ({"DJSCI": {"UID_RANGE": (63000, 62000)}}, "djsci.E022"),
        ({"DJSCI": {"CONNECTIONS": {"open": {}}}}, "djsci.E020"),
        ({"DJSCI": {"CONNECTIONS": {"a": []}}}, "djsci.E020"),
        ({"DJSCI": {"CONNECTIONS": {"a": {"host": ["b:1"]}}}}, "djsci.E020"),
        ({"DJSCI": {"CONNECTIONS": {"a": {"hosts": "b:1"}}}}, "djsci.E020"),
        ({"DJSCI": {"CONNECTIONS": {"a": {"hosts": ["b"]}}}}, "djsci.E020"),
        ({"DJSCI": {"CONNECTIONS": {"a": {"env": {"A=B": "c"}}}}}, "djsci.E020"),
        ({"DJSCI": {"CONNECTIONS": {"a": {"env": {"A": 1}}}}}, "djsci.E020"),
        (
            {"DJSCI": {"CONNECTIONS": {"a": {"hosts": ["b:1"]}}, "ISOLATION": "landlock"}},
            "djsci.W010",
        ),
        ({"ALLOWED_HOSTS": ["example.test"], "DJSCI": {"ISOLATION": "process"}}, "djsci.W001"),
        ({"CHANNEL_LAYERS": IN_MEMORY, "DATABASES": POSTGRES}, "djsci.W004"),
        (
            {
                "STORAGES": PUBLIC,
                "DJSCI": {"STORAGE": "public"},
                "STATICFILES_DIRS": [("p", "/srv/static")],
            },
            "djsci.W005",
        ),
        ({"USE_TZ": False}, "djsci.W006"),
    ],
    ids=str,
)
def test_a_mistake_is_named(settings: dict[str, Any], expected: str, databases: Any):
    databases(settings)
    with override_settings(**{"ALLOWED_HOSTS": ["127.0.0.1"], **settings}):
        assert ids() == {expected}


GOOD = {
    "broker_url": "redis://127.0.0.1:1",
    "worker_prefetch_multiplier": 1,
    "accept_content": ["json"],
}
SHARED = {
    "DJSCI": {"DISPATCHER": "celery"},
    "DATABASES": POSTGRES,
    "STORAGES": {**now.STORAGES, "default": {"BACKEND": "tests.shared_storage.SharedFolder"}},
}


@pytest.mark.parametrize(
    ("settings", "chosen", "expected"),
    [
        ({}, {}, set()),
        ({"CHANNEL_LAYERS": IN_MEMORY}, {}, {"djsci.W004"}),
        ({"CHANNEL_LAYERS": IN_MEMORY, "DEBUG": True}, {}, {"djsci.W004"}),
        ({"DATABASES": now.DATABASES}, {}, {"djsci.W031"}),
        ({"STORAGES": now.STORAGES}, {}, {"djsci.W032"}),
        ({}, {"worker_prefetch_multiplier": 4}, {"djsci.W034"}),
        ({}, {"accept_content": ["json", "pickle"]}, {"djsci.W034"}),
        ({}, {"task_time_limit": 600}, {"djsci.W034"}),
        ({}, {"task_reject_on_worker_lost": True}, {"djsci.W034"}),
        (
            {},
            {"worker_cancel_long_running_tasks_on_connection_loss": True},
            {"djsci.W034"},
        ),
        ({"DJSCI": {"DISPATCHER": "celery", "TIMEOUT": 1501}}, {}, set()),
        (
            {"DJSCI": {"DISPATCHER": "celery", "TIMEOUT": 1501}},
            {"broker_url": "amqp://127.0.0.1"},
            {"djsci.W035"},
        ),
        (
            {"DJSCI": {"DISPATCHER": "celery", "TIMEOUT": 1000, "PEP723": {"index": "https://x"}}},
            {"broker_url": "amqp://127.0.0.1"},
            {"djsci.W035"},
        ),
        ({}, {"broker_url": "amqp://127.0.0.1"}, set()),
    ],
    ids=str,
)
def test_what_celery_would_do_wrong_is_named(
    settings: dict[str, Any], chosen: dict[str, Any], expected: set[str], databases: Any
):
    before = celery.current_app._get_current_object()
    app = celery.Celery("checked", fixups=[], set_as_current=False)
    app.conf.update({**GOOD, **chosen})
    settings = {**SHARED, **settings}
    databases(settings)
    app.set_current()
    try:
        with override_settings(**{"ALLOWED_HOSTS": ["127.0.0.1"], **settings}):
            assert ids() == expected
    finally:
        before.set_current()


def test_celery_without_an_application_or_not_installed_is_named(
    databases: Any, monkeypatch: pytest.MonkeyPatch
):
    settings = dict(SHARED)
    databases(settings)
    with override_settings(**settings):
        assert ids() == {"djsci.W033"}
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert ids() == {"djsci.E030"}


def test_sqlite_as_django_sets_it_up_is_warned_about(databases: Any):
    databases({"DATABASES": SQLITE})
    with override_settings(ALLOWED_HOSTS=[]):
        assert ids() == {"djsci.W002", "djsci.W003"}


@pytest.mark.parametrize(
    "settings",
    [
        {"DJSCI": {"LEASE": 15, "HEARTBEAT": 5}},
        {"ALLOWED_HOSTS": ["example.test"]},
        {"ALLOWED_HOSTS": ["*"], "DEBUG": True},
        {"DJSCI": {"ISOLATION": "process"}},
        {"ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]", "app.localhost", ".localhost"]},
        {"CHANNEL_LAYERS": IN_MEMORY},
        {"CHANNEL_LAYERS": IN_MEMORY, "DATABASES": POSTGRES, "DEBUG": True},
        {
            "ASGI_APPLICATION": None,
            "DATABASES": {"default": {**POSTGRES["default"], "CONN_MAX_AGE": 60}},
        },
        {"STATIC_ROOT": "/srv/static"},
        {"DJSCI": {"POOL": {"size": 0, "preload": None}, "RETENTION": {"logs": 0, "runs": None}}},
        {"DJSCI": {"QUEUES": ("gpu", "default"), "GRACE": 0.5, "RETRIES": 0, "TIMEOUT": 1.5}},
        {"DJSCI": {"UID_RANGE": [70000, 70100]}},
        {"MEDIA_URL": "/media/"},
        {"DJSCI": {"ALLOWED_ORIGINS": ["https://a.test"], "TRUSTED_PROXIES": ["10.0.0.1", "::1"]}},
    ],
    ids=str,
)
def test_what_is_right_is_left_alone(settings: dict[str, Any], databases: Any):
    databases(settings)
    with override_settings(**{"ALLOWED_HOSTS": ["127.0.0.1"], **settings}):
        assert ids() == set()


@pytest.mark.parametrize(("root", "expected"), [(None, {"djsci.W005"}), ("/srv/other", set())])
def test_serving_the_media_folder_is_warned_about(root: str | None, expected: set[str]):
    with override_settings(DEBUG=True, MEDIA_URL="/media/", ALLOWED_HOSTS=[]):
        urls = ModuleType("urls")
        urls.urlpatterns = static("/media/", document_root=root or now.MEDIA_ROOT)  # type: ignore[attr-defined]
        with override_settings(ROOT_URLCONF=urls):
            assert ids() == expected


@pytest.mark.parametrize("changed", [{"STATIC_URL": None}, {"STATICFILES_FINDERS": []}], ids=str)
def test_a_console_without_its_files_is_warned_about(changed: dict[str, Any]):
    with override_settings(ALLOWED_HOSTS=[], **changed):
        assert ids() == {"djsci.W008"}


@pytest.mark.parametrize(
    ("level", "expected"),
    [("bwrap", {"djsci.E013"}), ("auto", {"djsci.W007"}), ("process", set())],
)
def test_a_bubblewrap_that_is_none_is_named(
    level: str, expected: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    fake(tmp_path, "echo 'wrapper of bubbles'", monkeypatch)
    with override_settings(ALLOWED_HOSTS=["127.0.0.1"], DJSCI={"ISOLATION": level}):
        assert ids() == expected


def test_a_deployment_tries_whether_the_level_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A bubblewrap that lets everything through."""
    script = 'test "$1" = --version && echo bubblewrap 0.9.0 && exit; exit 1'
    with override_settings(DJSCI={"ISOLATION": "process"}):
        assert check_walls(None) == []
    fake(tmp_path, script, monkeypatch)
    monkeypatch.setattr(probe, "_known", {})
    with override_settings(DJSCI={"ISOLATION": "bwrap"}):
        [message] = check_walls(None)
    assert (message.id, "bwrap" in str(message.hint)) == ("djsci.E014", True)


def fake(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program `bwrap` before the real one."""
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_every_check_is_documented_and_tried():
    names = ("checks.py", "served.py", "brokers.py", "walled.py", "setting_values.py")
    text = "".join((ROOT / "djsci" / name).read_text() for name in names)
    known = set(re.findall(r"djsci\.[EW]\d{3}", text))
    documented = re.findall(r"^\| `(djsci\.[EW]\d{3})` \|", documents(), re.MULTILINE)
    assert len(known) > 10
    assert known == set(documented)
    assert len(documented) == len(known)
    assert known <= set(re.findall(r"djsci\.[EW]\d{3}", Path(__file__).read_text()))


def documents() -> str:
    return (ROOT / "docs" / "checks.md").read_text()
