"""Reading a source: what is taken, what is refused and how the refusal reads."""

import json
import time
from typing import Any

import pytest

from djsci.core.errors import DjsciError, NoHandler, SourceInvalid, TooLarge, WrongKind
from djsci.core.sources import Source, SourceLimits, read

HANDLER = "def djsci_handler(request):\n    return 1\n"


def code(source: Any, **extra: Any) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "outputs": [], "source": source, **extra}


def notebook(*cells: Any, **document: Any) -> bytes:
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **document}
    ).encode()


def read_notebook(*cells: Any, **document: Any) -> Source:
    return read("a.ipynb", {"a.ipynb": notebook(*cells, **document)})


def read_python(data: bytes | str) -> Source:
    return read("a.py", {"a.py": data.encode() if isinstance(data, str) else data})


def test_a_python_file_is_one_cell_with_its_parameters():
    files = {"a.py": b"def djsci_handler(request, days: int): ...\r\n", "data.csv": b"\x00\xff"}
    source = read("a.py", files)
    assert (source.kind, source.kernel, source.language) == ("py", "python3", "python")
    assert [(cell.index, cell.text) for cell in source.cells] == [
        (1, "def djsci_handler(request, days: int): ...\n")
    ]
    assert source.parameters["required"] == ["days"]
    assert source.files == files
    assert source.warnings == ()
    assert source.has_handler
    assert not source.needs_kernel


def test_a_notebook_is_its_code_cells_without_outputs():
    output = {"output_type": "stream", "name": "stdout", "text": "stale"}
    source = read_notebook(
        {"cell_type": "markdown", "source": "# Title"},
        code(["%matplotlib inline\n", "files = !ls\n"], outputs=[output], execution_count=7),
        code(HANDLER, metadata={"tags": ["keep", 3]}),
        metadata={"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}}},
    )
    assert source.kind == "ipynb"
    assert source.has_handler
    assert source.warnings == ()
    assert [(cell.index, cell.text, sorted(cell.tags)) for cell in source.cells] == [
        (1, "%matplotlib inline\nfiles = !ls\n", []),
        (2, HANDLER, ["keep"]),
    ]
    assert "stale" not in repr(source.cells)
    assert b"stale" in source.files["a.ipynb"]


@pytest.mark.parametrize(
    "text",
    [
        "await something\nasync with a as b:\n    pass",
        "%%time\n%matplotlib inline\nx = 1",
        "%%bash\nls | (",
        "!echo (",
        "x = %timeit -o 1",
        "print?",
        "    indented = 1",
        "x = '\\d'",
        "if True:\n    !ls",
        "",
    ],
)
def test_what_ipython_runs_is_no_problem(text):
    assert read_notebook(code(text)).cells[0].problem is None


def test_a_bad_cell_is_a_warning_that_names_cell_and_line():
    source = read_notebook(code("a = 1"), {"cell_type": "raw"}, code("b = 1\nc = ("), code(HANDLER))
    first, bad, last = source.cells
    assert first.problem is None
    assert last.problem is None
    assert source.has_handler
    assert bad.problem is not None
    assert (bad.problem.cell, bad.problem.line) == (2, 2)
    assert source.warnings == (f"Cell 2, line 2: {bad.problem.message}",)
    assert "never closed" in bad.problem.message


@pytest.mark.parametrize("text", ["return 1", "x = '\x00'", "x = '\ud800'", "-" * 100_000 + "1"])
def test_a_cell_that_only_the_compiler_refuses_is_a_problem_too(text):
    source = read_notebook(code(text), code(HANDLER))
    assert source.cells[0].problem is not None
    assert source.has_handler
    source.cells[0].text.encode()
    assert "\x00" not in source.cells[0].text


def test_a_python_file_with_a_syntax_error_names_the_line():
    with pytest.raises(SourceInvalid) as caught:
        read_python(f"{HANDLER}\n\nx = (\n")
    assert caught.value.errors[0]["line"] == 5
    assert "a.py, line 5" in caught.value.detail


def test_top_level_await_belongs_to_notebooks_only():
    with pytest.raises(SourceInvalid):
        read_python(f"await x\n{HANDLER}")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (HANDLER, []),
        ("async def djsci_handler(request, a): ...", ["a"]),
        ("def djsci_handler(request, a): ...\ndef djsci_handler(request, b): ...", ["b"]),
        ("if True:\n    def djsci_handler(request, a): ...", ["a"]),
        ("try:\n    import x\nexcept ImportError:\n    def djsci_handler(request, a): ...", ["a"]),
        ("@cache\ndef djsci_handler(request, a): ...", ["a"]),
        ("from helpers import djsci_handler", []),
        ("from helpers import run as djsci_handler", []),
        ("from helpers import *", []),
        ("djsci_handler = make()", []),
        ("djsci_handler: object = make()", []),
        ("class djsci_handler: ...", []),
    ],
)
def test_the_last_top_level_binding_is_the_handler(text, names):
    source = read("a.py", {"a.py": text.encode(), "helpers.py": HANDLER.encode()})
    assert source.has_handler
    assert list(source.parameters["properties"]) == names
    assert source.parameters["additionalProperties"] is not bool(names)


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "class A:\n    def djsci_handler(request): ...",
        "def outer():\n    def djsci_handler(request): ...",
        "djsci_handler: object",
        "# def djsci_handler(request): ...",
        "from helpers import *",
    ],
)
def test_a_python_file_without_a_handler_is_refused(text):
    with pytest.raises(NoHandler) as caught:
        read("a.py", {"a.py": text.encode(), "helpers.py": b"x = 1"})
    assert (caught.value.code, caught.value.status) == ("no_handler", 422)


