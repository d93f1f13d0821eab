"""Results become JSON losslessly, or are refused with the place; Django's encoder's rules hold."""

import enum
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy
import pandas
import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import lazystr

from djsci.guest.results import Response, ResultRefused, answer, encode

LIMIT = 1 << 20


def _name(value: Any) -> str:
    return value[:20] if isinstance(value, str) and value.isascii() else type(value).__name__


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    when: date


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {"a": Colour.RED}


DJANGO = (
    datetime(2026, 1, 2, 3, 4, 5),
    datetime(2026, 1, 2, 3, 4, 5, 678901),
    datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    date(2026, 2, 28),
    time(3, 4),
    time(3, 4, 5, 678901),
    timedelta(days=-1, seconds=3, microseconds=5),
    timedelta(hours=26),
    Decimal("1.50"),
    Decimal("1E+3"),
    UUID("12345678-1234-5678-1234-567812345678"),
    lazystr("später"),
    [1, 2.5, 1e300, True, None, "é\u2028\x00\\u0000", 2**70],
    {"a": {1: 2, 2.5: 3, False: 4, None: 5}, "t": (1, (2,))},
)


@pytest.mark.parametrize("value", DJANGO, ids=_name)
def test_it_writes_what_djangos_encoder_writes(value: Any) -> None:
    expected = json.dumps([value], cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))
    assert encode([value], limit=LIMIT) == expected


TAKEN = (
    ({3, 1, 2}, "[1,2,3]"),
    (frozenset({"a", 1}), '[1,"a"]'),
    (Colour.RED, '"red"'),
    ([Level.LOW], "[1]"),
    ({Colour.RED: 1, UUID(int=0): 2}, '{"red":1,"00000000-0000-0000-0000-000000000000":2}'),
    ({date(2026, 1, 2): 1, Decimal("1.5"): 2}, '{"2026-01-02":1,"1.5":2}'),
    ({numpy.int64(3): 1}, '{"3":1}'),
    (Path("a/b"), '"a/b"'),
    (Point(1, date(2026, 1, 2)), '{"x":1,"when":"2026-01-02"}'),
    (Model(), '{"a":"red"}'),
    (numpy.int32(3), "3"),
    (numpy.bool_(True), "true"),
    (numpy.float32(1.5), "1.5"),
    (numpy.datetime64("2026-01-02T03:04:05.5"), '"2026-01-02T03:04:05.500"'),
    (numpy.arange(4).reshape(2, 2), "[[0,1],[2,3]]"),
    (numpy.array(["2026-01-02", "NaT"], dtype="M8[ns]"), '["2026-01-02T00:00:00",null]'),
    (pandas.Series([1.5, float("nan")]), "[1.5,null]"),
    (pandas.Series([1, pandas.NA], dtype="Int64"), "[1,null]"),
    ([pandas.NaT, pandas.NA], "[null,null]"),
    (
        pandas.DataFrame({"a": [1, 2], "t": [pandas.Timestamp("2026-01-02"), None]}),
        '[{"a":1,"t":"2026-01-02T00:00:00"},{"a":2,"t":null}]',
    ),
    (10**4299, "1" + "0" * 4299),
)


@pytest.mark.parametrize(("value", "expected"), TAKEN, ids=_name)
def test_it_takes_what_the_contract_lists(value: Any, expected: str) -> None:
    assert encode(value, limit=LIMIT) == expected


def _cycle() -> list[Any]:
    items: list[Any] = []
    items.append({"again": items})
    return items


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


REFUSED = (
    ({"rows": [0, {"price": float("nan")}]}, "$.rows[1].price", "NaN"),
    ([float("inf")], "$[0]", "Infinity"),
    (numpy.array([1, numpy.nan]), "$[1]", "NaN"),
    (pandas.DataFrame({"x": [1.0, float("-inf")]}), "$[1].x", "-Infinity"),
    (pandas.DataFrame({"x": [{"y": float("nan")}]}), "$[0].x.y", "NaN"),
    (pandas.DataFrame([[1, 2]], columns=["a", "a"]), "$", "two columns"),
    ({1: 0, "1": 0}, "$", "two keys"),
    ({(1, 2): 0}, "$", "key that is a tuple"),
    ({"a b": [b"x"]}, '$["a b"][0]', "djsci.Response"),
    (_cycle(), "$[0].again", "contains itself"),
    (_nested(201), "$", "deeper than 200"),
    (["\ud800"], "$[0]", "surrogate"),
    (10**4300, "$", "4300 digits"),
    (time(1, tzinfo=UTC), "$", "time zone"),
    ([object()], "$[0]", "object"),
    ([map(str, [1])], "$[0]", "make a list"),
    ([Response("x")], "$[0]", "Response itself"),
    (1j, "$", "complex"),
    (numpy.complex64(1), "$", "complex64"),
    (Point, "$", "type"),
)


