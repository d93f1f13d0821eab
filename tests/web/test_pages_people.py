"""The pages of one's own tokens, and of the site's health."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from djsci.access import tokens
from djsci.models import Audit, Executor, Token
from djsci.runs import tallies
from tests.conftest import MakeFile

from .conftest import MakeRun

PATH = "/djsci/console/tokens/"


@pytest.fixture
def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_token_is_made_shown_once_and_revoked(
    browser: Client, user: Any, make_file: MakeFile
) -> None:
    file = make_file("def djsci_handler(request):\n    return 1", name="only")
    form = {
        "name": "<i>ci",
        "scopes": ["run", "runs:read"],
        "files": f"only\n{file.pk}",
        "lasting": "30",
    }
    made = browser.post(PATH, form)
    page = made.content.decode()
    assert (made.status_code, made["Cache-Control"]) == (200, "no-store")
    (secret,) = set(re.findall(r"djsci_[0-9A-Za-z]{42}", page))
    assert "&lt;i&gt;ci" in page
    token = tokens.find(secret)
    assert token is not None
    assert (token.scopes, [*token.files.all()]) == (["run", "runs:read"], [file])
    assert token.expires is not None
    listed = browser.get(PATH).content.decode()
    assert secret not in listed
    assert "&lt;i&gt;ci" in listed
    for wrong, said in (
        ({**form, "name": ""}, "printable characters"),
        ({**form, "scopes": []}, "One or more"),
        ({**form, "files": "no<b>"}, "no file no&lt;b&gt;"),
        ({**form, "until": "soon"}, "A date like"),
        ({**form, "until": "2001-01-01"}, "in the future"),
    ):
        answer = browser.post(PATH, wrong)
        assert answer.status_code in (400, 422)
        assert said in answer.content.decode()
    assert Token.objects.count() == 1
    bob = Client()
    bob.force_login(get_user_model().objects.create_user("bob"))
    assert "ci" not in re.findall(r"<td.*?</td>", bob.get(PATH).content.decode())
    assert bob.post(f"{PATH}{token.pk}/revoke/").status_code == 404
    program = Client(headers={"Authorization": f"Bearer {secret}"})
    assert program.get(PATH).status_code == 403
    assert browser.post(f"{PATH}{token.pk}/revoke/").status_code == 303
    assert tokens.find(secret) is None
    assert browser.post(f"{PATH}{token.pk}/revoke/").status_code == 404
    assert [*Audit.objects.values_list("action", flat=True)] == ["token revoked", "token"]


def test_the_health_page_is_for_staff_and_says_what_holds(
    browser: Client, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/djsci/console/health/"
    monkeypatch.setattr(
        "djsci.isolation.probe.probe",
        lambda level, **_: "no <i>kernel" if level == "landlock" else None,
    )
    page = browser.get(path).content.decode()
    for said in ("database", "Queues", "Workers", "no &lt;i&gt;kernel", "cannot be had", "holds"):
        assert said in page
    assert "<bdi>default</bdi>" in page
    assert "No run failed" in page
    assert "http-equiv" not in page
    assert '<meta http-equiv="refresh" content="10">' in browser.get(f"{path}?every=1").text
    bob = Client()
    bob.force_login(get_user_model().objects.create_user("bob"))
    assert bob.get(path).status_code == bob.post(path).status_code == 403
    assert "console/health" not in bob.get(PATH).content.decode()


def test_the_health_page_tells_of_workers_queues_pools_and_failures(
    browser: Client, make_file: MakeFile, make_run: MakeRun
) -> None:
    file = make_file("def djsci_handler(request):\n    return 1\n", name="breaks")
    state = {"failed": "e1", "crashed": "e2", "lost": "e3", "timed_out": "e4"}
    failed = [make_run(file, state=each, reason=why) for each, why in state.items()]
    fine = [make_run(file, state=each) for each in ("succeeded", "cancelled", "denied")]
    long_ago = make_run(file, state="failed", created=timezone.now() - timedelta(days=30))
    make_run(file, state="queued", queue="gpu", created=timezone.now() - timedelta(minutes=5))
    for number, columns in enumerate(({}, {"is_draining": True}, {"seen": long_ago.created})):
        Executor.objects.create(
            **{
                "id": uuid.uuid4(),
                "host": "far",
                "pid": 70 + number,
                "process_started": 1,
                "version": "9.8.7",
                "queues": ["gpu"],
                "slots": 4,
                "busy": 3,
                "seen": timezone.now(),
                **columns,
            }
        )
    tallies.note_swept()
    page = browser.get("/djsci/console/health/").text
    assert all(f"/djsci/console/runs/{run.pk}/" in page for run in failed)
    assert not any(run.pk in page for run in (*fine, long_ago))
    for said in ("far:70", "far:71", "draining", "silent", "3 of 4", "9.8.7", "5 min ago"):
        assert said in page
    assert "Last sweep: <time" in page
    assert "Pools of this process" in page