def test_a_handler_in_a_timed_cell_counts():
    source = read_notebook(code(f"%%time\n{HANDLER}"))
    assert source.has_handler
    assert not read_notebook(code(f"%%writefile helpers.py\n{HANDLER}")).has_handler


def test_a_notebook_without_handler_takes_its_parameters_cell():
    text = (
        "days = 30  # how many days\n"
        "rate = 0.5 # type: float  the rate\n"
        "name: str = 'a # b'\n"
        "when: date | None = None\n"
        "is_on = True; other = [1]\n"
        "label = None\n"
        "must: int\n"
        "computed = days * 2\n"
        "print(1)\n"
    )
    source = read_notebook(
        code("from datetime import date"), code(text, metadata={"tags": ["parameters"]})
    )
    assert not source.has_handler
    assert source.parameters == {
        "type": "object",
        "properties": {
            "days": {"type": "integer", "default": 30, "description": "how many days"},
            "rate": {"type": "number", "default": 0.5, "description": "the rate"},
            "name": {"type": "string", "default": "a # b"},
            "when": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                "default": None,
            },
            "is_on": {"type": "boolean", "default": True},
            "other": {"type": "array", "default": [1]},
            "label": {"default": None},
            "must": {"type": "integer"},
        },
        "required": ["must"],
        "additionalProperties": False,
    }


def test_a_notebook_without_handler_and_parameters_takes_none():
    parameters = read_notebook(code("1 + 1")).parameters
    assert parameters["properties"] == {}
    assert parameters["additionalProperties"] is False


@pytest.mark.parametrize(
    ("metadata", "is_said"),
    [
        ({}, False),
        ({"kernelspec": {"name": "python3", "language": "python"}}, False),
        ({"kernelspec": {"name": "python2", "language": "python"}}, True),
        ({"kernelspec": {"name": ".venv"}, "language_info": {"name": "python"}}, True),
        ({"kernelspec": {"name": "conda-env-ml-py"}}, True),
        ({"kernelspec": {"name": ".venv"}}, True),
        ({"kernelspec": {"name": 3, "language": None}}, False),
        ({"kernelspec": "python3", "language_info": []}, False),
        ({"language_info": {"name": "ipython"}}, False),
    ],
)
def test_any_python_kernel_is_python3_and_another_name_is_said(metadata, is_said):
    source = read_notebook(code(HANDLER), metadata=metadata)
    assert (source.kernel, source.language) == ("python3", "python")
    assert bool(source.warnings) is is_said
    if is_said:
        assert metadata["kernelspec"]["name"] in source.warnings[0]


