"""The audit: a row for each change of a privilege or of content, with it or not at all."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, connection
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from asgi_project import login
from djsci import cli
from djsci.access import tokens
from djsci.models import Audit, PrivateFile, Run, Token
from djsci.routing import application
from tests.access.conftest import dump
from tests.conftest import MakeFile
from tests.test_admin import FILES, change
from tests.web.conftest import MakeRun, make_run  # noqa: F401 - a fixture

CODE = "def djsci_handler(request):\n    return 1\n"
JSON = "application/json"
API, CONSOLE, ADMIN = "/djsci/api/v1/", "/djsci/console/", "/admin/djsci/"


class Site:
    """The superuser ada, by cookie and by token; a file of hers, and bob's run of it."""

    def __init__(self, make_file: MakeFile, make_a_run: MakeRun, ada: Any) -> None:
        self.make_file, self.make_a_run, self.ada = make_file, make_a_run, ada
        self.bob = get_user_model().objects.create_user("bob")
        self.group = Group.objects.create(name="lab")
        self.browser = Client(raise_request_exception=False)
        self.browser.force_login(ada)
        self.used, secret = tokens.make(ada, "used", tokens.SCOPES)
        self.bearer = f"Bearer {secret}"
        self.program = Client(raise_request_exception=False, headers={"Authorization": self.bearer})
        self.program.get(f"{API}files/")  # its first use is noted
        self.renew()

    def renew(self) -> None:
        self.file = self.make_file(CODE, engine="auto")
        self.run = self.make_a_run(self.file, user=self.bob, state="queued")
        self.token = tokens.make(self.ada, "made", ("run",), [self.file])[0]

    @property
    def path(self) -> str:
        return f"{API}files/{self.file.pk}/"

    @property
    def page(self) -> str:
        return f"{CONSOLE}files/{self.file.pk}/"


def part(name: str = "handler.py", content: str = f"{CODE}# new\n") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode())


def socket_cancel(site: Site) -> None:
    """Cancel over the run's socket, until it closes or says that it failed."""

    async def say() -> None:
        header = (b"authorization", site.bearer.encode())
        path = f"/djsci/ws/runs/{site.run.pk}/"
        socket = WebsocketCommunicator(
            application(None), path, headers=[header, (b"host", b"testserver")]
        )
        socket.scope["client"] = ["127.0.0.1", 1]
        assert (await socket.connect(10))[0]
        assert (await socket.receive_json_from(10))["type"] == "hello"
        await socket.send_json_to({"type": "cancel"})
        said: dict[str, Any] = {"type": "", "text": ""}
        while said["type"] != "websocket.close" and '"error"' not in said["text"]:
            said = await socket.receive_output(10)
        await socket.disconnect()

    async_to_sync(say)()


def settings_form(site: Site) -> Any:
    sent = {"access": "authenticated", "users": "bob", "groups": "lab", "name": site.file.name}
    return site.browser.post(f"{site.page}settings/", sent)


def admin_change(site: Site) -> Any:
    more = {"owner": str(site.bob.pk), "trusted": "on", "granted_users": str(site.bob.pk)}
    return change(site.browser, site.file, **more, access="authenticated")


def put(site: Site) -> Any:
    body = encode_multipart(BOUNDARY, {"file": part()})
    return site.program.put(site.path, body, MULTIPART_CONTENT)


def told(client: Client, path: str, value: Any, method: str = "post") -> Any:
    return getattr(client, method)(path, value, content_type=JSON)


PRIVILEGES = {"access": "authenticated", "settings": {"connections": ["warehouse"]}}
TRUST = {"settings": {"trusted": True, "engine": "thread"}}
TOKEN = {"name": "t", "scopes": ["run"]}
UPLOAD = {"name": "a new one", "access": "authenticated"}

