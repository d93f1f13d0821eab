"""What a handler may say by HTTP: everything else is left out, and all of it is sandboxed."""

import pytest
from django.test import RequestFactory

from djsci.web import answers

REQUEST = RequestFactory().get("/djsci/call/x/")


@pytest.mark.parametrize(
    "name",
    [
        "Set-Cookie",
        "Content-Security-Policy",
        "Access-Control-Allow-Origin",
        "Strict-Transport-Security",
        "Refresh",
        "Clear-Site-Data",
        "Service-Worker-Allowed",
        "Link",
        "Transfer-Encoding",
        "Connection",
        "Content-Length",
        "Content-Encoding",
        "X-Frame-Options",
        "X-Accel-Redirect",
        "X-Sendfile",
        "X-LIGHTTPD-send-file",
        "X-Reproxy-URL",
        "X-Content-Type-Options",
        "Location: /x\r\nSet-Cookie",
    ],
)
def test_o9_a_handler_may_not_set(name):
    for spelled in (name, name.lower(), name.upper()):
        assert answers.allowed_headers({spelled: "1"}, REQUEST) == {}


def test_a_handler_may_set_these():
    headers = {
        "content-type": "text/csv",
        "Content-Disposition": 'attachment; filename="a.csv"',
        "Content-Language": "en",
        "Cache-Control": "max-age=1",
        "etag": '"1"',
        "Last-Modified": "x",
        "Retry-After": "3",
        "x-rows": "7",
    }
    kept = answers.allowed_headers(headers, REQUEST)
    assert {name.lower() for name in kept} == {name.lower() for name in headers}


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a\nb", "a\x00b", "\u20ac"])
def test_o9_a_value_that_is_no_line_of_latin_text_is_left_out(value):
    assert answers.allowed_headers({"X-A": value}, REQUEST) == {}


@pytest.mark.parametrize(
    ("location", "is_kept"),
    [
        ("/djsci/", True),
        ("other/?a=1#b", True),
        ("http://testserver/a", True),
        ("https://testserver/a", False),
        ("http://evil.test/", False),
        ("//evil.test/", False),
        ("/\\evil.test/", False),
        ("\\\\evil.test", False),
        ("http:/\\evil.test", False),
        ("///evil.test", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("http://testserver@evil.test/", False),
        ("/a b", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_o9_a_redirect_stays_on_our_own_origin(location, is_kept):
    assert bool(answers.allowed_headers({"Location": location}, REQUEST)) == is_kept


@pytest.mark.parametrize(
    ("http", "text", "body", "kind"),
    [
        ({}, '{"a":1e2}', b'{"a":1e2}', "application/json"),
        ({"encoding": "text"}, '"h\\u00e9"', "hé".encode(), "text/plain; charset=utf-8"),
        ({"encoding": "base64"}, '"AAH/"', b"\x00\x01\xff", "application/octet-stream"),
        ({"encoding": "item"}, '[{"a": 1.10}, 201]', b'{"a": 1.10}', "application/json"),
        ({"encoding": "item"}, '["x", 201]', b'"x"', "application/json"),
        (
            {"encoding": "item", "headers": {"content-type": "text/html"}},
            '["<b>", 201]',
            b"<b>",
            "text/html",
        ),
        ({"encoding": "item-base64"}, '["AAH/",200]', b"\x00\x01\xff", "application/octet-stream"),
    ],
    ids=["json", "text", "bytes", "tuple", "tuple of text", "tuple of html", "tuple of bytes"],
)
def test_the_body_is_what_the_handler_gave(http, text, body, kind):
    answer = answers.chosen(REQUEST, http, text)
    assert (answer.content, answer["Content-Type"]) == (body, kind)


def test_an_answer_without_a_body_has_none():
    assert answers.chosen(REQUEST, {"status": 204, "encoding": "json"}, "null").content == b""


def test_every_answer_is_closed_off():
    answer = answers.sandboxed(answers.chosen(REQUEST, {}, "1"))
    assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer["X-Content-Type-Options"] == "nosniff"
