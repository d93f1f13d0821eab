"""A handler's signature as JSON Schema."""

import ast
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from djsci.core.schema import handler_schema
from tests.cases.parameters import CASES, PRELUDE


def schema_of(signature: str, before: str = PRELUDE) -> dict[str, Any]:
    tree = ast.parse(f"{before}\n{signature}")
    node = tree.body[-1]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    schema = handler_schema(node, tree)
    Draft202012Validator.check_schema(schema)
    json.dumps(schema, allow_nan=False).encode()
    return schema


def properties(parameters: str, before: str = PRELUDE) -> dict[str, Any]:
    found: dict[str, Any] = schema_of(f"def djsci_handler(request, {parameters}): ...", before)[
        "properties"
    ]
    return found


def test_the_example_of_the_contract():
    assert schema_of(
        "def djsci_handler(request, ticker: str, days: int = 30, when: date | None = None): ..."
    ) == {
        "type": "object",
        "properties": {
            "ticker": {"type": "string"},
            "days": {"type": "integer", "default": 30},
            "when": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                "default": None,
            },
        },
        "required": ["ticker"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("signature", "names", "required", "is_open"),
    [
        ("def h(request): ...", [], None, True),
        ("def h(): ...", [], None, True),
        ("async def h(request, a): ...", ["a"], ["a"], False),
        ("def h(request, **kwargs): ...", [], None, True),
        ("def h(request, a: int, **kwargs): ...", ["a"], ["a"], True),
        ("def h(request, /, a, b=1): ...", ["a", "b"], ["a"], False),
        ("def h(request, a, /, b): ...", ["a", "b"], ["a", "b"], False),
        ("def h(request, *, a, b=1): ...", ["a", "b"], ["a"], False),
        ("def h(*, a): ...", ["a"], ["a"], False),
        ("def h(request, *args): ...", [], None, True),
        ("def h(request=None, a=1): ...", ["a"], None, False),
        ("def h(request: int, a: int = unknown()): ...", ["a"], None, False),
    ],
)
def test_which_parameters_there_are(signature, names, required, is_open):
    schema = schema_of(signature)
    assert list(schema["properties"]) == names
    assert schema.get("required") == required
    assert schema["additionalProperties"] is is_open


def test_the_docstring_is_title_and_description():
    schema = schema_of('def h(request):\n    """Price it.\n\n    With care.\\x00\n    """')
    assert schema["title"] == "Price it."
    assert schema["description"].startswith("Price it.\n\nWith care.")
    assert schema_of('def h(request):\n    """One line."""')["title"] == "One line."
    assert schema_of("def h(request): ...", before='"""A module."""')["title"] == "A module."
    assert "title" not in schema_of("def h(request): ...")


@pytest.mark.parametrize(
    ("parameter", "default"),
    [
        ("a=3", 3),
        ("a=-3", -3),
        ("a='x'", "x"),
        ("a=(1, 2)", [1, 2]),
        ("a={'k': [1]}", {"k": [1]}),
        ("a=Colour.RED", "red"),
        ("a=Side.RIGHT", "right"),
        ("a=date(2026, 2, 28)", "2026-02-28"),
        ("a=dt.datetime(2026, 2, 28, 1)", "2026-02-28T01:00:00"),
        ("a=timedelta(minutes=1)", 60.0),
        ("a=Decimal('1.50')", "1.50"),
        ("a=Path('a/b')", "a/b"),
    ],
)
def test_literal_defaults_are_told(parameter, default):
    assert properties(parameter)["a"] == {"default": default}


@pytest.mark.parametrize(
    "parameter",
    ["a=f()", "a=x", "a=b'x'", "a=1j", "a=1e999", "a=date(2026, 2, 30)", "a=date.today()",
     "a='\\ud800'", "a='\\x00'", "a=0x" + "f" * 5000, "a={1: 2}", "a=Colour.GREEN", "a=..."],
)  # fmt: skip
def test_other_defaults_are_not_told_but_nothing_is_required(parameter):
    schema = schema_of(f"def h(request, {parameter}): ...")
    assert schema["properties"] == {"a": {}}
    assert "required" not in schema


