"""Values for a handler's parameters: taken, refused by field, read from text."""

import ast
import time
from typing import Any

import pytest

from djsci.core.errors import BadParameters, BadRequest
from djsci.core.schema import from_text, handler_schema, validate
from tests.cases.parameters import CASES, PRELUDE


def schema_of(parameters: str) -> dict[str, Any]:
    tree = ast.parse(f"{PRELUDE}\ndef djsci_handler(request, {parameters}): ...")
    node = tree.body[-1]
    assert isinstance(node, ast.FunctionDef)
    return handler_schema(node, tree)


def problems(schema: dict[str, Any], values: Any, **how: Any) -> dict[str, str]:
    with pytest.raises(BadParameters) as caught:
        validate(schema, values, **{"is_text": False, "is_strict": True, **how})
    assert (caught.value.code, caught.value.status) == ("bad_parameters", 422)
    caught.value.detail.encode()
    return {error["field"]: error["message"] for error in caught.value.errors}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_table_of_cases(case):
    schema = schema_of(f"x: {case.annotation}")
    if case.is_valid:
        assert validate(schema, {"x": case.value}, is_text=False, is_strict=True) == {
            "x": case.value
        }
    else:
        assert [field.split("[")[0].split(".")[0] for field in problems(schema, {"x": case.value})] == ["x"]  # fmt: skip  # noqa: E501


def test_every_bad_field_is_named():
    schema = schema_of("ticker: str, days: int, when: date = None, many: list[int] = []")
    assert problems(schema, {"days": "3", "when": "soon", "many": [1, "a"], "oops": 1}) == {
        "ticker": "is missing",
        "days": 'must be a whole number, not "3"',
        "when": 'must be a date like 2026-02-28 or null, not "soon"',
        "many[1]": 'must be a whole number, not "a"',
        "oops": "is not a parameter; known: ticker, days, when, many",
    }


def test_defaults_are_not_filled_in():
    assert validate(schema_of("a: int = 3"), {}, is_text=False, is_strict=True) == {}


def test_unknown_names_are_errors_only_where_that_is_asked():
    schema = schema_of("a: int = 3")
    assert "b" in problems(schema, {"a": 1, "b": 2})
    assert validate(schema, {"a": 1, "b": 2}, is_text=False, is_strict=False) == {"a": 1}
    is_open = schema_of("a: int = 3, **rest")
    for is_strict in (True, False):
        values = {"a": 1, "b": [2]}
        assert validate(is_open, values, is_text=False, is_strict=is_strict) == values


@pytest.mark.parametrize("values", [[], "a", None, 3], ids=repr)
def test_parameters_are_an_object(values):
    with pytest.raises(BadRequest):
        validate(schema_of("a: int = 3"), values, is_text=False, is_strict=True)


def nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (float("nan"), "a"),
        (float("inf"), "a"),
        ([1, {"k": float("-inf")}], "a[1].k"),
        ("x\x00", "a"),
        ("x\ud800", "a"),
        ({"k\x00": 1}, "a"),
        ({"k": ["\udfff"]}, "a.k[0]"),
        (1 << 20_000, "a"),
    ],
    ids=["nan", "inf", "nested inf", "nul", "surrogate", "nul in a key", "nested", "huge"],
)
def test_what_cannot_be_stored_is_refused_by_field(value, field):
    for parameters in ("a", "a: Any", "**rest"):
        assert list(problems(schema_of(parameters), {"a": value})) == [field]


def test_depth_is_bounded():
    schema = schema_of("a: Any")
    assert validate(schema, {"a": nest(99)}, is_text=False, is_strict=True)
    (field,) = problems(schema, {"a": nest(100)})
    assert field.startswith("a[0]")
    assert problems(schema, {"a": nest(5000)})


def test_names_that_cannot_be_shown_are_cleaned():
    (field,) = problems(schema_of("a: int = 1"), {"b" * 5000: 1})
    assert len(field) == 200
    assert "\x00" not in "".join(problems(schema_of("a: int = 1"), {"b\x00": 1}))


def test_many_errors_are_cut():
    assert len(problems(schema_of("a: list[int]"), {"a": ["x"] * 10_000})) <= 50


def test_a_float_that_is_too_large_an_integer_is_refused():
    assert "a" in problems(schema_of("a: float"), {"a": 10**400})
    assert validate(schema_of("a: int"), {"a": 10**400}, is_text=False, is_strict=True)


