"""Bytes of an uploaded file become a `Source`; nothing is executed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong at a place of a source; cell and line count from 1."""

    message: str
    cell: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCell:
    """One code cell: `index` counts code cells from 1. A `.py` is one cell."""

    index: int
    text: str
    tags: frozenset[str] = frozenset()
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A version's entry, ready to run, with every file of the version by name."""

    name: str
    kind: Literal["py", "ipynb"]
    cells: tuple[SourceCell, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    has_handler: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON Schema of an object
    kernel: str = "python3"  # the kernelspec that runs it
    language: str = "python"
    needs_kernel: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """Caps that hold before anything is parsed. Sizes in bytes."""

    upload: int = 20 << 20
    cells: int = 10_000
    depth: int = 100


def read(name: str, files: Mapping[str, bytes], *, limits: SourceLimits | None = None) -> Source:
    """The source whose entry is `files[name]`.

    Raises `WrongKind` (neither notebook nor Python), `TooLarge`, `SourceInvalid` (with cell and
    line), `NoHandler` (a `.py` without one).
    """
    raise NotImplementedError
