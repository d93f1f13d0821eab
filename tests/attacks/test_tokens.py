"""Attacks on tokens: where a secret must not be found, what guessing and a revoked one get.

What one process can show is in `tests/access/test_tokens.py`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from djsci.core import tokentext
from tests import live, servers
from tests.access.test_matrix import MATRIX
from tests.client import Follower, Refused, until

CODE = """
import time

def djsci_handler(request, seconds: float = 0):
    print("begun", flush=True)
    time.sleep(seconds)
    return {"headers": dict(request.headers), "meta": {k: str(v) for k, v in request.META.items()}}
"""
WANTED = {
    "users": [{"name": "ada", "superuser": True}, {"name": "bob"}, {"name": "zoe"}],
    "files": [
        {
            "name": "talk",
            "owner": "ada",
            "access": "authenticated",
            "trusted": True,
            "settings": {"engine": "thread"},
            "files": {"handler.py": CODE},
        }
    ],
}
EXPIRE = """
from datetime import timedelta
from django.utils import timezone
from djsci.access import tokens
from django.contrib.auth.models import User
bob = User.objects.get(username="bob")
answer = {}
token, answer["expired"] = tokens.make(bob, "expired", tokens.SCOPES)
token.expires = timezone.now() - timedelta(seconds=1)
token.save()
token, answer["revoked"] = tokens.make(bob, "revoked", tokens.SCOPES)
tokens.revoke(token)
"""
ROWS = """
from django.apps import apps
ours = {"djsci.Executor", "djsci.Tally"}  # heartbeats, and how often the server swept
answer = {model._meta.label: sorted(map(repr, model.objects.values_list())) for model in
          apps.get_models() if model._meta.label not in ours}
