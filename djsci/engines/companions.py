"""Modules of runs that share a process: each run has its own, under the names that files give."""

import builtins
import importlib.util
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from djsci.guest.modules import is_taken, new_module, run_code

from .code import module_code


class _Registry:
    """Which of `sys.modules` are runs' own; several runs may use one name at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, list[ModuleType]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._live

    def add(self, module: ModuleType) -> None:
        with self._lock:
            self._live.setdefault(module.__name__, []).append(module)
            sys.modules[module.__name__] = module

    def remove(self, module: ModuleType) -> None:
        with self._lock:
            modules = self._live[module.__name__]
            modules.remove(module)
            if modules:
                sys.modules[module.__name__] = modules[-1]
                return
            del self._live[module.__name__]
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]


registry = _Registry()


class Companions:
    """A run's modules: its builtins import companions from its own folder, others as always."""

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        self.folder = folder
        self._files = files
        self._modules: dict[str, ModuleType] = {}
        self._all: list[ModuleType] = []
        self.builtins: dict[str, Any] = {
            **vars(builtins),
            "__import__": self._import,
            "exit": _exit,
            "input": _input,
            "quit": _exit,
        }

    def module(self, name: str) -> ModuleType:
        """A fresh, empty module for a file of the run."""
        module = new_module(str(self.folder / name), ours=registry)
        module.__dict__["__builtins__"] = self.builtins
        registry.add(module)
        self._all.append(module)
        return module

    def close(self) -> None:
        """Forget the modules."""
        for module in self._all:
            registry.remove(module)
        self._all.clear()

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0 and f"{name}.py" in self._files:
            if name in self._modules:
                return self._modules[name]
            if not is_taken(name, str(self.folder / f"{name}.py"), ours=registry):
                return self._load(name)
        return builtins.__import__(name, globals, locals, fromlist, level)

    def _load(self, name: str) -> ModuleType:
        path = self.folder / f"{name}.py"
        code = module_code(importlib.util.decode_source(self._files[path.name]), str(path))
        module = self._modules[name] = self.module(path.name)
        try:
            run_code(code, module.__dict__)
        except BaseException:
            del self._modules[name]
            raise
        return module


def _exit(code: Any = None) -> None:
    raise SystemExit if code is None else SystemExit(code)


def _input(prompt: object = "") -> str:
    raise EOFError("input() has nothing to read: a run has no keyboard")
