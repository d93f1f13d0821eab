"""Strict JSON, read without surprises."""

import time
from typing import Any

import pytest

from djsci.core.errors import BadRequest
from djsci.core.jsontext import depth, parse_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, null, true, "é"]}', {"a": [1, 2.5, None, True, "é"]}),
        (b'"\xc3\xa9"', "é"),
        ('"\\ud83d\\ude00"', "😀"),
        ("1" * 4000, int("1" * 4000)),
        ('"[[[[{{{{"', "[[[[{{{{"),
        ("[" * 100 + "]" * 100, None),
        ("[" + '"' + "[" * 500 + '"]', ["[" * 500]),
    ],
    ids=["values", "bytes", "pair", "digits", "brackets in text", "deep", "many in text"],
)
def test_json_is_read(text, value):
    got = parse_json(text)
    if value is not None:
        assert got == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("NaN", "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ("[-Infinity]", "Infinity"),
        ("1e999", "too large"),
        ("-1e999", "too large"),
        ("1" * 5000, "digits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' twice at b"),
        ('{"a": "\\ud800"}', "surrogate pair at a"),
        ('{"a": ["\\u0000"]}', "NUL character at a[0]"),
        ('{"\\u0000": 1}', "NUL character in a key"),
        ('"\ud800"', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        ("[1] 2", "cannot be read"),
        ("{'a': 1}", "cannot be read"),
        ('"a\nb"', "cannot be read"),
        ("[" * 101 + "]" * 101, "100 deep"),
        ("[" * 1_000_000, "100 deep"),
        ('{"a":' * 500_000, "100 deep"),
        ("\ufeff{}", "cannot be read"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_oddities_are_refused_by_name(text, said):
    with pytest.raises(BadRequest) as caught:
        parse_json(text)
    assert said in caught.value.detail
    caught.value.detail.encode()
    assert len(caught.value.detail) < 1000


@pytest.mark.parametrize("text", [b'["\\"[[[[", [1]]', b'"a\\', b'"\\\\"[', b'"""[[', b"]]]]["])
def test_depth_is_counted_outside_of_strings(text):
    assert depth(text * 60) <= 120
    assert depth(text) <= 4


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"a": [1, NaN]}', "a[1]"),
        ('{"a": {"b": 1e999}}', "a.b"),
        ('{"a": {"b": 1, "b": 2}}', "a"),
        ('{"a": "\\u0000"}', "a"),
        ('{"\\ud800": ["\\u0000"]}', ""),
    ],
)
def test_the_field_of_an_oddity_is_named(text, field):
    with pytest.raises(BadRequest) as caught:
        parse_json(text)
    assert [error["field"] for error in caught.value.errors] == [field]


def test_depth_is_linear():
    started = time.monotonic()
    hostile: tuple[Any, ...] = (
        b'"' + b'\\"' * 3_000_000 + b"\\",
        b'[],"' * 1_000_000,
        b"[]" * 2_000_000,
    )
    for data in hostile:
        depth(b"[" * 101 + data)
    assert time.monotonic() - started < 10


def test_a_duplicate_among_many_keys_is_found_soon():
    pairs = ",".join(f'"{index}":1' for index in range(50_000))
    started = time.monotonic()
    with pytest.raises(BadRequest, match="twice"):
        parse_json("{" + pairs + ',"49999":1}')
    assert time.monotonic() - started < 5
