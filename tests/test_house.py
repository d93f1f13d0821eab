"""The house holds: layers, what loads without Django, and documents that name everything."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from djsci import conf
from djsci.core import errors
from djsci.isolation import bwrap

ROOT = Path(__file__).parent.parent


def test_imports_go_down_only():
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["core", "guest", "engines", "isolation"])
def test_the_package_loads_without_django(package: str):
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "djsci" / package).glob("*.py"))
        if path.name not in ("__init__.py", "__main__.py", "registry.py", "opening.py", "launch.py")
    ]
    assert names
    code = f"""
import importlib, sys
sys.modules["django"] = None
for name in {["djsci", *names]!r}:
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_guest_imports_the_standard_library_and_itself_only():
    allowed = set(sys.stdlib_module_names) | {"IPython", "traitlets", "numpy", "pandas", "djsci"}
    in_kernels = {"ipykernel", "tornado", "zmq"}  # what a kernel's process has by itself
    for path in (ROOT / "djsci" / "guest").rglob("*.py"):
        found = re.findall(r"^\s*(?:from|import) ([A-Za-z_]\w*)", path.read_text(), re.MULTILINE)
        assert set(found) <= allowed | (in_kernels if path.name == "kernel.py" else set()), path


def test_models_and_migrations_agree(db: None):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_every_setting_is_documented():
    text = (ROOT / "docs" / "settings.md").read_text()
    missing = [key for key in conf.DEFAULTS if f"`{key}`" not in text]
    assert missing == []


def test_every_error_code_is_documented():
    text = (ROOT / "docs" / "errors.md").read_text()
    codes = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DjsciError)
    }
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []


def test_every_promise_links_to_a_test_that_is_there():
    folder = ROOT / "docs"
    promises = (folder / "promises.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)#(\w+)\)", promises)
    assert len(links) > 40
    for path, name in links:
        text = (folder / path).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), (path, name)


def test_c11_what_has_known_holes_is_not_installed():
    """C11: below these versions djsci, or the wall it relies on, is not what is promised."""
    text = (ROOT / "pyproject.toml").read_text()
    floors = ("django>=5.2.14", "channels>=4.3", "daphne>=4.2.3", "jupyter-client>=8.9")
    assert [floor for floor in (*floors, "ipykernel>=7.4") if f'"{floor}' not in text] == []
    assert bwrap.LEAST_VERSION >= (0, 8)


def test_celery_is_imported_only_where_it_is_the_dispatcher():
    """By its own process, by its dispatcher's module, and by checks once it is chosen."""
    importers = set()
    for path in (ROOT / "djsci").rglob("*.py"):
        text = path.read_text()
        if re.search(r"^(?:import|from) (?:celery|kombu)\b", text, re.MULTILINE):
            importers.add(path.name)
        if path.name != "tasks.py":
            assert not re.search(r"^from .*\b(?:bells|tasks)\b.* import", text, re.MULTILINE), path
            assert not re.search(r"^from \S+ import .*\b(?:bells|tasks)\b", text, re.MULTILINE)
    assert importers == {"bells.py", "tasks.py"}


def test_h15_no_pickle_is_loaded_and_exec_stays_where_user_code_runs():
    """C2, C9: no code of a request is executed by the server, no value is rebuilt from bytes.

    What runs is a stored version: in a guest, or in the thread of a trusted one.
    """
    for path in (ROOT / "djsci").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    loaded = {alias.name for alias in names}
                case ast.ImportFrom(module=module):
                    loaded = {module}
                case ast.Call(func=ast.Name(id="exec" | "eval")):
                    is_users = "guest" in path.parts or path.match("engines/playing.py")
                    assert is_users, (path, node.lineno)
                    continue
                case _:
                    continue
            assert not loaded & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}, path
    importers = [path.name for path in (ROOT / "djsci").rglob("*.py") if _plays(path)]
    assert importers == ["thread.py"]


def _plays(path: Path) -> bool:
    return "import playing" in path.read_text() or "from .playing" in path.read_text()