def test_a_default_of_none_allows_null():
    assert properties("a: int = None")["a"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "default": None,
    }
    assert properties("a=None")["a"] == {"default": None}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("Annotated[int, 'how many']", {"type": "integer", "description": "how many"}),
        ("Annotated[int, 3]", {"type": "integer"}),
        ("Colour", {"type": "string", "enum": ["red", "blue"]}),
        ("Level", {"type": "integer", "enum": [1, 2]}),
        ("Side", {"type": "string", "enum": ["left", "right"]}),
        ("Literal['a', 1, None]", {"enum": ["a", 1, None]}),
        ("Literal[1, 1, True, True]", {"enum": [1, True]}),
        ("Union[int, None, int]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Optional[Any]", {}),
        ("int | Point", {}),
        ("list[Point]", {"type": "array"}),
        ("dict[Colour, int]", {
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "propertyNames": {"type": "string", "enum": ["red", "blue"]},
        }),
        ("tuple[()]", {"type": "array", "minItems": 0, "maxItems": 0}),
        ("numpy.ndarray", {}),
        ("'no ( syntax'", {}),
        ("'Optional[\\'int\\']'", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("print", {}),
        ("open('x')", {}),
    ],
)  # fmt: skip
def test_annotations(annotation, schema):
    assert properties(f"a: {annotation}")["a"] == schema


@pytest.mark.parametrize(
    ("before", "annotation", "schema"),
    [
        ("from datetime import date as day", "day", {"type": "string", "format": "date"}),
        ("import datetime as d", "d.date", {"type": "string", "format": "date"}),
        ("from datetime import *", "date", {"type": "string", "format": "date"}),
        ("from typing import *", "List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("import datetime", "datetime", {}),
        ("class date: ...", "date", {}),
        ("class int: ...", "int", {}),
        ("", "date", {}),
        ("A = B\nB = A", "A", {}),
        ("A = 'A'", "A", {}),
        ("A: TypeAlias = list[str]", "A", {"type": "array", "items": {"type": "string"}}),
        ("from typing import NewType\nUser = NewType('User', int)", "User", {"type": "integer"}),
        ("from enum import Enum\nclass E(Enum):\n    A = (1, 2)", "E", {}),
        ("from enum import Enum\nclass E(Enum):\n    A = f()", "E", {}),
        ("from enum import Enum\nclass E(Enum): ...", "E", {}),
        (
            "from enum import Enum\nclass E(str, Enum):\n    _x = 1\n    A = 'a'\n    B = 'b'",
            "E",
            {"type": "string", "enum": ["a", "b"]},
        ),
        (
            "from enum import Enum, auto\nclass E(Enum):\n    A = auto()\n    B = auto()",
            "E",
            {"type": "integer", "enum": [1, 2]},
        ),
    ],
)  # fmt: skip
def test_names_mean_what_the_file_says(before, annotation, schema):
    assert properties(f"a: {annotation}", before)["a"] == schema


def test_every_annotation_of_the_table_has_a_schema():
    for case in CASES:
        assert list(properties(f"a: {case.annotation}")) == ["a"]


def test_the_names_of_an_earlier_cell_are_known():
    first = ast.parse("from enum import Enum\nclass Kind(Enum):\n    A = 'a'")
    second = ast.parse("def h(request, kind: Kind = Kind.A): ...")
    node = second.body[0]
    assert isinstance(node, ast.FunctionDef)
    assert handler_schema(node, [first, second])["properties"] == {
        "kind": {"type": "string", "enum": ["a"], "default": "a"}
    }


def test_strange_signatures_are_bounded():
    union = "|".join(["int"] * 500)
    nested = "list[" * 80 + "int" + "]" * 80
    many = ", ".join(f"a{index}: int = 1" for index in range(2000))
    assert properties(f"a: {union}, b: {nested}")["a"] == {}
    assert len(properties(many)) == 2000