# What is done, the audit's actions for it, about what: a token says which when by the token.
CHANGES: dict[str, tuple[Callable[[Site], Any], str, str]] = {
    "api: upload": (
        lambda site: site.program.post(f"{API}files/", {"file": part(), "name": "api"}),
        "upload",
        "new file by token",
    ),
    "api: replace": (put, "upload", "file by token"),
    "api: delete": (lambda site: site.program.delete(site.path), "delete", "file by token"),
    "api: privileges": (
        lambda site: told(site.browser, site.path, PRIVILEGES, "patch"),
        "access, connections",
        "file",
    ),
    "api: trust": (
        lambda site: told(site.browser, site.path, TRUST, "patch"),
        "trusted, engine",
        "file",
    ),
    "api: token": (lambda site: told(site.browser, f"{API}tokens/", TOKEN), "token", "new token"),
    "api: revoke": (
        lambda site: site.browser.delete(f"{API}tokens/{site.token.pk}/"),
        "token revoked",
        "token",
    ),
    "api: cancel": (
        lambda site: told(site.program, f"{API}runs/{site.run.pk}/cancel/", {}),
        "cancel",
        "run by token",
    ),
    "socket: cancel": (socket_cancel, "cancel", "run by token"),
    "console: upload": (
        lambda site: site.browser.post(f"{CONSOLE}files/new/", {"file": part(), **UPLOAD}),
        "access, upload",
        "new file",
    ),
    "console: replace": (
        lambda site: site.browser.post(f"{site.page}versions/", {"file": part()}),
        "upload",
        "file",
    ),
    "console: restore": (
        lambda site: site.browser.post(
            f"{site.page}versions/restore/", {"version": site.file.version.sha256}
        ),
        "upload",
        "file",
    ),
    "console: access and grants": (settings_form, "access, grant", "file"),
    "console: delete": (
        lambda site: site.browser.post(f"{site.page}settings/delete/"),
        "delete",
        "file",
    ),
    "console: token": (
        lambda site: site.browser.post(f"{CONSOLE}tokens/", TOKEN),
        "token",
        "new token",
    ),
    "console: revoke": (
        lambda site: site.browser.post(f"{CONSOLE}tokens/{site.token.pk}/revoke/"),
        "token revoked",
        "token",
    ),
    "console: cancel": (
        lambda site: site.browser.post(f"{CONSOLE}runs/{site.run.pk}/cancel/"),
        "cancel",
        "run",
    ),
    "console: cancel many": (
        lambda site: site.browser.post(f"{CONSOLE}runs/cancel/", {"run": [site.run.pk]}),
        "cancel",
        "run",
    ),
    "admin: upload": (
        lambda site: site.browser.post(f"{FILES}add/", {"file": part(), "name": "admin"}),
        "upload",
        "new file",
    ),
    "admin: privileges": (admin_change, "access, trusted, owner, grant", "file"),
    "admin: delete": (
        lambda site: site.browser.post(f"{FILES}{site.file.pk}/delete/", {"post": "yes"}),
        "delete",
        "file",
    ),
    "admin: token": (
        lambda site: site.browser.post(f"{ADMIN}token/add/", {**TOKEN, "files": ""}),
        "token",
        "new token",
    ),
    "admin: revoke": (
        lambda site: site.browser.post(
            f"{ADMIN}token/", {"action": "revoke", "_selected_action": [site.token.pk]}
        ),
        "token revoked",
        "token",
    ),
    "admin: delete a run": (
        lambda site: site.browser.post(f"{ADMIN}run/{site.run.pk}/delete/", {"post": "yes"}),
        "delete",
        "run",
    ),
    "command: token": (
        lambda site: cli.main(["token", "make", "--user", "ada"]),
        "token",
        "new token by nobody",
    ),
    "command: revoke": (
        lambda site: cli.main(["token", "revoke", site.token.pk]),
        "token revoked",
        "token by nobody",
    ),
}


@contextmanager
def without(table: str) -> Iterator[None]:
    """A table can neither be read nor written."""

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename(table, "away")
    try:
        yield
    finally:
        rename("away", table)


