"""Where a request came from: Fetch Metadata, CSRF, tokens in URLs, addresses."""

from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware, get_token
from django.test import RequestFactory, override_settings

from djsci.access import sessions
from djsci.access.addresses import client_address, scope_address
from djsci.access.callers import NOBODY, Caller
from djsci.access.requests import caller_again, caller_of, guard, refuse_told_token
from djsci.core.errors import BadRequest, Forbidden, NotAuthenticated

from .conftest import World

CROSS_SITE = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "no-cors",
    "Sec-Fetch-Dest": "image",
}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def request_of(method: str = "GET", path: str = "/djsci/call/x/", **headers: str) -> HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestFactory(headers=named).generic(method, path, data="{}")


def verdict(request: HttpRequest, world: World, **options: Any) -> str:
    options = {"runs_or_changes": True, **options}
    return guard(request, Caller.of_user(world.owner), **options)


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_our_own_pages_and_typed_addresses_pass(site: str, world: World):
    assert verdict(request_of(Sec_Fetch_Site=site), world) == "ok"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_from_elsewhere_asks_a_person_first(site: str, world: World):
    assert verdict(request_of(**{**NAVIGATION, "Sec-Fetch-Site": site}), world) == "ask"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin, none", ""])
@pytest.mark.parametrize(
    ("mode", "place"),
    [
        ("no-cors", "image"),
        ("no-cors", "empty"),
        ("cors", "empty"),
        ("navigate", "iframe"),
        ("navigate", "object"),
        ("websocket", "empty"),
        ("no-cors", "document"),
    ],
)
def test_whatever_else_comes_from_elsewhere_is_forbidden(
    site: str, mode: str, place: str, world: World
):
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": place}
    with pytest.raises(Forbidden):
        verdict(request_of(**headers), world)


def test_reading_from_elsewhere_is_left_to_the_same_origin_policy(world: World):
    assert verdict(request_of(**CROSS_SITE), world, runs_or_changes=False) == "ok"


def test_a_token_and_nobody_are_not_asked_where_they_come_from(world: World):
    token = Caller.of_token(world.token(world.owner)[0])
    for caller in (token, NOBODY):
        assert guard(request_of("POST", **CROSS_SITE), caller, runs_or_changes=True) == "ok"


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Origin": "http://testserver"}, True),
        ({"Origin": "http://testserver:80"}, True),
        ({"Referer": "http://testserver/a/page?x=1"}, True),
        ({"Origin": "null"}, False),
        ({"Origin": "http://evil.test"}, False),
        ({"Origin": "https://testserver"}, False),
        ({"Origin": "http://testserver:8000"}, False),
        ({"Referer": "http://evil.test/http://testserver/"}, False),
        ({"Referer": "http://testserver@evil.test/"}, False),
        ({"Referer": "http://testserver.evil.test/"}, False),
        ({"Origin": "http://testserver", "Referer": "http://evil.test/"}, False),
        ({"Referer": ""}, False),
    ],
    ids=str,
)
def test_without_fetch_metadata_origin_and_referer_must_match(
    headers: dict[str, str], passes: bool, world: World
):
    if passes:
        assert verdict(request_of(**headers), world) == "ok"
    else:
        with pytest.raises(Forbidden):
            verdict(request_of(**headers), world)


def posted(*, cookie: bool = True, token: bool = True, method: str = "POST", **headers: str) -> Any:
    page = RequestFactory().get("/")
    get_token(page)
    secret = page.META["CSRF_COOKIE"]
    request = request_of(
        method,
        Sec_Fetch_Site="same-origin",
        **({"X-CSRFToken": secret} if token else {}),
        **headers,
    )
    if cookie:
        request.COOKIES["csrftoken"] = secret
    return request


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
def test_every_unsafe_method_with_a_cookie_needs_the_csrf_token(method: str, world: World):
    assert verdict(posted(method=method), world) == "ok"
    for missing in ({"cookie": False}, {"token": False}):
        with pytest.raises(Forbidden, match="CSRF"):
            verdict(posted(method=method, **missing), world, runs_or_changes=False)


