"""What an adapter is."""

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, ClassVar

from djsci.core.annotations import Schema
from djsci.core.handlers import Function, top_level


class Adapter(ABC):
    """Reads files of one format from their syntax trees; nothing is executed or imported.

    `name` is what the API shows and a file's setting may be. `is_script`: the file is not loaded
    first, the shim runs it.
    """

    name: ClassVar[str]
    is_script: ClassVar[bool] = False

    @abstractmethod
    def reads(self, trees: Sequence[ast.Module]) -> bool:
        """Whether this is a file of the format: one tree, or one for each cell of a notebook."""

    @abstractmethod
    def parameters(self, trees: Sequence[ast.Module]) -> Schema:
        """The JSON Schema of the file's parameters, of an object."""

    @abstractmethod
    def shim(self, trees: Sequence[ast.Module]) -> str:
        """Python that makes a handler of what the file defines: beside the file, in its process.

        It needs the standard library only and defines `adapt(namespace, path)`: `namespace` is what
        the file defines, empty for a script, and `path` its place. What it returns is called as
        `djsci_handler(request, **parameters)` would be.
        """


def shim_text(name: str, spec: Any = None) -> str:
    """The text of one of our shims; `spec`, which is JSON, is there under the name `SPEC`."""
    text = (files("djsci.guest.shims") / f"{name}.py").read_text(encoding="utf-8")
    return f"{text}\nSPEC = {spec!r}\n"


def function(name: str, trees: Sequence[ast.Module]) -> Function | None:
    """The last function of this name that is defined at the top."""
    found = [one for one in statements(trees) if isinstance(one, Function) and one.name == name]
    return found[-1] if found else None


def statements(trees: Sequence[ast.Module]) -> Iterator[ast.stmt]:
    """What runs when the file does, in order."""
    for tree in trees:
        yield from top_level(tree)


def texts(trees: Sequence[ast.Module]) -> set[str]:
    """Every piece of text that the code holds."""
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
