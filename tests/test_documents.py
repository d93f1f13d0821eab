"""README and docs: their blocks are executed as they stand; only host and program are ours."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from djsci.core import sources
from tests import live
from tests.servers import absent

ROOT = Path(__file__).parent.parent
NODE = ROOT / ".ci" / "node"
HOST = "http://127.0.0.1:8000"
DOCUMENTS = ("README.md", "docs/doors.md")
PRINTED = {  # by the blocks that do not show what they print themselves
    ("README.md", "python"): ["{'items': ['desk', 'lamp'], 'delivery': None}\n"],
    ("README.md", "js"): ["{ items: [ 'desk', 'lamp' ], delivery: null }\n"],
    ("docs/doors.md", "python"): ["[{'item': 'sofa', 'price': 899}]\n"],
    ("docs/doors.md", "js"): [
        "[ { item: 'sofa', price: 899 } ]\n",
        "printed: 3 rows\n[ { item: 'sofa', price: 899 } ]\nsucceeded\n",
    ],
}


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def handler_of(document: str) -> tuple[str, str]:
    """Name and code of the document's file: the block that begins with its name."""
    named = [text for text in blocks(document, "python") if re.match(r"# \w+\.py\n", text)]
    [found] = [text for text in named if "def djsci_handler(" in text]
    return found.partition("\n")[0].removeprefix("# "), found


@dataclass
class Reader:
    """Somebody who types what a document says, in a folder with its files."""

    site: live.Site
    folder: Path
    token: str

    def types(self, *command: str, folder: Path | None = None) -> str:
        """What a program prints, on stdout and stderr as they come."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DJ")}
        programs = os.pathsep.join([str(self.folder / "bin"), kept["PATH"]])
        done = subprocess.run(
            command,
            cwd=folder or self.folder,
            env={**kept, "PATH": programs, "DJSCI_TOKEN": self.token, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def here(self, text: str) -> str:
        assert self.token not in text
        return text.replace(HOST, self.site.url)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    found = [handler_of(document) for document in DOCUMENTS]
    for name, code in found:
        (folder / name).write_text(code)
    [table] = blocks("docs/doors.md", "csv")
    (folder / "sales.csv").write_text(table)
    (folder / "bin").mkdir()
    program = folder / "bin" / "djsci"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m djsci "$@"\n')
    program.chmod(0o755)
    files = [
        {"name": name.removesuffix(".py"), "owner": "ada", "files": {name: code}}
        for name, code in found
    ]
    with live.server("uvicorn") as site:
        made = site.seed({"users": [{"name": "ada"}], "files": files})
        yield Reader(site, folder, made.tokens["ada"])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_curl_and_the_command_line_print_what_the_document_shows(reader: Reader, document: str):
    """Blocks in which a line after `$ ` is typed, and the rest is printed."""
    said: list[str] = []
    for block in blocks(document, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, printed = part.partition("\n")
            said.append(line.split()[0])
            quiet = line.replace("curl ", "curl -sS --fail-with-body ", 1)  # no meter in a pipe
            answered = reader.types("sh", "-c", reader.here(quiet))
            assert answered.replace("\r\n", "\n").rstrip("\n") == printed.rstrip("\n")
    assert set(said) == {"curl", "djsci"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_calls_the_handler(reader: Reader, document: str):
    calls = [text for text in blocks(document, "python") if HOST in text]
    printed = [reader.types(sys.executable, "-c", reader.here(text)) for text in calls]
    assert printed == PRINTED[document, "python"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_javascript_calls_the_handler_and_follows_its_socket(reader: Reader, document: str):
    probe = subprocess.run(["sh", NODE, "--version"], cwd=ROOT, capture_output=True, text=True)
    if probe.returncode:
        absent("node", f"neither 20.19 nor its wheel: {probe.stderr.strip()[-300:]}")
    printed = []
    for number, text in enumerate(blocks(document, "js")):
        script = reader.folder / f"block-{number}.mjs"
        script.write_text(reader.here(text))
        # Node 20 has a WebSocket that must be asked for; later ones have it anyway.
        call = f"cd '{reader.folder}' && node --experimental-websocket '{script}'"
        printed.append(reader.types("sh", str(NODE), "exec", "--call", call, folder=ROOT))
    assert printed == PRINTED[document, "js"]


def test_every_handler_that_a_document_shows_can_be_uploaded():
    shown = [
        text
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for text in blocks(str(path.relative_to(ROOT)), "python")
        if "def djsci_handler(" in text
    ]
    assert len(shown) >= 5
    for text in shown:
        source = sources.read("shown.py", {"shown.py": text.encode()})
        assert source.adapter == "handler"
        exec(compile(text, "shown.py", "exec"), {"__name__": "shown"})  # noqa: S102 - our own
