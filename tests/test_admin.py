"""The admin: uploads and refusals, old rows, rights, trust, downloads, runs and tokens."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from djsci import blobs, changes, uploads, versions
from djsci.access import tokens
from djsci.access.callers import Caller
from djsci.models import Audit, Executor, PrivateFile, Run, Token, Version

from .conftest import notebook

CODE = b"def djsci_handler(request):\n    return 1\n"
OTHER = b"def djsci_handler(request):\n    return 2\n"
FILES = "/admin/djsci/privatefile/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "media")


@pytest.fixture
def root() -> Any:
    return get_user_model().objects.create_superuser("root")


def make_staff(name: str, *permissions: str) -> Any:
    staff = get_user_model().objects.create_user(name, is_staff=True)
    found = Permission.objects.filter(content_type__app_label="djsci", codename__in=permissions)
    assert found.count() == len(permissions)
    staff.user_permissions.set(found)
    return staff


@pytest.fixture
def editor() -> Any:
    names = ("add", "view", "change", "delete")
    return make_staff("editor", *(f"{name}_privatefile" for name in names))


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def upload(name: str | None = "made", owner: Any = None, **more: bytes) -> PrivateFile:
    files = {"main.py": CODE, **more}
    return uploads.create(name=name, entry="main.py", files=files, owner=owner)


def given(*files: tuple[str, bytes]) -> Any:
    sent = [SimpleUploadedFile(name, content) for name, content in files]
    return sent[0] if len(sent) == 1 else sent


def errors_of(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200, response.content.decode()
    return dict(response.context["adminform"].form.errors)


def change(client: Client, file: PrivateFile, /, **fields: Any) -> Any:
    """Send the change form as the browser would, with these fields changed."""
    page = client.get(f"{FILES}{file.pk}/change/")
    assert page.status_code == 200
    form = page.context["adminform"].form
    values = {
        name: form.get_initial_for_field(field, name)
        for name, field in form.fields.items()
        if name not in ("file", "files")
    }
    values = {
        name: [getattr(one, "pk", one) for one in value] if isinstance(value, list) else value
        for name, value in values.items()
        if value not in (None, False)
    }
    for name in ("granted_users",):
        values[name] = ",".join(map(str, values.get(name, [])))
    if "metadata" in values:
        values["metadata"] = json.dumps(values["metadata"])
    return client.post(page.request["PATH_INFO"], {**values, **fields})


def test_an_upload_with_companions_makes_a_private_file_of_the_uploader(editor: Any) -> None:
    client = signed_in(editor)
    assert client.get(f"{FILES}add/").status_code == 200
    sent = {
        "name": "prices",
        "file": given(("book.ipynb", notebook("x = 1", CODE.decode()))),
        "files": given(("helpers.py", b"y = 1\n"), ("data.csv", b"a,b\n")),
        "timeout": "5",
        "metadata": '{"a": [1]}',
    }
    assert client.post(f"{FILES}add/", sent).status_code == 302
    file = uploads.find("prices")
    version = uploads.current_version(file)
    assert set(version.files) == {"book.ipynb", "helpers.py", "data.csv"}
    assert (version.entry, version.kind, version.uploader) == ("book.ipynb", "ipynb", editor)
    assert (file.owner, file.access, file.settings) == (editor, "private", {"timeout": 5})
    assert file.metadata == {"a": [1]}
    assert [(row.action, row.user) for row in Audit.objects.all()] == [("upload", editor)]
    page = client.get(f"{FILES}{file.pk}/change/").content.decode()
    assert version.sha256[:12] in page
    assert "helpers.py" in page


@pytest.mark.parametrize(
    ("sent", "field", "said"),
    [
        ({}, "file", "Choose a notebook"),
        ({"file": ("x.py", b"\n\ndef broken(:\n")}, "file", "line 3: "),
        ({"file": ("x.py", b"y = 1\n")}, "file", "djsci_handler"),
        ({"file": ("x.zip", b"PK\x03\x04")}, "file", "zip"),
        ({"file": ("x.ipynb", b'{"cells": [')}, "file", ""),
        ({"file": ("x.py", CODE), "name": "a/b"}, "name", "slash"),
        ({"file": ("x.py", CODE), "name": "TAKEN"}, "name", "Another file"),
        ({"file": ("x.py", CODE), "files": (".env", b"")}, "files", "dot"),
        ({"file": ("x.py", CODE), "files": ("X.py", b"")}, "files", "case"),
        ({"file": ("x.py", b"#" * 2000 + CODE)}, "file", "1,000 bytes"),
        ({"file": ("x.py", CODE), "timeout": "301"}, "timeout", "at most 300"),
        ({"file": ("x.py", CODE), "timeout": "nan"}, "timeout", ""),
        ({"file": ("x.py", CODE), "engine": "sandbox"}, "engine", ""),
        ({"file": ("x.py", CODE), "engine": "thread"}, "engine", "trusted"),
        ({"file": ("x.py", CODE), "access": "public"}, "access", ""),
        ({"file": ("x.py", CODE), "metadata": "NaN"}, "metadata", "NaN"),
        ({"file": ("x.py", CODE), "metadata": '"\\u0000"'}, "metadata", "NUL"),
        ({"file": ("x.py", CODE), "metadata": '"\\ud800"'}, "metadata", "surrogate"),
        ({"file": ("x.py", CODE), "metadata": "1e999"}, "metadata", "large"),
        ({"file": ("x.py", CODE), "metadata": '{"a":1,"a":2}'}, "metadata", "twice"),
        ({"file": ("x.py", CODE), "metadata": "[" * 200 + "]" * 200}, "metadata", "deep"),
        ({"file": ("x.py", CODE), "metadata": "[" * 100_000}, "metadata", "deep"),
        ({"file": ("x.py", CODE), "metadata": "9" * 5000}, "metadata", "digits"),
        ({"file": ("x.py", CODE), "notes": "a\x00"}, "notes", ""),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_refused_at_its_field(
    root: Any, settings: Any, sent: dict[str, Any], field: str, said: str
) -> None:
    upload("taken")
    settings.DJSCI = {"UPLOAD_LIMIT": 1000}
    body = {
        name: given(value) if isinstance(value, tuple) else value for name, value in sent.items()
    }
    errors = errors_of(signed_in(root).post(f"{FILES}add/", body))
    assert list(errors) == [field]
    assert said in " ".join(errors[field])
    assert PrivateFile.objects.count() == 1


def test_a_change_of_other_fields_leaves_the_content(editor: Any) -> None:
    file = upload(owner=editor, **{"data.csv": b"1"})
    before = (file.version, str(file.file))
    assert change(signed_in(editor), file, name="renamed", notes="n").status_code == 302
    file.refresh_from_db()
    assert (file.name, file.notes) == ("renamed", "n")
    assert (file.version, str(file.file)) == before
    assert file.versions.count() == 1


def test_new_content_keeps_or_drops_the_present_companions(editor: Any) -> None:
    file = upload(owner=editor, **{"data.csv": b"1", "more.csv": b"2"})
    client = signed_in(editor)
    assert change(client, file, files=given(("data.csv", b"new"))).status_code == 302
    file.refresh_from_db()
    assert versions.contents(file.version) == {
        "main.py": CODE,
        "data.csv": b"new",
        "more.csv": b"2",
    }
    assert change(client, file, file=given(("b.py", OTHER))).status_code == 302
    file.refresh_from_db()
    assert set(file.version.files) == {"b.py", "data.csv", "more.csv"}
    sent = {"file": given(("c.py", CODE)), "keep_companions": ""}
    assert change(client, file, **sent).status_code == 302
    file.refresh_from_db()
    assert set(file.version.files) == {"c.py"}


@pytest.mark.parametrize("name", [None, "", "two\nlines\r\n", "x" * 300, "a/b"], ids=ascii)
@pytest.mark.parametrize("has_file", [True, False], ids=["with file", "without file"])
def test_old_rows_are_listed_opened_renamed_and_deleted(
    root: Any, name: str | None, has_file: bool
) -> None:
    content = ContentFile(CODE, name="old.py") if has_file else None
    row = PrivateFile.objects.create(name=name, file=content, access="authenticated")
    client = signed_in(root)
    assert row.pk in client.get(FILES).content.decode()
    assert client.get(FILES, {"q": row.pk}).status_code == 200
    assert change(client, row, notes="kept").status_code == 302
    row.refresh_from_db()
    assert (row.name, row.notes, row.access) == (name, "kept", "authenticated")
    assert change(client, row, name="plain").status_code == 302
    row.refresh_from_db()
    assert row.name == "plain"
    PrivateFile.objects.filter(pk=row.pk).update(name=name)
    assert client.get(f"{FILES}{row.pk}/delete/").status_code == 200
    assert client.post(f"{FILES}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not PrivateFile.objects.exists()


def test_an_old_row_named_by_another_rows_id_keeps_that_name(root: Any) -> None:
    first = upload("first")
    row = PrivateFile.objects.create(name=first.pk)
    assert change(signed_in(root), row, notes="n").status_code == 302
    row.refresh_from_db()
    assert (row.name, row.notes) == (first.pk, "n")


def test_a5_a_forged_post_of_staff_sets_no_privilege(editor: Any, settings: Any) -> None:
    settings.DJSCI = {"CONNECTIONS": {"warehouse": {}}}
    file = upload()
    client = signed_in(editor)
    before = PrivateFile.objects.values().get(pk=file.pk)
    forged = {
        "owner": str(editor.pk),
        "trusted": "on",
        "trusted_version": str(file.version_id),
        "connections": "warehouse",
        "settings": '{"engine": "thread"}',
        "id": "forged",
        "pk": "forged",
        "read_from": "x",
        "version": "",
        "versions-TOTAL_FORMS": "1",
        "versions-INITIAL_FORMS": "1",
        "versions-0-id": str(file.version_id),
        "versions-0-sha256": "0" * 64,
    }
    stored = Version.objects.values().get(pk=file.version_id)
    assert change(client, file, **forged).status_code == 302
    after = PrivateFile.objects.values().get(pk=file.pk)
    assert {**after, "changed": None} == {**before, "changed": None}
    assert Version.objects.values().get(pk=file.version_id) == stored
    assert "engine" in errors_of(change(client, file, engine="thread"))
    listed = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "_save": "Save"}
    client.post(FILES, {**listed, "form-0-id": file.pk, "form-0-access": "authenticated"})
    file.refresh_from_db()
    assert (file.access, file.owner, file.is_trusted) == ("private", None, False)
    sent = {"name": "mine", "file": given(("x.py", CODE)), **forged}
    assert client.post(f"{FILES}add/", sent).status_code == 302
    made = uploads.find("mine")
    assert (made.owner, made.is_trusted, made.settings) == (editor, False, {})
    assert set(Audit.objects.values_list("action", flat=True)) == {"upload"}


def test_a5_the_admin_is_no_way_around_what_staff_may_see_or_share(editor: Any, root: Any) -> None:
    """Other people, who has what, and tracebacks, which quote the source."""
    file = upload(owner=root)
    client = signed_in(editor)
    for model, field in (("privatefile", "owner"), ("privatefile", "granted_users")):
        asked = {"app_label": "djsci", "model_name": model, "field_name": field}
        assert client.get("/admin/autocomplete/", asked).status_code == 403
    assert client.get("/admin/auth/user/?_popup=1").status_code == 403
    looked = client.get(f"{FILES}?owner__password__startswith=m")
    assert (looked.status_code, b"handler" in looked.content) == (400, False)

    watcher = signed_in(make_staff("watcher", "view_privatefile"))
    sent = {"access": "authenticated", "granted_users": str(editor.pk), "name": "x"}
    assert watcher.post(f"{FILES}{file.pk}/change/", sent).status_code == 403
    assert PrivateFile.objects.get(pk=file.pk).access == "private"

    reader = signed_in(make_staff("reader", "view_run"))
    for lookup in ("error__traceback__icontains", "request__contains", "result__contains"):
        assert reader.get(f"/admin/djsci/run/?{lookup}=x").status_code == 400
    shown = f"/admin/djsci/run/?state__exact=failed&file__id={file.pk}&q=x"
    assert reader.get(shown).status_code == 200


def test_staff_that_may_change_files_open_them_to_others(editor: Any) -> None:
    file = upload()
    friend = get_user_model().objects.create_user("friend")
    group = Group.objects.create(name="group")
    sent = {
        "access": "authenticated",
        "granted_users": str(friend.pk),
        "granted_groups": [str(group.pk)],
    }
    assert change(signed_in(editor), file, **sent).status_code == 302
    file.refresh_from_db()
    assert file.access == "authenticated"
    assert list(file.granted_users.all()) == [friend]
    assert list(file.granted_groups.all()) == [group]
    assert sorted(Audit.objects.values_list("action", flat=True)) == ["access", "grant"]


def test_trust_is_given_by_a_superuser_and_ended_by_any_new_content(root: Any, editor: Any) -> None:
    file = upload(owner=editor)
    client = signed_in(root)
    assert change(client, file, trusted="on").status_code == 302
    assert change(client, file, engine="thread").status_code == 302
    file.refresh_from_db()
    assert (file.is_trusted, file.settings) == (True, {"engine": "thread"})
    assert [row.action for row in Audit.objects.order_by("pk")] == ["trusted", "engine"]

    response = change(signed_in(editor), file, files=given(("helpers.py", b"")))
    assert response.status_code == 302
    file.refresh_from_db()
    assert not file.is_trusted
    assert file.trusted_version is not None

    assert change(client, file, trusted="on").status_code == 302
    assert change(client, file, file=given(("b.py", OTHER))).status_code == 302
    file.refresh_from_db()
    assert not file.is_trusted, "a box that was ticked for the former content trusts nothing new"


def test_content_that_changed_while_a_superuser_looked_is_not_trusted(root: Any) -> None:
    file = upload()
    seen = file.version.sha256
    uploads.replace(file, entry="main.py", files={"main.py": OTHER}, uploader=None)
    errors = errors_of(change(signed_in(root), file, trusted="on", read_version=seen))
    assert list(errors) == ["trusted"]
    file.refresh_from_db()
    assert not file.is_trusted


def test_a_new_owner_ends_the_connections(root: Any, editor: Any, settings: Any) -> None:
    settings.DJSCI = {"CONNECTIONS": {"warehouse": {}}}
    file = upload()
    client = signed_in(root)
    assert change(client, file, connections=["warehouse"]).status_code == 302
    file.refresh_from_db()
    assert file.settings == {"connections": ["warehouse"]}
    assert change(client, file, owner=str(editor.pk)).status_code == 302
    file.refresh_from_db()
    assert (file.owner, file.settings) == (editor, {})


def test_the_source_is_an_attachment_for_those_who_may_read_it(root: Any, editor: Any) -> None:
    file = upload(owner=root, **{'a "b".csv': b"1"})
    address = reverse("admin:djsci_privatefile_source", args=(file.pk, file.version_id))
    answer = signed_in(editor).get(address, {"name": 'a "b".csv'})
    assert (answer.status_code, answer.content) == (200, b"1")
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert signed_in(editor).get(address).content == CODE
    assert signed_in(editor).get(address, {"name": "../main.py"}).status_code == 404
    other = upload("other")
    wrong = reverse("admin:djsci_privatefile_source", args=(other.pk, file.version_id))
    assert signed_in(editor).get(wrong).status_code == 404
    for staff in (make_staff("nobody"), make_staff("adder", "add_privatefile")):
        assert signed_in(staff).get(address).status_code == 403
    assert Client().get(address).status_code == 302


def test_staff_that_may_only_view_see_without_a_form(editor: Any) -> None:
    file = upload("seen", owner=editor)
    client = signed_in(make_staff("viewer", "view_privatefile"))
    page = client.get(f"{FILES}{file.pk}/change/")
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    assert b"main.py" in page.content
    assert client.post(f"{FILES}{file.pk}/change/", {"name": "x"}).status_code == 403
    assert client.get(f"{FILES}add/").status_code == 403
    assert client.post(f"{FILES}{file.pk}/delete/", {"post": "yes"}).status_code == 403
    assert uploads.find("seen") == file


def start_run(file: PrivateFile, state: str, **more: Any) -> Run:
    return Run.objects.create(
        file=file,
        version=uploads.current_version(file),
        trigger="api",
        engine="kernel",
        isolation="process",
        timeout=1,
        memory=1,
        state=state,
        created=timezone.now(),
        **more,
    )


def test_a_file_with_a_live_run_is_not_deleted(editor: Any) -> None:
    file = upload(owner=editor)
    run = start_run(file, "running")
    client = signed_in(editor)
    page = client.post(f"{FILES}{file.pk}/delete/", {"post": "yes"})
    assert run.pk in page.content.decode()
    many = {"action": "delete_selected", "_selected_action": [file.pk], "post": "yes"}
    client.post(FILES, many)
    assert PrivateFile.objects.exists()
    Run.objects.update(state="failed")
    assert client.post(FILES, many).status_code == 302
    assert not PrivateFile.objects.exists()
    assert [row.action for row in Audit.objects.all()] == ["delete"]


def test_runs_are_history_that_nobody_edits(root: Any, editor: Any) -> None:
    file = upload(owner=editor)
    error = {"ename": "ValueError", "evalue": "<b>", "traceback": ["secret source line"]}
    run = start_run(file, "failed", error=error, result="[1]")
    live = start_run(file, "running")
    viewer = signed_in(make_staff("viewer", "view_run", "add_run", "change_run", "delete_run"))
    address = f"/admin/djsci/run/{run.pk}/"
    for client in (viewer, signed_in(root)):
        assert client.get("/admin/djsci/run/", {"state": "failed"}).status_code == 200
        page = client.get(f"{address}change/").content.decode()
        assert "ValueError: &lt;b&gt;" in page
        assert "secret source line" not in page
        assert client.get("/admin/djsci/run/add/").status_code == 403
        assert client.post(f"{address}change/", {"state": "succeeded"}).status_code == 403
    assert viewer.post(f"{address}delete/", {"post": "yes"}).status_code == 403
    gone = f"/admin/djsci/run/{live.pk}/delete/"
    assert signed_in(root).post(gone, {"post": "yes"}).status_code == 403
    assert signed_in(root).post(f"{address}delete/", {"post": "yes"}).status_code == 302
    assert list(Run.objects.all()) == [live]


def test_the_admin_links_the_console(root: Any) -> None:
    file = upload(owner=root)
    run = start_run(file, "running")
    client = signed_in(root)
    runs = "/admin/djsci/run/"
    for there, links in (
        (
            f"{FILES}{file.pk}/change/",
            f'<a href="/djsci/console/files/{file.pk}/" class="viewsitelink"',
        ),
        (FILES, f'<a href="/djsci/console/files/{file.pk}/">Run'),
        (
            f"{runs}{run.pk}/change/",
            f'<a href="/djsci/console/runs/{run.pk}/" class="viewsitelink"',
        ),
        (runs, f'<a href="/djsci/console/runs/{run.pk}/">Watch'),
    ):
        assert links in client.get(there).content.decode()


def test_a_token_is_shown_once_and_only_its_digest_stays(root: Any) -> None:
    client = signed_in(root)
    assert client.get("/admin/djsci/token/add/").status_code == 200
    sent = {"name": "ci", "scopes": ["run", "runs:read"], "files": ""}
    page = client.post("/admin/djsci/token/add/", sent)
    (secret,) = set(re.findall(r"djsci_[0-9A-Za-z]{42}", page.content.decode()))
    assert "no-store" in page["Cache-Control"]
    token = tokens.find(secret)
    assert token is not None
    assert (token.user, token.scopes, token.is_limited_to_files) == (
        root,
        ["run", "runs:read"],
        False,
    )
    listed = client.get("/admin/djsci/token/").content.decode()
    shown = client.get(f"/admin/djsci/token/{token.pk}/change/").content.decode()
    for text in (listed, shown):
        assert secret not in text
        assert token.digest not in text
    assert [(row.action, row.subject) for row in Audit.objects.all()] == [("token", token.pk)]

    many = {"action": "revoke", "_selected_action": [token.pk]}
    assert client.post("/admin/djsci/token/", many).status_code == 302
    assert tokens.find(secret) is None
    assert [row.action for row in Audit.objects.all()] == ["token revoked", "token"]


def test_staff_make_and_see_tokens_for_themselves_only(root: Any) -> None:
    staff = make_staff("staff", "add_token", "view_token", "change_token")
    theirs, _ = tokens.make(root, "theirs", ["run"])
    client = signed_in(staff)
    hidden = upload("hidden", owner=root)
    mine = upload("mine", owner=staff)
    sent = {"name": "x", "scopes": ["run"], "user": str(root.pk), "files": ""}
    assert client.post("/admin/djsci/token/add/", sent).status_code == 200
    (made,) = Token.objects.exclude(pk=theirs.pk)
    assert made.user == staff
    assert client.get(f"/admin/djsci/token/{theirs.pk}/change/").status_code == 302
    client.post("/admin/djsci/token/", {"action": "revoke", "_selected_action": [theirs.pk]})
    theirs.refresh_from_db()
    assert theirs.revoked is None
    page = client.post("/admin/djsci/token/add/", {**sent, "files": hidden.pk})
    assert "files" in errors_of(page)
    client.post("/admin/djsci/token/add/", {**sent, "files": mine.pk})
    limited = Token.objects.get(is_limited_to_files=True)
    assert list(limited.files.all()) == [mine]


@pytest.mark.parametrize(
    "sent",
    [{"scopes": ["everything"]}, {"scopes": []}, {"name": ""}, {"expires_0": "2001-01-01"}],
    ids=str,
)
def test_a_token_that_cannot_be_is_refused(root: Any, sent: dict[str, Any]) -> None:
    fields = {"name": "x", "scopes": ["run"], "files": "", "expires_1": "00:00", **sent}
    if "expires_0" not in sent:
        del fields["expires_1"]
    errors = errors_of(signed_in(root).post("/admin/djsci/token/add/", fields))
    assert len(errors) == 1
    assert not Token.objects.exists()


def test_executors_and_audit_rows_are_read_only(root: Any) -> None:
    executor = Executor.objects.create(
        id="00000000-0000-4000-8000-000000000000",
        host="h",
        boot="b",
        pid_namespace="n",
        pid=1,
        process_started=1,
        version="0",
        slots=1,
        seen=timezone.now(),
    )
    changes.change_settings(upload(), {"access": "authenticated"}, Caller.of_user(root))
    client = signed_in(root)
    for kind, row in (("executor", executor), ("audit", Audit.objects.get())):
        assert client.get(f"/admin/djsci/{kind}/").status_code == 200
        address = f"/admin/djsci/{kind}/{row.pk}/"
        assert client.get(f"{address}change/").status_code == 200
        assert client.post(f"{address}change/", {}).status_code == 403
        assert client.post(f"{address}delete/", {"post": "yes"}).status_code == 403
        assert client.get(f"/admin/djsci/{kind}/add/").status_code == 403


def test_hostile_text_is_only_text(root: Any) -> None:
    hostile = "<script>alert(1)</script>"
    row = upload(owner=root, **{"<img src=x onerror=alert(1)>.csv": b""})
    PrivateFile.objects.update(name=hostile, notes=hostile, metadata={"a": hostile})
    client = signed_in(root)
    for address in (FILES, f"{FILES}{row.pk}/change/", f"{FILES}{row.pk}/delete/"):
        page = client.get(address).content.decode()
        assert hostile not in page
        assert "<img src=x" not in page


def test_a_missing_blob_is_told_and_the_page_still_opens(root: Any) -> None:
    file = upload(owner=root)
    blobs.storage().delete(blobs.path(file.version.files["main.py"]))
    client = signed_in(root)
    assert client.get(f"{FILES}{file.pk}/change/").status_code == 200
    address = reverse("admin:djsci_privatefile_source", args=(file.pk, file.version_id))
    page = client.get(address, follow=True)
    assert "upload it again" in page.content.decode()
