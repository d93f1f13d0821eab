"""Files among a call's parameters."""

import base64
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from djsci.core.attachments import attach, detach
from djsci.core.errors import BadParameters
from djsci.core.requests import build
from djsci.core.schema import validate
from djsci.guest.call import convert
from djsci.guest.files import File, given, plain_name, reference
from djsci.guest.requests import UploadedFile
from tests.core.test_models import schema_of

BEFORE = """
import djsci
from djsci import File
from typing import TypedDict
class Both(TypedDict):
    note: str
    data: File
"""
CSV = UploadedFile(name="a.csv", content_type="text/csv", content=b"a,b")


def schema(parameters: str) -> dict[str, Any]:
    return schema_of(parameters, BEFORE)


def sent(wanted: dict[str, Any], values: Any, *files: tuple[str, UploadedFile]) -> Any:
    request = build(files=files)
    checked = validate(wanted, attach(wanted, values, request), is_text=False, is_strict=True)
    return detach(wanted, checked)


def test_a_file_is_text_in_the_schema() -> None:
    found = schema("a: djsci.File, b: list[File] | None = None")["properties"]
    assert found["a"] == {"type": "string", "format": "binary"}
    assert found["b"]["anyOf"][0]["items"] == found["a"]


def test_an_upload_goes_to_the_field_of_its_name() -> None:
    wanted = schema("a: File, many: list[File], both: Both, none: File | None = None")
    values, files = sent(
        wanted,
        {"both": {"note": "x"}},
        ("a", CSV),
        ("many", CSV),
        ("many", CSV),
        ("both.data", CSV),
        ("other", CSV),
    )
    assert values == {
        "a": reference(CSV),
        "many": [reference(CSV)] * 2,
        "both": {"note": "x", "data": reference(CSV)},
    }
    assert {name for name, _ in files} == {"a", "many", "both"}


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("YSxi", ("file", "application/octet-stream", b"a,b")),
        ("", ("file", "application/octet-stream", b"")),
        ("data:text/csv;base64,YSxi", ("file", "text/csv", b"a,b")),
        ("data:text/csv;name=a%20b.csv;base64,YSxi", ("a b.csv", "text/csv", b"a,b")),
        ("data:,%ff", ("file", "application/octet-stream", b"\xff")),
        ("data:,a%2Cb", ("file", "application/octet-stream", b"a,b")),
    ],
)
def test_text_holds_a_file(text: str, file: tuple[Any, ...]) -> None:
    values, [(name, found)] = sent(schema("a: File"), {"a": text})
    assert (name, found.name, found.content_type, found.content) == ("a", *file)
    assert values["a"] == reference(found)


@pytest.mark.parametrize(
    "value",
    ["a,b", "data:text/csv;base64,!", "YSx", 3, None, [], {"name": "a"}, {**reference(CSV)},
     {**reference(CSV), "sha256": []}, "data:" + "a" * 9000],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_what_holds_no_file_is_refused_by_field(value: Any) -> None:
    with pytest.raises(BadParameters, match="a: must be a file: an upload, base64"):
        sent(schema("a: File"), {"a": value})
    with pytest.raises(BadParameters, match="a: must be a file"):
        sent(schema("a: File"), {"a": value}, ("b", UploadedFile(name="b", content=b"b")))


def test_a_run_is_repeated_by_its_references() -> None:
    wanted = schema("a: File, both: Both")
    values, files = sent(wanted, {"a": "YSxi", "both": {"note": "x", "data": "Yg=="}})
    again, _ = sent(wanted, values, *files)
    assert again == values
    request = build(files=files, parameters=values)
    made = given(request, None)
    assert (made["a"].read(), made["both"]["data"].read()) == (b"a,b", b"b")
    assert base64.b64decode("Yg==") == b"b"


def test_a_file_is_its_path(tmp_path: Any) -> None:
    file = File.of(UploadedFile(name="../../etc/a.csv", content=b"a,b"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with open(file) as text:
        assert text.read() == "a,b"
    assert file.path.name == "a.csv"
    assert file.path.parent.parent == tmp_path
    assert file.open().read() == b"a,b"
    with pytest.raises(ValueError, match="for reading"):
        file.open("w")
    local = File(file.path)
    assert (local.name, local.size, local.content_type) == ("a.csv", 3, "text/csv")
    assert local.read() == b"a,b"


@pytest.mark.parametrize(
    ("name", "plain"),
    [("", "file"), ("..", "file"), ("a/../..", "file"), ("C:\\x\\a.csv", "a.csv"), ("a\x00b", "ab"),
     ("é" * 300, "é" * 100), ("\ud800", "?")],
)  # fmt: skip
def test_names_lead_nowhere_else(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_a_pydantic_model_may_hold_a_file() -> None:
    class Report(BaseModel):
        when: date
        data: File

    def handler(request: Any, report: Report) -> None: ...

    value = {"when": "2026-02-28", "data": reference(CSV)}
    request = build(files=[("report.data", CSV)], parameters={"report": value})
    made = convert(handler, given(request, None))["report"]
    assert (made.when, made.data.read()) == (date(2026, 2, 28), b"a,b")
