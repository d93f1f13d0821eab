"""What an adapter is."""

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, ClassVar, Literal

from djsci.core.annotations import Schema
from djsci.core.handlers import Function, top_level


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What an adapter looks at: text and tree of a `.py`, or of each code cell of a notebook.

    A cell that is not Python has a text, but no tree.
    """

    kind: Literal["py", "ipynb"]
    texts: tuple[str, ...]
    trees: tuple[ast.Module, ...]


class Adapter(ABC):
    """Reads files of one format from their syntax trees; nothing is executed or imported.

    `name` is what the API shows and a file's setting may be. `is_script`: the file is not loaded
    first, the shim runs it. `unasked`: the kinds of file that it is tried on where none is set.
    """

    name: ClassVar[str]
    is_script: ClassVar[bool] = False
    unasked: ClassVar[tuple[str, ...]] = ("py",)

    @abstractmethod
    def reads(self, code: Code) -> bool:
        """Whether this is a file of the format."""

    @abstractmethod
    def parameters(self, code: Code) -> Schema:
        """The JSON Schema of the file's parameters, of an object."""

    def takes_parameters(self, code: Code) -> bool:
        """Whether the file is given parameters; one that reads the request itself is not."""
        return True

    @abstractmethod
    def shim(self, code: Code) -> str:
        """Python that makes a handler of what the file defines: beside the file, in its process.

        It needs the standard library only and defines `adapt(namespace, path)`: `namespace` is what
        the file defines, empty for a script, and `path` its place. What it returns is called as
        `djsci_handler(request, **parameters)` would be.
        """

    def unplayed(self, code: Code) -> frozenset[int]:
        """The cells of a notebook, counted from 1, that do not run before the shim is asked."""
        return frozenset()


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