@pytest.mark.parametrize(
    ("metadata", "kernel", "language"),
    [
        ({"kernelspec": {"name": "ir", "language": "R"}}, "ir", "r"),
        (
            {"kernelspec": {"name": "julia-1.9"}, "language_info": {"name": "julia"}},
            "julia-1.9",
            "julia",
        ),
        ({"kernelspec": {"name": "ir"}}, "ir", "ir"),
        ({"language_info": {"name": "bash"}}, "bash", "bash"),
    ],
)
def test_another_language_keeps_its_kernel_and_is_not_parsed(metadata, kernel, language):
    source = read_notebook(code("x <- c(1, 2"), metadata=metadata)
    assert (source.kernel, source.language) == (kernel, language)
    assert source.needs_kernel
    assert not source.has_handler
    assert source.cells[0].problem is None
    assert source.warnings == ()


def test_a_kernel_name_is_never_a_path():
    with pytest.raises(SourceInvalid, match="no name of a kernel"):
        read_notebook(metadata={"kernelspec": {"name": "../../x", "language": "R"}})


@pytest.mark.parametrize(
    ("text", "is_needed"),
    [
        ("import ipywidgets as w", True),
        ("def f():\n    from anywidget.experimental import x", True),
        ("from tqdm.notebook import tqdm", True),
        ("from tqdm import notebook", True),
        ("%matplotlib widget", True),
        ("%matplotlib inline", False),
        ("from tqdm.auto import tqdm", False),
        ("# import ipywidgets", False),
        ("import ipywidgets_like", False),
    ],
)
def test_widgets_need_a_kernel(text, is_needed):
    assert read_notebook(code(text), code(HANDLER)).needs_kernel is is_needed


@pytest.mark.parametrize(
    "document",
    [
        {"nbformat": 3, "worksheets": [{"cells": [{"input": ["a = 1", "b"]}]}]},
        {"nbformat": 2, "worksheets": [{"cells": [{"input": "a = 1\nb"}]}]},
        {"nbformat": 1, "cells": [{"cell_type": "code", "code": "a = 1\nb"}]},
        {"cells": [{"cell_type": "code", "source": ["a = 1\n", "b"]}]},
        {"cells": [{"source": "a = 1\nb", "metadata": None}], "nbformat": "four"},
        {"cells": [{"cell_type": "code", "source": "a = 1\nb"}], "metadata": None, "nbformat": 5},
    ],
    ids=["3", "2", "1", "no nbformat", "no cell type", "from the future"],
)
def test_every_nbformat_is_read(document):
    source = read("a.ipynb", {"a.ipynb": json.dumps(document).encode()})
    assert [cell.text for cell in source.cells] == ["a = 1\nb"]


def test_missing_fields_of_cells_are_tolerated():
    source = read_notebook({"cell_type": "code"}, code(None), {"cell_type": "markdown"})
    assert [cell.text for cell in source.cells] == ["", ""]
    assert read("a", {"a": b'{"nbformat": 4}'}).cells == ()


def test_nan_and_duplicate_keys_in_a_notebook_are_tolerated():
    data = (
        b'{"nbformat": 4, "cells": [], "cells": [{"cell_type": "code", "source": "a", "x": NaN}]}'
    )
    assert read("a.ipynb", {"a.ipynb": data}).cells[0].text == "a"


@pytest.mark.parametrize("cells", [5, [5], [code(5)], [code([5])], [None], {"a": 1}], ids=repr)
def test_a_malformed_notebook_is_refused(cells):
    with pytest.raises(SourceInvalid):
        read("a.ipynb", {"a.ipynb": json.dumps({"nbformat": 4, "cells": cells}).encode()})


