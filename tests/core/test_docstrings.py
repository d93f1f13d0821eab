"""What docstrings say of parameters, in three styles."""

import ast
import inspect
import time

import pytest

from djsci.core.docstrings import read
from djsci.core.schema import handler_schema

GOOGLE = """Price it.

    With care: mind the units.

    Args:
        ticker (str): Its short name,
            in capitals.
        days (list[int], optional): How many.
        **rest: What else.

    Returns:
        float: The price.
    """
NUMPY = """Price it.

    With care: mind the units.

    Parameters
    ----------
    ticker : str
        Its short name,
        in capitals.
    days, rest : int, default: 3
        How many.

    Returns
    -------
    float
        The price.
    """
SPHINX = """Price it.

    With care: mind the units.

    :param str ticker: Its short name,
        in capitals.
    :param days: How many.
    :type days: int
    :returns: The price.
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_the_three_styles_say_the_same(text: str) -> None:
    kept, said = read(inspect.cleandoc(text))
    assert kept.startswith("Price it.\n\nWith care: mind the units.")
    assert "The price." in kept
    assert "in capitals" not in kept
    assert (said["ticker"], said["days"]) == ("Its short name, in capitals.", "How many.")


@pytest.mark.parametrize(
    "text", ["", None, "Args:", "Args:\n    nothing here", "Parameters\n-----", "Note: a\n    b: c"]
)
def test_what_is_no_section_stays(text: str | None) -> None:
    assert read(text) == ((text or "").strip(), {})


def test_hostile_docstrings_are_read_soon() -> None:
    start = time.monotonic()
    read("Args:\n" + " a (" * 9000)
    read(":param " + "a " * 9000)
    read("Args:\n" + "    a: b\n" * 9000)
    assert time.monotonic() - start < 2


def test_a_handler_and_its_annotations_are_described() -> None:
    body = '"""Do it.\n\n    Args:\n        a: From here.\n        b: Far.\n    """'
    code = (
        f"from typing import Annotated\ndef h(r, a: int, b: Annotated[int, 'Near.']):\n    {body}"
    )
    tree = ast.parse(code)
    node = tree.body[-1]
    assert isinstance(node, ast.FunctionDef)
    schema = handler_schema(node, tree)
    assert schema["title"] == "Do it."
    assert "description" not in schema
    assert schema["properties"] == {
        "a": {"type": "integer", "description": "From here."},
        "b": {"type": "integer", "description": "Near."},
    }
