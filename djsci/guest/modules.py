"""The entry as a module: fresh for each run, under a name that shadows nothing."""

import importlib.util
import re
import sys
from collections.abc import Container
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


def load_module(entry: Path, *, on_path: bool = True) -> ModuleType:
    """Execute the file `entry` of a run's folder as a fresh module and return it.

    For a process that serves one run (`on_path`): its folder joins `sys.path` last, so that
    companions import by name and shadow nothing. What the file raises passes through; the module is
    in `sys.modules` before it runs.
    """
    code = compile(entry.read_bytes(), str(entry), "exec", dont_inherit=True)
    module = new_module(str(entry))
    sys.modules[module.__name__] = module
    if on_path and str(entry.parent) not in sys.path:
        sys.path.append(str(entry.parent))
    run_code(code, module.__dict__)
    return module


def run_code(code: CodeType, namespace: dict[str, Any]) -> None:
    """Run user code. To do so is what djsci is for, and it is done here."""
    exec(code, namespace)  # noqa: S102


def new_module(path: str, *, ours: Container[str] = ()) -> ModuleType:
    """An empty module for the entry at `path`."""
    module = ModuleType(module_name(path, ours=ours))
    module.__file__ = path
    return module


def module_name(path: str, *, ours: Container[str] = ()) -> str:
    """A file's stem as an identifier, with an underscore where a module not of `ours` bears it."""
    stem = re.sub(r"\W", "_", Path(path).stem) or "_"
    stem = f"_{stem}" if stem[0].isdigit() else stem
    while is_taken(stem, path, ours=ours):
        stem += "_"
    return stem


def is_taken(name: str, path: str, *, ours: Container[str] = ()) -> bool:
    """Whether `import name` would find another module than the file at `path`."""
    if name in ours:
        return False
    if name in sys.modules:
        return True
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    return spec is not None and spec.origin != path