"""


@pytest.fixture(
    scope="module", params=["daphne", pytest.param("uvicorn", marks=pytest.mark.faults)]
)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[live.Site, live.Seeded]]:
    with live.server(request.param, intervals={"recheck": 0.4}) as site:
        yield site, site.seed(WANTED)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def kept(site: live.Site) -> bytes:
    """Everything that the server has written: its database, its files, its log."""
    files = [path for path in site.data.rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in [*files, site.log])


async def test_t1_t3_h21_a_secret_is_found_in_no_file_log_answer_or_run(
    place: tuple[live.Site, live.Seeded],
) -> None:
    site, made = place
    secret, cookies = made.tokens["ada"], made.cookies("ada")
    escaped = "%64jsci_" + secret.removeprefix("djsci_")
    said: list[bytes] = []
    with httpx.Client(base_url=site.url, timeout=30) as http:
        run = http.get("/djsci/call/talk/", headers=bearer(secret))
        assert run.status_code == 200
        leaked = {**bearer(secret), "Referer": f"http://elsewhere.test/?t={escaped}"}
        answer = http.get("/djsci/call/talk/", headers=leaked)
        assert answer.status_code == 400
        said.append(answer.content)
        refusals = []
        for entry in MATRIX:
            method, _, route = entry.partition(" ")
            if method == "WS" or "health" in route or route in ("djsci", "djsci/metrics"):
                continue
            path = "/" + re.sub(r"\{\w+\}", "1", route) + "/" * (not route.startswith("private"))
            asked = "GET" if method == "ANY" else method
            cookie = {"Cookie": f"sessionid={cookies['sessionid']}"}
            for query, headers in ((f"?token={secret}", bearer(secret)), (f"?{escaped}", cookie)):
                answer = http.request(asked, path + query, headers=headers)
                refusals.append((entry, query[:3], answer.status_code))
                said.append(answer.content + repr(answer.headers).encode())
        assert [each for each in refusals if each[2] not in (400, 403)] == []
        for path in ("call/talk", "call/{}", "api/v1/runs/{}", "console/files/{}", "nowhere/{}"):
            for name in (secret, escaped):
                answer = http.get(f"/djsci/{path.format(name)}/{name}", headers=bearer(secret))
                assert answer.status_code in (400, 404)
                said.append(answer.content + repr(answer.headers).encode())
    client = Follower(url=site.url, headers=bearer(secret))
    for path in (f"call/talk/?t={secret}", f"call/{secret}/", f"runs/{secret}/?token={escaped}"):
        with pytest.raises(Refused) as refused:
            async with client.connection(f"/djsci/ws/{path}") as socket:
                error, closed = await until(socket, "error"), await until(socket, "never")
                said.append(json.dumps(error).encode())
                raise Refused(closed["code"])
        assert refused.value.code in (403, 4404)
    body = secret.removeprefix("djsci_").encode()
    for name, content in {"answers": b"".join(said), "kept": kept(site)}.items():
        found = content.find(body)
        assert found == -1, (name, content[max(0, found - 200) : found])
    assert rb"Bad Request: /djsci/call/talk/djsci_\u2026" in site.log.read_bytes()
    assert secret not in run.text


def test_t2_every_bad_token_gets_the_same_answer_to_the_byte(
    place: tuple[live.Site, live.Seeded],
) -> None:
    site, made = place
    bad = {
        "unknown": tokentext.make(),
        "malformed": "djsci_nonsense",
        "without its checksum": made.tokens["ada"][:-1] + "!",
        **site.execute(EXPIRE),
    }
    answers = set()
    with httpx.Client(base_url=site.url, timeout=30) as http:
        for secret in bad.values():
            answer = http.get("/djsci/api/v1/runs/", headers=bearer(secret))
            answer.headers.pop("date", None)
            answers.add((answer.status_code, answer.content, str(answer.headers)))
    assert len(answers) == 1, answers
    assert answers.pop()[0] == 401


async def test_b9_t5_a_token_revoked_in_a_run_ends_its_socket_and_not_the_run(
    place: tuple[live.Site, live.Seeded],
) -> None:
    site, made = place
    client = Follower(url=site.url, headers=made.bearer("zoe"))
    async with client.connection("/djsci/ws/call/talk/") as socket:
        await socket.send('{"type":"start","parameters":{"seconds":2}}')
        run_id = (await until(socket, "started"))["run"]
        while "stream" not in {each["type"] for each in (await until(socket, "events"))["events"]}:
            pass  # a run that has not begun is denied
        site.execute(
            "from django.utils import timezone\nfrom djsci.models import Token\n"
            "Token.objects.filter(user__username='zoe').update(revoked=timezone.now())"
        )
        assert (await until(socket, "error"))["code"] == "not_authenticated"
        assert (await until(socket, "never"))["code"] == 4401
    run = await Follower(url=site.url, headers=made.bearer("ada")).follow(run_id)
    assert run.end is not None
    assert run.end["state"] == "succeeded"


@pytest.mark.faults
async def test_t4_guessing_at_two_processes_is_counted_once_and_leaves_no_row(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with (
        servers.valkey_url() as redis,
        live.server("daphne", data=data, redis=redis) as one,
        live.server("uvicorn", data=data, redis=redis) as two,
    ):
        made = one.seed(WANTED)
        before, statuses = one.execute(ROWS), []
        for number in range(24):
            site = (one, two)[number % 2]
            guess = bearer(tokentext.make() if number % 3 else "djsci_guess")
            if number % 4 == 3:  # the handshake of a socket counts as well
                with pytest.raises(Refused):
                    async with Follower(url=site.url, headers=guess).connection(
                        "/djsci/ws/call/talk/"
                    ):
                        pass
                continue
            answer = httpx.get(f"{site.url}/djsci/api/v1/runs/", headers=guess, timeout=30)
            statuses.append((number, answer.status_code, "retry-after" in answer.headers))
        assert statuses == [
            (number, 401 if number < 10 else 429, number >= 10)
            for number in range(24)
            if number % 4 != 3
        ]
        assert one.execute(ROWS) == before
        for site in (one, two):
            passed = httpx.get(f"{site.url}/djsci/api/v1/runs/", headers=made.bearer("ada"))
            assert passed.status_code == 200


def test_t6_the_command_checks_a_token_offline(tmp_path: Path) -> None:
    documented = re.search(
        r"`(djsci_\[\S+)`", (live.ROOT / "docs/access.md").read_text(encoding="utf-8")
    )
    assert documented
    secret = tokentext.make()
    text = f'export TOKEN="{secret}"; x = djsci_handler, {secret[:-1]} djsci_{"a" * 42}'
    found = re.findall(documented[1], text)
    assert found == [secret, "djsci_" + "a" * 42]
    assert [each for each in found if tokentext.check(each)] == [secret]
    for asked, status in ((f"{secret}\n", 0), (found[1], 1)):
        done = subprocess.run(
            [sys.executable, "-m", "djsci", "token", "check"],
            cwd=tmp_path,  # no project, no settings, no database
            env={"PYTHONPATH": str(live.ROOT), "DJANGO_SETTINGS_MODULE": "no.such.settings"},
            input=asked,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (status, ""), asked
        assert asked.strip() not in done.stdout
