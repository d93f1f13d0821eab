"""PEP 723 headers: what is read, and what is refused with its line."""

import pytest

from djsci.core import sources
from djsci.core.errors import SourceInvalid
from djsci.core.requirements import Requirements
from djsci.engines import libraries
from tests.conftest import notebook

HANDLER = "def djsci_handler(request):\n    return 1\n"
HEADER = """# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "Foo_Bar>=1,<2",
#   'b[x] ; python_version > "3"',
# ]
# [tool.uv]
# index = "https://elsewhere"
# ///
"""
ASKED = Requirements(dependencies=('b[x]; python_version > "3"', "foo-bar<2,>=1"), python=">=3.11")


def of_python(text: str) -> Requirements | None:
    return sources.read("a.py", {"a.py": text.encode()}).requirements


def block(*lines: str) -> str:
    return "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", HANDLER])


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (HANDLER, None),
        (HEADER + HANDLER, ASKED),
        (f"#!/usr/bin/env python3\n\n{HANDLER}\n{HEADER}", ASKED),
        (HEADER.replace("\n", "\r\n") + HANDLER, ASKED),
        ("# /// other\n# a = [\n# ///\n" + HANDLER, None),
        ("# /// script\n# ///\n" + HANDLER, Requirements()),
        ("# /// script\n# dependencies = []\n#\n# ///\n" + HANDLER, Requirements()),
        (block('"""# ///"""= 1'), "TOML"),
    ],
    ids=["none", "header", "below", "crlf", "another", "empty", "nothing", "no toml"],
)
def test_a_header_is_read_as_its_specification_says(text: str, asked: Requirements | str | None):
    if isinstance(asked, str):
        with pytest.raises(SourceInvalid, match=asked):
            of_python(text)
    else:
        assert of_python(text) == asked


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"a = 1\n{HEADER}\n{HEADER}{HANDLER}", 12, "several"),
        (f"{HANDLER}\n# /// script\n# dependencies = []\n", 4, "not closed"),
        (block("dependencies = [", '  "a",', "  b]"), 4, "TOML"),
        (block("dependencies = 'a'"), 2, "list of texts"),
        (block("dependencies = [1]"), 2, "list of texts"),
        (block("", "requires-python = 3.11"), 3, "not a text"),
        (block("requires-python = 'three'"), 2, "names no versions"),
        (block("dependencies = [", '"a",', '"-r other.txt",', "]"), 4, "no dependency"),
        (block('dependencies = ["--index-url=https://x"]'), 2, "no dependency"),
        (block('dependencies = ["../local"]'), 2, "no dependency"),
        (block('dependencies = ["./a.whl"]'), 2, "no dependency"),
        (block('dependencies = ["a @ https://x/a.whl"]'), 2, "addresses"),
        (block('dependencies = ["a @ file:///etc"]'), 2, "addresses"),
        (block('dependencies = ["a===../../../srv/project"]'), 2, "paths"),
        (block('dependencies = ["git+https://x/y"]'), 2, "no dependency"),
        (block('dependencies = ["a\\n-r b"]'), 2, "no dependency"),
        (block("dependencies = ['a" + ">=1," * 200 + "']"), 2, "no dependency"),
        (block("dependencies = [" + '"a",' * 101 + "]"), 2, "100 are allowed"),
        (block("dependencies = " + "[" * 5000), 2, "TOML"),
        (block("a." * 30_000 + "a = 1"), 2, "more than 16,384 characters"),
    ],
    ids=lambda value: None,
)
def test_a_bad_header_is_refused_at_upload_with_its_line(text: str, line: int, message: str):
    with pytest.raises(SourceInvalid, match=message) as refused:
        of_python(text)
    assert refused.value.errors[0]["line"] == line


def test_a_notebook_has_its_header_in_a_cell_or_in_its_metadata():
    found = sources.read("a.ipynb", {"a.ipynb": notebook("1", HEADER)}).requirements
    assert found == ASKED
    table = {"requires-python": ">=3.11", "dependencies": list(ASKED.dependencies)}
    for metadata in ({"script": table}, {"marimo": {"header": HEADER}}):
        content = notebook("1", metadata=metadata)
        assert sources.read("a.ipynb", {"a.ipynb": content}).requirements == ASKED
    content = notebook("1", metadata={"script": "my script"})
    assert sources.read("a.ipynb", {"a.ipynb": content}).requirements is None
    for cells, metadata, message in (
        (("1", HEADER, HEADER), {}, "cell 3, line 1: there are several"),
        ((HEADER,), {"script": table}, "several"),
        (("1", "# /// script\n# dependencies = ['/a']\n# ///"), {}, "cell 2, line 2"),
        (("1",), {"script": {"dependencies": "a"}}, "metadata"),
        (("1",), {"marimo": {"header": "# /// script\n# =\n# ///"}}, "metadata"),
    ):
        with pytest.raises(SourceInvalid, match=message):
            sources.read("a.ipynb", {"a.ipynb": notebook(*cells, metadata=metadata)})


@pytest.mark.parametrize("marker", ["os_name ~= 'x'", "'a' ~= 'b'"])
def test_what_compares_nothing_is_lacking(marker: str):
    asked = of_python(block(f'dependencies = ["pip; {marker}"]'))
    assert asked is not None
    assert libraries.lacking(asked, "3.12.0") == asked.dependencies


@pytest.mark.timeout(30)
def test_a_long_file_of_starts_is_read_in_one_pass():
    assert of_python("# /// other\n" * 40_000 + "\n# /// script\n# a = 1\n# ///\n" + HANDLER)
