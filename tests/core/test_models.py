"""Classes of a source as parameters: what the schema takes is what the worker can make."""

import ast
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from djsci.core import sources
from djsci.core.errors import BadParameters
from djsci.core.schema import from_text, handler_schema, validate
from djsci.guest.call import convert
from tests.cases.models import CASES, PRELUDE, Case


def schema_of(parameters: str, before: str = PRELUDE, *, is_checked: bool = True) -> dict[str, Any]:
    tree = ast.parse(f"{before}\ndef djsci_handler(request, {parameters}): ...")
    node = tree.body[-1]
    assert isinstance(node, ast.FunctionDef)
    schema = handler_schema(node, tree)
    if is_checked:
        Draft202012Validator.check_schema(schema)
    return schema


def shape(annotation: str, before: str = PRELUDE) -> Any:
    return schema_of(f"v: {annotation}", before)["properties"]["v"]


def problems(schema: dict[str, Any], values: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(BadParameters) as caught:
        validate(schema, values, is_text=False, is_strict=True)
    return {error["field"]: error["message"] for error in caught.value.errors}


@pytest.fixture(scope="module")
def module() -> Iterator[dict[str, Any]]:
    """The classes, executed as a worker would."""
    made = types.ModuleType("djsci_cases_of_models")
    sys.modules[made.__name__] = made
    exec(PRELUDE, vars(made))  # noqa: S102
    yield vars(made)
    del sys.modules[made.__name__]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_schema_and_the_worker_take_the_same(case: Case, module: dict[str, Any]) -> None:
    schema = schema_of(f"v: {case.annotation}")
    exec(f"def handler(request, v: {case.annotation}): ...", module)  # noqa: S102
    if case.made:
        assert validate(schema, {"v": case.value}, is_text=False, is_strict=True)
        assert repr(convert(module["handler"], {"v": case.value})["v"]) == case.made
        return
    assert sorted(problems(schema, {"v": case.value})) == sorted(case.refused)
    if (
        not case.is_left_to_schema
        and "Row" not in case.annotation
        and "Loose" not in case.annotation
    ):
        with pytest.raises(ValueError, match="parameter 'v'"):
            convert(module["handler"], {"v": case.value})


def test_what_a_model_says_of_its_fields_is_in_the_schema() -> None:
    assert shape("Item") == {
        "type": "object",
        "description": "One line of an order.",
        "properties": {
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": 20,
                "description": "As in the catalogue.",
            },
            "price": {"type": "number", "exclusiveMinimum": 0},
            "count": {"type": "integer", "exclusiveMinimum": 0, "default": 1},
            "code": {
                "anyOf": [{"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"}, {"type": "null"}],
                "default": None,
            },
        },
        "required": ["name", "price"],
    }