@pytest.mark.parametrize(("value", "path", "why"), REFUSED, ids=_name)
def test_h14_it_refuses_the_rest_with_the_place(value: Any, path: str, why: str) -> None:
    with pytest.raises(ResultRefused) as refused:
        encode(value, limit=LIMIT)
    assert (refused.value.code, refused.value.path) == ("result_not_json", path)
    assert why in str(refused.value)


def test_two_hundred_levels_are_taken() -> None:
    assert encode(_nested(200), limit=LIMIT) == "[" * 200 + "]" * 200


class EndlessMapping(dict[str, int]):
    def items(self) -> Any:
        return ((str(number), number) for number in itertools.count())


class EndlessSet(set[int]):
    def __iter__(self) -> Iterator[int]:
        return itertools.count()


def _bomb() -> list[Any]:
    value: list[Any] = ["x"] * 10
    for _ in range(30):
        value = [value] * 10
    return value


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "value",
    [
        "x" * LIMIT,
        ["é" * (LIMIT // 2)],
        EndlessMapping(a=1),
        EndlessSet({1}),
        _bomb(),
        numpy.zeros(LIMIT),
        pandas.DataFrame({"a": numpy.zeros(LIMIT)}),
    ],
    ids=["text", "utf-8", "endless mapping", "endless set", "bomb", "array", "frame"],
)
def test_h14_more_than_the_limit_ends_while_it_is_counted(value: Any) -> None:
    with pytest.raises(ResultRefused) as refused:
        encode(value, limit=LIMIT)
    assert refused.value.code == "result_too_large"


@pytest.mark.parametrize("value", ["é" * 10, ["a", {"b": date(2026, 1, 2)}]], ids=_name)
def test_the_limit_is_exact(value: Any) -> None:
    size = len(encode(value, limit=LIMIT).encode())
    assert encode(value, limit=size)
    with pytest.raises(ResultRefused):
        encode(value, limit=size - 1)


ANSWERS = (
    ({"a": 1}, ({"a": 1}, None)),
    ((1, 2, 3), ((1, 2, 3), None)),
    ((1, True), ((1, True), None)),
    ((1, 600), ((1, 600), None)),
    ((1, 200, {"a": 1}), ((1, 200, {"a": 1}), None)),
    ((1, 201), ([1, 201], {"status": 201, "headers": {}, "encoding": "item"})),
    (
        (b"x", 200, {"A": "b"}),
        (
            ["eA==", 200, {"A": "b"}],
            {"status": 200, "headers": {"A": "b"}, "encoding": "item-base64"},
        ),
    ),
    (
        b"x",
        (
            "eA==",
            {
                "status": 200,
                "headers": {"Content-Type": "application/octet-stream"},
                "encoding": "base64",
            },
        ),
    ),
    (
        Response("x", 404),
        (
            "x",
            {
                "status": 404,
                "headers": {"Content-Type": "text/plain; charset=utf-8"},
                "encoding": "text",
            },
        ),
    ),
    (
        Response("x", headers={"content-type": "text/html"}),
        ("x", {"status": 200, "headers": {"content-type": "text/html"}, "encoding": "text"}),
    ),
    (Response([1]), ([1], {"status": 200, "headers": {}, "encoding": "json"})),
)


@pytest.mark.parametrize(("value", "expected"), ANSWERS, ids=_name)
def test_a_handler_may_choose_its_http_answer(value: Any, expected: Any) -> None:
    assert answer(value) == expected


@pytest.mark.parametrize("arguments", [("x", 199), ("x", True), ("x", 200, {"A": "b\r\nC: d"})])
def test_a_response_that_cannot_be_sent_is_refused_where_it_is_made(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"status|header"):
        Response(*arguments)