@pytest.fixture
def site(make_file: MakeFile, make_run: MakeRun, user: Any, settings: Any) -> Site:  # noqa: F811
    settings.DJSCI = {
        "CONNECTIONS": {"warehouse": {}},
        "ISOLATION": "process",
        "POOL": {"size": 0, "preload": []},
    }
    return Site(make_file, make_run, user)


def test_l1_each_change_is_in_the_audit_or_it_is_not_made(site: Site) -> None:
    """Who, what, of which version, from where, by which token; in the transaction of the change."""
    for title, (do, actions, about) in CHANGES.items():
        site.renew()
        if "delete" in title:  # of a live run there is nothing to delete
            Run.objects.filter(pk=site.run.pk).update(state="succeeded")
        with without("djsci_audit"):
            before = dump()
            with suppress(DatabaseError):
                do(site)
            assert dump() == before, title

        last = Audit.objects.count()
        do(site)
        rows = list(Audit.objects.order_by("pk")[last:])
        assert [row.action for row in rows] == actions.split(", "), title
        for row in rows:
            assert_says(site, row, about, title)


def assert_says(site: Site, row: Audit, about: str, title: str) -> None:
    kind, _, way = about.removeprefix("new ").partition(" by ")
    by = (site.ada.pk, "ada", "127.0.0.1")
    assert (row.user_id, row.detail.get("by"), row.address) == (
        (None, None, "") if way == "nobody" else by
    ), title
    assert row.token == (site.used.pk if way == "token" else ""), title
    if not about.startswith("new "):
        assert row.subject == getattr(site, kind).pk, title
    if kind == "token":
        made = Token.objects.get(pk=row.subject)
        files = [site.file.pk] if made.is_limited_to_files else None
        assert row.detail.items() >= {"user": "ada", "scopes": made.scopes, "files": files}.items()
        return
    renewed = PrivateFile.objects.filter(pk=row.subject).first()
    present = (renewed or site.file).version
    assert present
    assert row.detail["version"] == present.sha256, title


def test_l1_rows_stay_as_they_were_written(site: Site) -> None:
    """Not even their user's end takes away who it was."""
    told(site.program, f"{API}runs/{site.run.pk}/cancel/", {})
    (row,) = Audit.objects.all()
    for change_it in (
        row.save,
        row.delete,
        Audit.objects.all().delete,
        lambda: Audit.objects.update(action="nothing"),
        lambda: Audit.objects.bulk_update([row], ["action"]),
    ):
        with pytest.raises(TypeError):
            change_it()
    get_user_model().objects.create_superuser("root")
    root = Client()
    root.force_login(get_user_model().objects.get(username="root"))
    site.ada.delete()
    for address in (f"{ADMIN}audit/", f"{ADMIN}audit/{row.pk}/change/"):
        page = root.get(address)
        assert "ada" in page.content.decode()
        root.post(address, {"action": "delete_selected", "_selected_action": [row.pk]})
    assert Audit.objects.get().detail["by"] == "ada"


def test_l1_what_changes_nothing_is_not_in_the_audit(site: Site) -> None:
    """One's own run, a run that has ended, a cancel that was asked before, what is refused."""
    cancel = f"{API}runs/{{}}/cancel/".format
    own = site.make_a_run(site.file, user=site.ada, state="queued")
    ended = site.make_a_run(site.file, user=site.bob)
    going = site.make_a_run(site.file, user=site.bob, state="running", cancel="asked")
    for run in (own, ended, going):
        assert told(site.program, cancel(run.pk), {}).status_code in (200, 202)
    told(site.browser, site.path, {"access": site.file.access}, "patch")
    site.browser.delete(f"{API}tokens/missing/")
    stranger = Client()
    stranger.force_login(site.bob)
    before = dump()
    for path in (site.path, cancel(own.pk)):
        assert stranger.post(path).status_code in (404, 405)
    assert stranger.delete(site.path).status_code == 404
    assert stranger.post(f"{API}files/", {"file": part()}).status_code == 403
    assert dump() == before
    assert not Audit.objects.exists()


