"""Tickets: who gets one, and what ends it."""

from importlib import import_module
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.test import Client

from djsci.access import tickets, tokens
from djsci.access.callers import Caller
from djsci.models import Ticket

PLACE = "/djsci/api/v1/tickets/"


@pytest.fixture
def of_session(user: Any) -> tuple[Caller, Any]:
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return Caller.of_user(user), session


def make(caller: Caller, key: str = "", target: str = "file:1") -> str:
    return tickets.make(caller, session_key=key, target=target)[0]


def test_b2_a_ticket_is_good_once_and_for_its_target_only(user: Any):
    caller = Caller.of_user(user)
    text = make(caller)
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert text not in str(list(Ticket.objects.values()))
    assert tickets.take(text, target="file:1") is not None
    assert tickets.take(text, target="file:1") is None
    text = make(caller)
    assert tickets.take(text, target="run:1") is None
    assert tickets.take(text, target="file:1") is None
    assert tickets.take(text[:-1] + "x", target="file:1") is None
    assert tickets.take("", target="file:1") is None


def test_b2_a_late_ticket_is_refused_and_goes(user: Any, monkeypatch: pytest.MonkeyPatch):
    caller = Caller.of_user(user)
    text = make(caller)
    monkeypatch.setattr(tickets, "SECONDS", -1)
    assert tickets.take(text, target="file:1") is None
    late = make(caller)
    monkeypatch.setattr(tickets, "SECONDS", 30)
    assert tickets.take(late, target="file:1") is None
    make(caller)
    assert Ticket.objects.filter(digest=tickets._digest(late)).count() == 0


def test_what_a_ticket_stands_for_can_end(user: Any, of_session: tuple[Caller, Any]):
    caller, session = of_session
    mine = tickets.take(make(caller, session.session_key), target="file:1")
    assert mine is not None
    assert tickets.caller_of(mine) == Caller.of_user(user)
    session.flush()
    assert not tickets.caller_of(mine).is_authenticated
    token = tokens.make(user, "test", ["run"])[0]
    of_token = tickets.take(make(Caller.of_token(token)), target="file:1")
    assert of_token is not None
    assert tickets.caller_of(of_token).scopes == frozenset({"run"})
    tokens.revoke(token)
    assert not tickets.caller_of(of_token).is_authenticated
    without_session = tickets.take(make(caller), target="file:1")
    assert without_session is not None
    assert not tickets.caller_of(without_session).is_authenticated


def test_only_who_may_open_the_socket_gets_a_ticket(
    user: Any, make_file: Any, django_user_model: Any
):
    file = make_file("def djsci_handler(request): return 1", name="mine")
    client = Client()

    def asked(**body: Any) -> Any:
        return client.post(PLACE, body, content_type="application/json")

    assert asked(file="mine").status_code == 401
    client.force_login(django_user_model.objects.create_user("eve"))
    assert asked(file="mine").status_code == 404
    client.force_login(user)
    made = asked(file="mine")
    assert made.status_code == 201
    assert made.json()["socket"] == f"/djsci/ws/call/{file.pk}/"
    assert made.json()["subprotocols"] == ["djsci.v1", f"djsci.ticket.{made.json()['ticket']}"]
    taken = tickets.take(made.json()["ticket"], target=f"file:{file.pk}")
    assert taken is not None
    assert tickets.caller_of(taken) == Caller.of_user(user)
    assert asked(run="missing").status_code == 404
    for body in ({}, {"file": "mine", "run": "x"}, {"file": 1}, {"other": "x"}):
        assert asked(**body).status_code in (400, 422)
    limited = tokens.make(user, "test", ["runs:read"])[1]
    client.logout()
    bearer = {"Authorization": f"Bearer {limited}"}
    answer = client.post(PLACE, {"file": "mine"}, content_type="application/json", headers=bearer)
    assert answer.status_code == 403
    assert Ticket.objects.count() == 0
