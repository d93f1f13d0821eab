"""The console's committed bundle: small, self-contained, and what its source builds."""

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from .servers import absent

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "djsci" / "static" / "djsci"
NODE = ROOT / ".ci" / "node"


@pytest.mark.parametrize(("name", "limit"), [("console.js", 30_000), ("console.css", 6_000)])
def test_the_bundle_is_small(name: str, limit: int):
    data = (STATIC / name).read_bytes()
    assert data
    assert len(gzip.compress(data, 9, mtime=0)) <= limit


def test_the_bundle_is_two_files_without_a_map():
    assert {path.name for path in STATIC.iterdir()} == {"console.js", "console.css", "icon.svg"}
    for path in STATIC.iterdir():
        assert "sourceMappingURL" not in path.read_text()


def test_the_bundle_makes_no_code_of_text_and_no_markup_but_lits():
    script = (STATIC / "console.js").read_text()
    assert not re.search(r"\beval\s*\(|new Function\b|\bFunction\s*\(|document\.write", script)
    assert not re.search(r"\bimport\s*\(|(?:^|[;}])import\b", script)
    # Lit fills its templates, which are constants of ours, under its own Trusted Types policy.
    assert len(re.findall(r"\.(?:inner|outer)HTML\b|insertAdjacentHTML", script)) == 1


def test_the_bundle_names_no_foreign_address():
    for name in ("console.js", "console.css"):
        found = re.findall(r"(?:https?:|wss?:)?//[\w.-]+\.[a-z]{2,}[^\s\"'`)]*", text_of(name))
        # Names of XML's namespaces are never fetched.
        assert [address for address in found if "www.w3.org/" not in address] == []
    assert "@import" not in text_of("console.css")
    assert not re.search(r"url\(", text_of("console.css"))


def text_of(name: str) -> str:
    return (STATIC / name).read_text()


@pytest.mark.timeout(300)
def test_the_bundle_is_what_its_source_builds():
    """Types, lint and the console's own tests hold; the build changes no byte."""
    probe = npm("--version")
    if probe.returncode:
        absent("node", f"neither 20.19 nor its wheel: {probe.stderr.strip()[-300:]}")
    before = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    for step in (["ci", "--silent"], ["run", "check"], ["test"], ["run", "build"]):
        done = npm(*step)
        assert done.returncode == 0, f"npm {step}\n{done.stdout[-8000:]}{done.stderr[-4000:]}"
    after = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert changed == [], "commit what `make console` builds"


def npm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(NODE), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