@pytest.mark.parametrize(
    ("parameter", "texts", "value"),
    [
        ("a: int", ["3"], 3),
        ("a: int", ["1", "2"], 2),
        ("a: int", [" +3 "], 3),
        ("a: int", ["9" * 40], int("9" * 40)),
        ("a: float", ["1.5e3"], 1500.0),
        ("a: float", ["2"], 2),
        ("a: bool", ["on"], True),
        ("a: bool", ["False"], False),
        ("a: bool", ["1"], True),
        ("a: bool", ["no"], False),
        ("a: str", ["3"], "3"),
        ("a: str", [""], ""),
        ("a: Optional[int]", [""], None),
        ("a: Optional[int]", ["null"], None),
        ("a: Optional[int]", ["4"], 4),
        ("a: str | None", [""], None),
        ("a: str | None", ["null"], "null"),
        ("a: int | str", ["4"], 4),
        ("a: int | str", ["x"], "x"),
        ("a: date", ["2026-02-28"], "2026-02-28"),
        ("a: timedelta", ["90"], 90),
        ("a: timedelta", ["PT90S"], "PT90S"),
        ("a: Decimal", ["1.50"], "1.50"),
        ("a: Colour", ["red"], "red"),
        ("a: Level", ["2"], 2),
        ("a: Literal['a', 1, None]", ["1"], 1),
        ("a: Literal['a', 1, None]", ["null"], None),
        ("a: list[int]", ["1", "2"], [1, 2]),
        ("a: list[int]", ["[1, 2]"], [1, 2]),
        ("a: list[int]", [""], []),
        ("a: list[str]", [""], [""]),
        ("a: list[str]", ["a", "b"], ["a", "b"]),
        ("a: list", ["a"], ["a"]),
        ("a: tuple[int, str]", ["1", "2"], [1, "2"]),
        ("a: list[bool] | None", ["on", "off"], [True, False]),
        ("a: dict", ['{"k": 1}'], {"k": 1}),
        ("a: Any", ["3"], "3"),
        ("a", ["3"], "3"),
        ("a=30", ["3"], 3),
        ("a=30", ["2.5"], 2.5),
        ("a=30", ["soon"], "soon"),
        ("a=True", ["off"], False),
        ("**rest", ["1", "2"], "2"),
    ],
)
def test_text_is_read_by_the_schema(parameter, texts, value):
    got = validate(schema_of(parameter), {"a": texts}, is_text=True, is_strict=True)["a"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("a: int", "x"),
        ("a: int", ""),
        ("a: int", "1.5"),
        ("a: int", "１"),
        ("a: int", "9" * 5000),
        ("a: float", "nan"),
        ("a: float", "1e999"),
        ("a: float", "1_0"),
        ("a: bool", "maybe"),
        ("a: list[int]", "[1,"),
        ("a: dict", "{"),
        ("a: dict", '{"k": NaN}'),
        ("a: dict", "[" * 5000),
        ("a: date", "tomorrow"),
        ("a: Literal['a']", "b"),
        ("a: str", "\x00"),
        ("a: str", "\ud800"),
    ],
)
def test_text_that_fits_nothing_is_refused(parameter, text):
    (field,) = problems(schema_of(parameter), {"a": [text]}, is_text=True)
    assert field.split("[")[0] == "a"


def test_names_without_values_are_as_good_as_missing():
    assert problems(schema_of("a: int"), {"a": []}, is_text=True) == {"a": "is missing"}


def test_text_and_json_can_be_joined_before_they_are_checked():
    schema = schema_of("a: int, b: list[int]")
    values = {**from_text(schema, {"a": ["1"], "b": ["x"], "c": ["1"]}), "b": [2]}
    assert validate(schema, values, is_text=False, is_strict=False) == {"a": 1, "b": [2]}


def test_a_schema_that_says_nothing_takes_everything():
    assert validate({}, {"a": 1}, is_text=False, is_strict=False) == {"a": 1}


def test_simple_calls_are_checked_quickly():
    schema = schema_of("ticker: str, days: int = 30, when: date | None = None")
    values = {"ticker": "AAPL", "days": 3, "when": "2026-02-28"}
    validate(schema, values, is_text=False, is_strict=True)
    rounds = []
    for _ in range(50):
        started = time.perf_counter()
        validate(schema, values, is_text=False, is_strict=True)
        rounds.append(time.perf_counter() - started)
    assert sorted(rounds)[25] < 0.005