def test_the_kind_is_told_by_content():
    assert read("a.py", {"a.py": notebook(code(HANDLER))}).kind == "ipynb"
    assert read("a.ipynb", {"a.ipynb": HANDLER.encode()}).kind == "py"
    assert read("a.py", {"a.py": b"{'a': 1}\n" + HANDLER.encode()}).kind == "py"
    assert read("a.py", {"a.py": b"{}\n" + HANDLER.encode()}).kind == "py"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfx = '\xc3\xa9'\n", "x = 'é'\n"),
        (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", "# -*- coding: latin-1 -*-\nx = 'é'\n"),
        (b"#!/bin/sh\n# vim: set fileencoding=cp1252 :\nx = '\x80'\n", None),
        (b"x = 1\r\ny = 2\r", "x = 1\ny = 2\n"),
    ],
)
def test_n8_encodings_and_newlines_of_python_files(data, text):
    source = read_python(data + HANDLER.encode())
    if text is None:
        assert "x = '€'\n" in source.cells[0].text
    else:
        assert source.cells[0].text == text + HANDLER


def test_a_notebook_may_begin_with_a_byte_order_mark():
    assert read("a.ipynb", {"a.ipynb": b"\xef\xbb\xbf" + notebook(code("a"))}).cells[0].text == "a"


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04abc",
        b"\x7fELF\x02\x01",
        b"MZ\x90\x00\x03",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"%PDF-1.7",
        b"\x1f\x8b\x08",
    ],
    ids=repr,
)
def test_n3_what_is_plainly_another_kind_of_file_is_415(data):
    with pytest.raises(WrongKind) as caught:
        read_python(data)
    assert (caught.value.code, caught.value.status) == ("wrong_kind", 415)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \r\n\t",
        b"\xef\xbb\xbf",
        HANDLER.encode("utf-16"),
        HANDLER.encode("utf-16-le"),
        HANDLER.encode("utf-32-be"),
        b"x = 1\x00",
        b"\x80\x81\x82\x83",
        b"x = '\xe9'\n",
        b"<!doctype html><p>hi",
        b"\n <html>",
        b"<?xml version='1.0'?>",
        b"# coding: utf-16\n",
        b"# coding: unicode_escape\nx = 1\\nimport os\n",
        b"# coding: utf-7\n+AGEAPQAx-\n",
        b"# coding: rot13\n",
        b"# coding: zip\n",
        b"# coding: idna\n",
        b"# coding: no-such-thing\n",
        b"just some text",
        b"x = " + b"[" * 5000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_n8_broken_text_is_422(data):
    with pytest.raises(SourceInvalid) as caught:
        read_python(data)
    assert (caught.value.code, caught.value.status) == ("bad_source", 422)
    with pytest.raises(SourceInvalid):
        read("a.ipynb", {"a.ipynb": data})


@pytest.mark.parametrize("data", [b"[1, 2]", b"{}", b'{"a": 1}', b'"text"', b'{"cells": ['])
def test_json_that_is_no_notebook_is_refused(data):
    with pytest.raises(DjsciError) as caught:
        read("a.ipynb", {"a.ipynb": data})
    assert caught.value.status == 422


def test_broken_json_names_the_line():
    with pytest.raises(SourceInvalid, match="line 2") as caught:
        read("a.ipynb", {"a.ipynb": b'{"cells": [],\n oops}'})
    assert caught.value.errors == [{"line": 2, "message": caught.value.errors[0]["message"]}]


