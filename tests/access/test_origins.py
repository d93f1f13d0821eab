"""Which pages may open a socket with a visitor's cookie."""

from typing import Any

import pytest
from django.test import override_settings

from djsci.access.origins import is_allowed_origin

HOST = "testserver:8000"
OWN = "http://testserver:8000"


def handshake(scheme: str = "ws", **headers: str | None) -> dict[str, Any]:
    named = {"host": HOST, "cookie": "sessionid=x", **headers}
    raw = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in named.items()
        if value is not None
    ]
    return {
        "type": "websocket",
        "scheme": scheme,
        "server": ("127.0.0.1", 8000),
        "headers": raw,
    }


def test_our_own_origin_is_allowed():
    assert is_allowed_origin(handshake(origin=OWN))
    assert is_allowed_origin(handshake("wss", origin="https://testserver:8000"))
    assert is_allowed_origin(handshake(host="testserver", origin="http://testserver"))
    assert is_allowed_origin(handshake(host="testserver", origin="http://testserver:80"))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.test:8000",
        "http://testserver:8001",
        "http://testserver",
        "http://sub.testserver:8000",
        "https://testserver:8000",
        "null",
        "http://testserver:8000@evil.test",
        "http://evil@testserver:8000",
        "http://testserver.evil.test:8000",
        None,
        "",
        "http://testserver:8000/",
        "http://testserver:8000?",
        "http://testserver:8000#",
        "http://testserver:8000\\.evil.test",
        "http://testserver:80000",
        "file://",
        f"{OWN}, {OWN}",
        f" {OWN}",
    ],
)
def test_any_other_origin_is_refused_with_a_cookie(origin: str | None):
    assert not is_allowed_origin(handshake(origin=origin))


def test_the_origin_header_sent_twice_is_refused():
    scope = handshake(origin=OWN)
    scope["headers"].append((b"origin", OWN.encode()))
    assert not is_allowed_origin(scope)


def test_a_bearer_header_needs_no_origin_but_our_host():
    bearer = {"authorization": "Bearer djsci_x"}
    assert is_allowed_origin(handshake(**bearer))
    assert not is_allowed_origin(handshake(authorization="Basic eDp5"))
    assert not is_allowed_origin(handshake(host="evil.test", **bearer))


@pytest.mark.parametrize("host", [None, "evil.test", "evil.test:8000", "a b", "testserver:x"])
def test_a_host_that_is_not_ours_is_refused(host: str | None):
    assert not is_allowed_origin(handshake(host=host, origin=f"http://{host}"))


@override_settings(DJSCI={"ALLOWED_ORIGINS": ["https://app.example.test", "nonsense", "*"]})
def test_more_origins_are_allowed_by_name():
    assert is_allowed_origin(handshake(origin="https://app.example.test"))
    assert is_allowed_origin(handshake(origin="https://app.example.test:443"))
    assert is_allowed_origin(handshake(origin=OWN))
    for origin in ("http://app.example.test", "https://x.app.example.test", "nonsense", "*"):
        assert not is_allowed_origin(handshake(origin=origin))


@override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
def test_a_proxy_that_ends_tls_is_believed_where_it_is_configured():
    secure = {"host": "testserver", "x_forwarded_proto": "https"}
    assert is_allowed_origin(handshake(origin="https://testserver", **secure))
    assert not is_allowed_origin(handshake(origin="http://testserver", **secure))


def test_a_forwarded_scheme_counts_for_nothing_by_default():
    secure = {"host": "testserver", "x_forwarded_proto": "https"}
    assert not is_allowed_origin(handshake(origin="https://testserver", **secure))


def test_a_header_with_an_underscore_is_not_the_one_with_a_dash():
    """C10: a client cannot say in underscores what only a proxy may say in dashes."""
    scope = handshake(host="testserver", origin="https://testserver")
    scope["headers"].append((b"x_forwarded_proto", b"https"))
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        assert not is_allowed_origin(scope)
