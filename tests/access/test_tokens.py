"""Tokens: their form, what is stored of them, and what a bad one is answered."""

from datetime import timedelta

import pytest
from django.core import serializers
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from djsci.access import tokens
from djsci.access.callers import identify
from djsci.core import tokentext
from djsci.core.errors import BadRequest, LimitReached, NotAuthenticated
from djsci.models import Token

from .conftest import World

UNKNOWN = "djsci_" + "0" * 36 + tokentext.checksum("0" * 36)


def with_bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_t6_a_secret_has_the_documented_form_and_is_checked_offline(world: World):
    _, secret = world.token(world.owner)
    assert tokentext.PATTERN.fullmatch(secret)
    with CaptureQueriesContext(connection) as queries:
        assert tokentext.check(secret)
        wrong = "1" if secret[-1] != "1" else "2"
        assert not tokentext.check(secret[:-1] + wrong)
        swapped = secret[:6] + ("a" if secret[6] != "a" else "b") + secret[7:]
        assert not tokentext.check(swapped)
        for text in ("", "djsci_", secret + "0", secret.lower(), secret + "\n", "é" * 48):
            assert tokentext.check(text) == (text == secret)
    assert len(queries) == 0


def test_the_checksum_is_the_crc32_in_base62():
    assert tokentext.checksum("0" * 36) == base62(crc("0" * 36))


def crc(text: str) -> int:
    """CRC32, bit by bit, as the standard defines it."""
    value = 0xFFFFFFFF
    for byte in text.encode():
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def base62(number: int) -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        text, number = alphabet[number % 62] + text, number // 62
    return text.rjust(6, "0")


def test_t1_only_the_digest_is_stored(world: World):
    token, secret = world.token(world.owner)
    dump = serializers.serialize("json", Token.objects.all())
    assert secret not in dump
    assert secret[6:20] not in dump
    assert token.digest in dump


@pytest.mark.parametrize(
    ("name", "scopes", "days", "field"),
    [
        ("", ["run"], 1, "name"),
        ("x" * 101, ["run"], 1, "name"),
        ("x\ny", ["run"], 1, "name"),
        ("x", [], 1, "scopes"),
        ("x", ["run", "everything"], 1, "scopes"),
        ("x", ["run"], -1, "expires"),
    ],
)
def test_a_token_is_not_made_of_nonsense(
    name: str, scopes: list[str], days: int, field: str, world: World
):
    with pytest.raises(BadRequest) as raised:
        tokens.make(world.owner, name, scopes, expires=timezone.now() + timedelta(days=days))
    assert [error["field"] for error in raised.value.errors] == [field]
    assert not Token.objects.exists()


def test_t2_unknown_expired_revoked_and_inactive_have_one_answer_and_one_query(world: World):
    expired, expired_secret = world.token(world.owner)
    Token.objects.filter(pk=expired.pk).update(expires=timezone.now() - timedelta(seconds=1))
    revoked, revoked_secret = world.token(world.owner)
    tokens.revoke(revoked)
    gone = world.person("gone", is_active=False)
    _, gone_secret = world.token(gone)
    answers = set()
    for secret in (UNKNOWN, expired_secret, revoked_secret, gone_secret):
        with CaptureQueriesContext(connection) as queries, pytest.raises(NotAuthenticated) as error:
            identify(with_bearer(secret), world.owner, address="127.0.0.1")
        answers.add((error.value.detail, len(queries)))
    assert len(answers) == 1
    assert answers.pop()[1] == 1


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "bearer x", f"Bearer {UNKNOWN} x"])
def test_a_bearer_header_that_does_not_hold_is_not_helped_by_a_session(header: str, world: World):
    with pytest.raises(NotAuthenticated):
        identify({"authorization": header}, world.owner)


def test_a_token_wins_over_the_session(world: World):
    other = world.person("other")
    token, secret = world.token(other, "run")
    caller = identify({"authorization": f"bearer {secret}"}, world.owner, address="127.0.0.1")
    assert (caller.user, caller.token, caller.via) == (other, token, "token")
    assert caller.scopes == {"run"}
    assert caller.address == "127.0.0.1"


def test_another_scheme_leaves_the_session_alone(world: World):
    caller = identify({"authorization": "Basic eDp5"}, world.owner)
    assert (caller.user, caller.via) == (world.owner, "cookie")


def test_the_last_use_is_written_once_a_minute(world: World):
    token, secret = world.token(world.owner)
    identify(with_bearer(secret), None)
    first = Token.objects.get(pk=token.pk).last_used
    assert first is not None
    identify(with_bearer(secret), None)
    assert Token.objects.get(pk=token.pk).last_used == first
    earlier = timezone.now() - timedelta(seconds=61)
    Token.objects.filter(pk=token.pk).update(last_used=earlier)
    identify(with_bearer(secret), None)
    assert Token.objects.get(pk=token.pk).last_used >= first


def fail(address: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(NotAuthenticated):
            identify(with_bearer(UNKNOWN), None, address=address)


def test_t4_ten_failed_tokens_a_minute_and_then_429(world: World):
    fail("192.0.2.1", 10)
    with pytest.raises(LimitReached) as raised:
        identify(with_bearer("djsci_short"), None, address="192.0.2.1")
    assert 0 < (raised.value.retry_after or 0) <= 61
    fail("192.0.2.2", 1)
    _, secret = world.token(world.owner)
    assert identify(with_bearer(secret), None, address="192.0.2.1").is_authenticated


def test_one_network_of_version_6_is_one_address(world: World):
    fail("2001:db8::1", 10)
    with pytest.raises(LimitReached):
        identify(with_bearer(UNKNOWN), None, address="2001:db8::ffff:1")
    fail("2001:db8:0:1::1", 1)


def test_failures_write_nothing_to_the_database(world: World):
    with CaptureQueriesContext(connection) as queries:
        fail("192.0.2.3", 10)
        with pytest.raises(LimitReached):
            identify(with_bearer(UNKNOWN), None, address="192.0.2.3")
    assert {query["sql"].split()[0] for query in queries.captured_queries} == {"SELECT"}


@pytest.mark.parametrize(
    "cache",
    [
        {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "no_such_table"},
        {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache"},
    ],
    ids=["dummy", "database", "files"],
)
def test_the_limit_holds_with_every_cache(cache: dict[str, str], world: World, tmp_path):
    cache = {"LOCATION": str(tmp_path), **cache}
    with override_settings(CACHES={"default": cache}):
        fail("192.0.2.4", 10)
        with pytest.raises(LimitReached):
            identify(with_bearer(UNKNOWN), None, address="192.0.2.4")