def test_a_missing_entry_is_refused():
    with pytest.raises(SourceInvalid, match="no file"):
        read("b.py", {"a.py": HANDLER.encode()})


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"cells": ' + b"[" * 3_000_000, SourceInvalid),
        (b'{"cells": [], "x": ' + b'{"a":' * 600_000 + b"1" + b"}" * 600_001, SourceInvalid),
        (b'{"cells": [], "x": [' + b"[]," * 1_000_000 + b"[]]}", None),
        (b'{"cells": [], "x": "' + b'\\"' * 1_500_000 + b"\\", SourceInvalid),
        (notebook(*[{"cell_type": "code", "source": "a"}] * 50_000), TooLarge),
        (notebook(*[{"cell_type": "markdown"}] * 10_001), TooLarge),
        (notebook(code("!ls\n" * 50_000)), None),
        (notebook(*[code("!ls")] * 5_000), None),
        (notebook(code("x\n" * 500_000)), TooLarge),
        (notebook(code("%%time\n" * 50_000)), None),
        (notebook(code("x = f'" + "{a}" * 150_000 + "'")), None),
        (notebook(code("x = f'" + ("{a}" * 9 + "\\\n") * 15_000 + "'")), None),
        (notebook(code("x = rf'''" + ("{a}" * 9 + "\n") * 15_000 + "'''")), None),
        (
            notebook(
                code(f"def djsci_handler(a: {'F' + chr(34) + '{a}' * 150_000 + chr(34)!r}): ...")
            ),
            None,
        ),
    ],
    ids=[
        "lists",
        "objects",
        "wide",
        "quotes",
        "cells",
        "markdown",
        "magics",
        "magic cells",
        "code",
        "nested magics",
        "f-string",
        "continued f-string",
        "long f-string",
        "f-string in an annotation",
    ],
)
def test_n4_bombs_are_answered_soon(data, error):
    started = time.monotonic()
    if error is None:
        read("a.ipynb", {"a.ipynb": data})
    else:
        with pytest.raises(error):
            read("a.ipynb", {"a.ipynb": data})
    assert time.monotonic() - started < 10


def test_the_upload_limit_covers_the_companions():
    limits = SourceLimits(upload=200)
    files = {"a.py": HANDLER.encode(), "data.csv": b"x" * 200}
    with pytest.raises(TooLarge) as caught:
        read("a.py", files, limits=limits)
    assert (caught.value.code, caught.value.status) == ("too_large", 413)
    assert read("a.py", {"a.py": HANDLER.encode()}, limits=limits).has_handler


def test_deep_outputs_within_the_limit_are_read():
    deep: Any = 1
    for _ in range(90):
        deep = [deep]
    assert read_notebook(code("a", outputs=[deep])).cells[0].text == "a"


@pytest.mark.parametrize(
    "text",
    ["-" * 100_000 + "1", "(" * 100_000, "a" + ".a" * 100_000, "1+" * 100_000 + "1", "9" * 9999],
    ids=["minus", "parentheses", "attributes", "sum", "digits"],
)
def test_code_that_is_nested_too_deeply_is_refused(text):
    with pytest.raises(SourceInvalid):
        read_python(f"{text}\n{HANDLER}")


def test_nothing_is_executed(tmp_path):
    path = str(tmp_path / "made")
    evil = f"open({path!r}, 'w').close()"
    text = (
        f"{evil}\ndef djsci_handler(request, a: {evil} = {evil}): ...\n"
        f"class E(__import__('enum').Enum):\n    A = {evil}\n"
    )
    read_python(text)
    read_notebook(code(text), code(f"!touch {path}"), code(f"%%time\n{evil}"))
    assert not (tmp_path / "made").exists()


def test_every_truncation_and_every_bent_byte_is_a_source_or_a_clear_error():
    metadata = {"kernelspec": {"name": "ir", "language": "R"}, "a": [1.5, None, "\ud83d\ude00"]}
    whole = notebook(code(["%time x\n", HANDLER]), code("x = 'é'"), metadata=metadata)
    python = f"# coding: latin-1\n'''é'''\n{HANDLER}".encode("latin-1")
    for data, name in ((whole, "a.ipynb"), (python, "a.py")):
        bent = [data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :] for at in range(len(data))]
        for piece in [data[:end] for end in range(len(data))] + bent:
            try:
                source = read(name, {name: piece})
            except (SourceInvalid, WrongKind, TooLarge, NoHandler):
                continue
            assert source.kind in ("ipynb", "py")