def test_l2_no_secret_is_stored_logged_or_shown(
    site: Site, settings: Any, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    """Used as meant, refused, and while the database fails, with the pages that DEBUG shows.

    Django's own sessions and a ticket of a session name a session by its key.
    """
    caplog.set_level(logging.DEBUG)
    settings.DEBUG = True
    templates = str(Path(login.__file__).with_name("templates"))
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [templates]}]
    settings.LOGIN_REDIRECT_URL = "/"
    site.bob.set_password("a-password-of-bobs")
    site.bob.save()
    shown, once = [], []
    secrets = {"a-password-of-bobs", "a-wrong-password", "another-cookie", "dXNlcjpwYXNz"}
    secrets |= {site.bearer.split()[1], site.browser.cookies["sessionid"].value}
    wrong = f"djsci_{'0' * 42}"
    secrets.add(wrong)

    def see(answer: Any) -> Any:
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        shown.append(body.decode("utf-8", "replace") + str(answer.headers))
        return answer

    for path in (f"{CONSOLE}tokens/", f"{ADMIN}token/add/"):
        page = site.browser.post(path, {**TOKEN, "files": ""}).content.decode()
        once += set(re.findall(r"djsci_[0-9A-Za-z]{42}", page))
    once.append(told(site.browser, f"{API}tokens/", TOKEN).json()["secret"])
    once.append(told(site.program, f"{API}tickets/", {"file": site.file.pk}).json()["ticket"])
    assert len(once) == 4
    secrets |= {*once}

    site.file.settings = {"engine": "thread"}
    site.file.trusted_version = site.file.version
    site.file.save()
    site.browser.cookies["sid"] = site.browser.cookies["my-token"] = "another-cookie"
    call = f"/djsci/call/{site.file.pk}/"
    assert see(site.browser.get(call)).status_code == 200
    assert see(site.program.get(call)).status_code == 200
    assert see(site.browser.get(call, headers={"Authorization": "Basic dXNlcjpwYXNz"})).content
    del site.browser.cookies["sid"], site.browser.cookies["my-token"]  # of the project: DEBUG's
    friend = Client()
    for password, status in (("a-wrong-password", 200), ("a-password-of-bobs", 302)):
        sent = {"username": "bob", "password": password}
        assert see(friend.post("/accounts/login/", sent)).status_code == status
    secrets.add(friend.cookies["sessionid"].value)
    refused = {"Authorization": f"Bearer {wrong}"}
    assert see(Client().get(f"{API}files/", headers=refused)).status_code == 401
    run = Run.objects.latest("created")
    pages = [f"{API}tokens/", f"{API}runs/{run.pk}/", f"{CONSOLE}runs/{run.pk}/", "/nothing/"]
    pages += [f"{CONSOLE}tokens/", f"{ADMIN}token/", f"{ADMIN}audit/"]
    for path in pages:
        see(site.browser.get(path))
        see(site.program.get(path))
    with without("djsci_token"):
        for client in (site.browser, site.program):
            see(client.get(f"{API}files/"))
            see(client.get(f"{CONSOLE}tokens/"))
        see(site.browser.get(f"{FILES}add/", headers={"Authorization": site.bearer}))
    with without("djsci_audit"):
        for title in ("admin: token", "api: token", "console: token"):
            see(CHANGES[title][0](site))
    assert any("Traceback" in text for text in shown)

    stored = json.dumps({**dump(), "django_session": []})
    logged = "\n".join(map(caplog.handler.format, caplog.records)) + str(capsys.readouterr())
    found = {
        (place, secret)
        for secret in secrets
        for place, text in (("dump", stored), ("log", logged), *(("page", text) for text in shown))
        if secret in text
    }
    assert found == set()
