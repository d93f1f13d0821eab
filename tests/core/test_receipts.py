"""The executed notebook: which event goes to which cell, as a front end would have shown it."""

import json
from typing import Any

import nbformat

from djsci.core import sources
from djsci.core.receipts import Receipt

DEFINES = "def djsci_handler(request, days: int = 1): ..."


def make_receipt(*cells: str, parameters: dict[str, Any] | None = None, **stored: bytes) -> Receipt:
    """`# tagged` on top of a cell gives it the tag `parameters`."""
    body = [
        {
            "cell_type": "code",
            "metadata": {"tags": ["parameters"]} if text.startswith("# tagged") else {},
            "source": text,
        }
        for text in cells
    ]
    document = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": body}
    source = sources.read("n.ipynb", {"n.ipynb": json.dumps(document).encode()})
    return Receipt(
        source, prose=[(0, "# Title"), (1, "end")], parameters=parameters or {}, load=stored.get
    )


def shown(receipt: Receipt) -> list[tuple[str, list[Any]]]:
    """Each cell's first line, and what its outputs say."""
    document = receipt.document({"run": "r"})
    nbformat.validate(nbformat.from_dict(document))
    return [
        (cell["source"].split("\n")[0], [_short(output) for output in cell.get("outputs", ())])
        for cell in document["cells"]
    ]


def _short(output: dict[str, Any]) -> Any:
    match output["output_type"]:
        case "stream":
            return "".join(output["text"])
        case "error":
            return output["ename"]
    return output["data"]


def cell(index: int, state: str) -> dict[str, Any]:
    return {"type": "cell", "index": index, "count": 2, "state": state, "t": 1000.0 + index}


def display(kind: str, text: Any, name: str | None = None, mime: str = "text/plain") -> Any:
    return {"type": kind, "data": {mime: text}, "metadata": {}, "display_id": name}


def stream(text: str, index: int | None = None) -> dict[str, Any]:
    return {"type": "stream", "name": "stdout", "text": text} | ({"cell": index} if index else {})


def test_outputs_go_to_the_cell_that_was_played():
    receipt = make_receipt("one", "two")
    for event in (
        *(cell(1, "start"), stream("a"), stream("b\n"), cell(1, "done")),
        *(cell(2, "start"), stream("late\n", 1), display("execute_result", "7"), cell(2, "done")),
        {"type": "progress", "value": 0.5},
        {"type": "of a later release"},
    ):
        receipt.take(event)
    receipt.give("7")
    assert shown(receipt) == [
        ("# Title", []),
        ("one", ["ab\nlate\n"]),
        ("end", []),
        ("two", [{"text/plain": "7"}]),
    ]
    codes = [each for each in receipt.document({})["cells"] if each["cell_type"] == "code"]
    assert [each["execution_count"] for each in codes] == [1, 2]
    assert codes[1]["outputs"][0]["execution_count"] == 2
    assert codes[0]["metadata"]["execution"] == {
        "iopub.execute_input": "1970-01-01T00:16:41Z",
        "shell.execute_reply": "1970-01-01T00:16:41Z",
    }
    assert codes[0]["metadata"]["djsci"] == {"state": "done", "seconds": 0.0}


def test_displays_are_updated_and_cleared_in_place():
    receipt = make_receipt("one", "two")
    for event in (
        *(cell(1, "start"), display("display_data", "old", "d"), cell(1, "done")),
        *(cell(2, "start"), display("update_display_data", "new", "d"), stream("gone")),
        *({"type": "clear_output", "wait": False}, stream("goes too")),
        *({"type": "clear_output", "wait": True}, stream("stays"), cell(2, "error")),
    ):
        receipt.take(event)
    assert shown(receipt)[1::2] == [("one", [{"text/plain": "new"}]), ("two", ["stays"])]


def test_the_call_of_a_handler_is_a_cell_with_its_parameters_before_it():
    given = {"days": 30, "a b": None}
    receipt = make_receipt(DEFINES, parameters=given)
    for event in (
        *(cell(1, "start"), cell(1, "done"), stream("in the call\n")),
        {"type": "log", "level": "warning", "message": "careful", "fields": {}},
        {"type": "truncated", "dropped_bytes": 9, "dropped_lines": 1, "limit": 5},
    ):
        receipt.take(event)
    receipt.give('{"rows":[1,2]}')
    result = {"application/json": {"rows": [1, 2]}, "text/plain": '{"rows":[1,2]}'}
    said = "[warning] careful\n[djsci] 9 bytes of output were dropped here\n"
    assert shown(receipt)[1:] == [
        (DEFINES, []),
        ("# Parameters", []),
        ("end", []),
        ("# What djsci called", ["in the call\n", said, result]),
    ]
    cells = receipt.document({})["cells"]
    assert cells[2]["source"] == "# Parameters\ndays = 30\n# 'a b': None"
    assert cells[2]["metadata"]["tags"] == ["injected-parameters"]
    assert cells[4]["source"].endswith("import djsci\n\ndjsci_handler(djsci.request(), days=days)")


def test_parameters_of_a_notebook_follow_their_tagged_cell():
    receipt = make_receipt("# tagged", "use", parameters={"days": 3})
    assert [name for name, _ in shown(receipt)] == [
        *("# Title", "# tagged", "# Parameters", "end", "use")
    ]
    plain = make_receipt("one", parameters={"days": 3})
    assert shown(plain)[0][0] == "# Parameters"


def test_an_error_of_the_call_is_not_put_where_its_line_is():
    error = {"type": "error", "ename": "E", "evalue": "e", "traceback": ["…"], "cell": 1, "line": 2}
    receipt = make_receipt(DEFINES)
    for event in (cell(1, "start"), cell(1, "done"), error):
        receipt.take(event)
    assert shown(receipt)[-1] == ("# What djsci called", ["E"])
    receipt = make_receipt(DEFINES)
    for event in (cell(1, "start"), error, cell(1, "error")):
        receipt.take(event)
    assert shown(receipt)[1] == (DEFINES, ["E"])


def test_outputs_held_by_reference_come_home_and_odd_ones_stay_valid():
    receipt = make_receipt("one", png=b"\x89PNG", json=b'{"a":1}', html="<b>é</b>".encode())
    parts = [
        *(("png", "image/png"), ("json", "application/json"), ("html", "text/html")),
        *(("gone", "text/plain"), ("gone", "application/json")),
    ]
    receipt.take(cell(1, "start"))
    for name, mime in parts:
        receipt.take(display("display_data", {"ref": name, "size": 9}, mime=mime))
    receipt.take(display("display_data", {"ref": "x", "size": 1 << 40}, mime="text/plain"))
    receipt.take(display("display_data", 7, mime="text/html"))
    receipt.take(display("display_data", ["a", "b"], mime="text/html"))
    gone = "(9 bytes that are not stored any more)"
    assert shown(receipt)[1][1] == [
        *({"image/png": "iVBORw=="}, {"application/json": {"a": 1}}, {"text/html": "<b>é</b>"}),
        *({"text/plain": gone}, {"application/json": gone}),
        {"text/plain": f"({1 << 40} bytes that are too many for this notebook)"},
        *({"text/html": "7"}, {"text/html": ["a", "b"]}),
    ]