def test_the_docstring_of_a_class_describes_its_fields() -> None:
    point = shape("Point")
    assert point["description"] == "A place."
    assert point["properties"] == {
        "x": {"type": "number", "description": "Metres east."},
        "y": {"type": "number", "default": 0.0, "description": "Metres north."},
        "tags": {"type": "array", "items": {"type": "string"}, "default": []},
    }
    assert point["additionalProperties"] is False
    assert shape("Row")["properties"]["note"]["description"] == "What one says."
    assert shape("Row")["required"] == ["id", "when"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": "", "price": 1}, 'v.name: must be text of at least 1 characters, not ""'),
        ({"name": "a", "price": 0}, "v.price: must be more than 0, not 0"),
        ({"name": "a", "price": "x"}, 'v.price: must be a number, not "x"'),
        ({"name": "a"}, "v.price: is missing"),
        (
            {"name": "a", "price": 1, "code": "x"},
            'v.code: must be text that matches "^[A-Z]{2}[0-9]+$", not "x"',
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_what_the_field_must_be(value: Any, message: str) -> None:
    ((field, said),) = problems(schema_of("v: Item"), {"v": value}).items()
    assert f"{field}: {said}" == message


def test_text_out_of_bounds_is_told_as_what_it_is() -> None:
    schema = schema_of("v: Size, item: Item = None, many: list[Size] = ()")
    read = from_text(schema, {"v": ["0"], "item": ['{"name": "a"}'], "many": ["1", "10"]})
    assert read == {"v": 0, "item": {"name": "a"}, "many": [1, 10]}
    assert problems(schema, read) == {
        "v": "must be at least 1, not 0",
        "item.price": "is missing",
        "many[1]": "must be at most 9, not 10",
    }


UNKNOWN = [
    ("class A(Elsewhere):\n    x: int", {}),
    ("class A(BaseModel):\n    x: int", {}),
    ("class A(metaclass=Meta):\n    x: int", {}),
    ("@decorated\n@dataclass\nclass A:\n    x: int", {}),
    ("class A:\n    x: int", {}),
    ("class A(A):\n    x: int", {}),
    ("class A(B): ...\nclass B(A): ...", {}),
    ("from pydantic import BaseModel\nclass A(BaseModel):\n    x: int\nA = changed(A)", {}),
    (
        "if x:\n    class A(TypedDict):\n        x: int\n"
        "else:\n    class A(TypedDict):\n        y: int",
        {},
    ),
    ("@dataclass\nclass A:\n    x: int\n    def __init__(self, y): ...", {"type": "object"}),
    ("@dataclass(init=False)\nclass A:\n    x: int", {"type": "object"}),
    ("class A(TypedDict):\n    x: int\n    if y:\n        z: int", {"type": "object"}),
    (
        "from pydantic import BaseModel, ConfigDict\nclass A(BaseModel):\n"
        "    model_config = ConfigDict(alias_generator=mine)\n    x: int",
        {"type": "object"},
    ),
    (
        "from pydantic import BaseModel, Field\nclass A(BaseModel):\n    x: int = Field(alias=f())",
        {"type": "object"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "schema"), UNKNOWN, ids=lambda each: str(each)[-40:])
def test_what_only_executing_would_tell_is_not_promised(before: str, schema: Any) -> None:
    imports = "from dataclasses import dataclass\nfrom typing import TypedDict\n"
    assert shape("A", imports + before) == schema


def test_a_name_means_what_the_class_has_made_of_it() -> None:
    before = "from typing import *\nclass A(NamedTuple):\n    int: str = 'a'\n    b: int = 3"
    before = before.replace("import *", "import NamedTuple")
    assert shape("A", before)["properties"]["b"] == {"default": 3}


def test_the_last_of_several_definitions_counts() -> None:
    before = "from typing import TypedDict\nclass A(TypedDict):\n    x: int\n"
    assert list(shape("A", before + before.replace("x", "y"))["properties"]) == ["y"]


def test_recursive_models_end() -> None:
    children = shape("Node")["properties"]["children"]
    assert children == {"type": "array", "items": {"type": "object"}, "default": []}


def _doubled(first: str, each: str) -> str:
    return first + "".join(each.format(n=n, m=n - 1) for n in range(1, 40)) + "A = A39"


HOSTILE = {
    "fields": "class A(TypedDict):\n" + "\n".join(f"    f{n}: int" for n in range(1000)),
    "classes that double": _doubled(
        "class A0(TypedDict):\n    x: int\n",
        "class A{n}(TypedDict):\n    x: A{m}\n    y: A{m}\n",
    ),
    "names that double": _doubled("A0 = int\n", "A{n} = tuple[A{m}, A{m}]\n"),
    "a long lineage": "class A0(TypedDict):\n    x: int\n"
    + "".join(f"class A{n}(A{n - 1}): ...\n" for n in range(1, 3000))
    + "A = A2999",
    "huge literals": "class A(NamedTuple):\n"
    + "".join(f"    f{n}: str = '{'x' * 50_000}'\n" for n in range(9)),
    "enums": "class E(Enum):\n"
    + "".join(f"    M{n} = {n}\n" for n in range(3000))
    + "class A(TypedDict):\n"
    + "".join(f"    f{n}: E\n" for n in range(3000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sources_are_bounded(name: str) -> None:
    before = "from enum import Enum\nfrom typing import NamedTuple, TypedDict\n" + HOSTILE[name]
    schema = schema_of("v: A", before, is_checked=name == "fields")
    assert len(repr(schema)) < 1 << 20
    if name == "fields":
        assert len(schema["properties"]["v"]["required"]) == 1000


def test_a_pattern_that_takes_for_ever_elsewhere_does_not_here() -> None:
    schema = schema_of("v: Annotated[str, Field(pattern='^(a+)+$')]")
    assert problems(schema, {"v": "a" * 5000 + "!"})
    odd = schema_of("v: Annotated[str, Field(pattern='(?=a)(')]")
    assert validate(odd, {"v": "x"}, is_text=False, is_strict=True)


def test_the_examples_of_the_documentation_are_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text()
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    schema = sources.read("a.py", {"a.py": first.encode()}).parameters
    assert list(schema["properties"]) == ["items", "place", "days"]
    assert schema["properties"]["days"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 90,
        "default": 30,
        "description": "How long the offer stands.",
    }
    named = {"items": [{"name": "a", "price": 1}, {"name": "b"}]}
    assert problems(schema, named) == {"items[1].price": "is missing"}
    assert sources.read("a.py", {"a.py": second.encode()}).parameters["required"] == ["data"]