def test_a_form_may_carry_the_csrf_token(world: World):
    page = RequestFactory().get("/")
    form = {"csrfmiddlewaretoken": get_token(page)}
    request = RequestFactory(headers={"Sec-Fetch-Site": "same-origin"}).post("/", form)
    request.COOKIES["csrftoken"] = page.META["CSRF_COOKIE"]
    assert verdict(request, world) == "ok"
    form["csrfmiddlewaretoken"] = get_token(RequestFactory().get("/"))
    request = RequestFactory(headers={"Sec-Fetch-Site": "same-origin"}).post("/", form)
    request.COOKIES["csrftoken"] = page.META["CSRF_COOKIE"]
    with pytest.raises(Forbidden):
        verdict(request, world)


def test_a_foreign_origin_fails_although_the_token_is_right(world: World):
    with pytest.raises(Forbidden, match="Origin"):
        verdict(posted(Origin="http://evil.test"), world)


def test_what_the_middleware_has_checked_is_not_checked_again(world: World):
    request = posted(token=False)
    request.csrf_processing_done = True
    assert verdict(request, world) == "ok"


def test_a_middleware_that_let_an_exempt_view_pass_has_checked_nothing(world: World):
    def view(request: HttpRequest) -> None: ...

    view.csrf_exempt = True  # type: ignore[attr-defined]
    request = posted(token=False)
    middleware = CsrfViewMiddleware(view)
    middleware.process_request(request)
    assert middleware.process_view(request, view, (), {}) is None
    with pytest.raises(Forbidden):
        verdict(request, world)


@pytest.mark.parametrize("place", ["?token={}", "?{}", "{}/", "?a=%64jsci_{rest}"])
def test_t3_a_token_in_a_url_is_refused(place: str, world: World):
    secret = world.token(world.owner)[1]
    request = request_of(path="/djsci/call/x/" + place.format(secret, rest=secret[6:]))
    with pytest.raises(BadRequest) as raised:
        refuse_told_token(request)
    assert secret not in str(raised.value)


def session_of(user: Any) -> SessionStore:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return session


def test_a_lasting_request_is_asked_again_who_it_is(world: World):
    request = request_of()
    request.user, request.session = world.owner, session_of(world.owner)
    assert caller_of(request).user == caller_again(request).user == world.owner
    world.owner.set_password("another")
    world.owner.save()
    assert not caller_again(request).is_authenticated
    request.session = session_of(world.owner)
    assert caller_again(request).is_authenticated
    type(world.owner).objects.filter(pk=world.owner.pk).update(is_active=False)
    assert not caller_again(request).is_authenticated
    type(world.owner).objects.filter(pk=world.owner.pk).update(is_active=True)
    Session.objects.all().delete()
    assert not caller_again(request).is_authenticated


def test_a_lasting_request_with_a_token_ends_with_it(world: World):
    token, secret = world.token(world.owner)
    request = request_of(Authorization=f"Bearer {secret}")
    assert caller_of(request).token == token
    token.delete()
    with pytest.raises(NotAuthenticated):
        caller_again(request)


def test_b10_a_rotated_key_leaves_the_session_as_it_is(world: World, settings: Any):
    key = session_of(world.owner).session_key
    before = Session.objects.get(pk=key).session_data
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another secret of the tests"
    assert sessions.user_of(key) == world.owner
    assert [row.session_data for row in Session.objects.all()] == [before]
    settings.SECRET_KEY_FALLBACKS = []
    assert not sessions.user_of(key).is_authenticated


@pytest.mark.parametrize("key", [None, "", "nonsense", "0" * 32])
def test_an_unknown_session_is_nobody(key: str | None, world: World):
    assert not sessions.user_of(key).is_authenticated
    assert not Session.objects.exists()


def test_a_request_without_any_middleware_is_nobodys():
    assert caller_of(RequestFactory().get("/")).via is None


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("192.0.2.9", "10.0.0.1", "192.0.2.9"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("", "198.51.100.7", ""),
    ],
)
def test_only_known_proxies_forward_an_address(remote: str, forwarded: str, address: str):
    with override_settings(DJSCI={"TRUSTED_PROXIES": ["10.0.0.0/8"]}):
        meta = {"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}
        assert client_address(meta) == address
        headers = [(b"x-forwarded-for", part.strip().encode()) for part in forwarded.split(",")]
        assert scope_address({"client": (remote, 1), "headers": headers}) == address
