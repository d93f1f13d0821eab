"""Bytes of an uploaded file become a `Source`; nothing is executed."""

import ast
import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn

from . import adapters, handlers, notebooks, requirements, schema
from .errors import NoHandler, SourceInvalid, TooLarge
from .events import clean
from .kinds import decode, python_text, refuse_other_kinds
from .requirements import Requirements
from .syntax import CODE_LIMIT, CellParser, Unparsable, parse
from .syntax import Problem as Problem


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
    adapter: str = adapters.HANDLER
    shim: str = ""  # of the adapter: Python that makes the handler, beside the file
    is_script: bool = False  # the shim runs the file; nothing loads it first
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON Schema of an object
    takes_parameters: bool = True  # False: it is given the request only, or nothing
    kernel: str = "python3"  # the kernelspec that runs it
    language: str = "python"
    needs_kernel: bool = False
    warnings: tuple[str, ...] = ()
    requirements: Requirements | None = None  # of the file's PEP 723 header
    file: str = ""  # whose version it is, and which one: for engines that keep it loaded
    version: str = ""
    run: str = ""  # the id of the run that plays it


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """Caps that hold before anything is parsed. Sizes in bytes."""

    upload: int = 20 << 20
    cells: int = 10_000
    depth: int = 100


def read(
    name: str,
    files: Mapping[str, bytes],
    *,
    limits: SourceLimits | None = None,
    adapter: str = adapters.AUTO,
) -> Source:
    """The source whose entry is `files[name]`, read by the adapter of this name.

    Raises `WrongKind` (neither notebook nor Python), `TooLarge`, `SourceInvalid` (with cell and
    line), `NoHandler` (the adapter does not read it; by itself none reads a `.py`).
    """
    limits = limits or SourceLimits()
    if name not in files:
        raise SourceInvalid(f"There is no file {name!r} to run.")
    if sum(map(len, files.values())) > limits.upload:
        raise TooLarge(f"The files are larger than {limits.upload:,} bytes together.")
    data = files[name]
    refuse_other_kinds(name, data)
    document = _notebook(name, data, limits)
    if document is None:
        return _read_python(name, data, files, adapter)
    return _read_notebook(name, document, files, limits, adapter)


def _notebook(name: str, data: bytes, limits: SourceLimits) -> dict[str, Any] | None:
    """The notebook in `data`, None when it is to be read as Python."""
    data = data.removeprefix(codecs.BOM_UTF8)
    is_named_notebook = name.lower().endswith(".ipynb")
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        document = notebooks.load(decode(name, data, "utf-8"), name=name, depth=limits.depth)
    except SourceInvalid:
        if name.lower().endswith(".py") and not _says_notebook(data):
            return None
        raise
    if document is None and is_named_notebook:
        raise SourceInvalid(f"{name} is JSON, but no notebook: it has no `cells`.")
    return document


def _says_notebook(data: bytes) -> bool:
    return b'"cells"' in data or b'"nbformat"' in data or b'"worksheets"' in data


def _read_python(name: str, data: bytes, files: Mapping[str, bytes], adapter: str) -> Source:
    text = python_text(name, data)
    _refuse_much_code(name, len(text))
    try:
        tree = parse(text)
    except Unparsable as error:
        _raise_invalid(name, error)
    source = Source(
        name=name,
        kind="py",
        cells=(SourceCell(index=1, text=text),),
        files=dict(files),
        needs_kernel=handlers.needs_kernel([tree], [text]),
        requirements=requirements.read(name, [text], is_notebook=False),
    )
    handler = handlers.find([tree]) or _companions_handler([tree], files)
    if handler is not None and adapter in (adapters.AUTO, adapters.HANDLER):
        parameters = schema.of_handler(handler.node, [tree])
        takes = schema.takes_any(parameters, handler.node)
        return replace(source, parameters=parameters, takes_parameters=takes)
    code = adapters.Code(kind="py", texts=(text,), trees=(tree,))
    found = adapters.find(code) if adapter == adapters.AUTO else adapters.known().get(adapter)
    if found is None and adapter in (adapters.AUTO, adapters.HANDLER):
        raise NoHandler(f"{name} defines no top-level `djsci_handler(request)`.")
    return _adapted(source, found, adapter, code)


def _adapted(
    source: Source, found: adapters.Adapter | None, name: str, code: adapters.Code
) -> Source:
    """The source as an adapter reads it. Raises `NoHandler`."""
    if found is None or not found.reads(code):
        raise NoHandler(f"The adapter {name!r} does not read {source.name}.")
    unplayed = found.unplayed(code)
    parameters = found.parameters(code)
    return replace(
        source,
        cells=tuple(
            replace(cell, tags=cell.tags | {"skip-execution"}) if cell.index in unplayed else cell
            for cell in source.cells
        ),
        has_handler=True,
        adapter=found.name,
        parameters=parameters,
        takes_parameters=found.takes_parameters(code) and schema.takes_any(parameters),
        shim=found.shim(code),
        is_script=found.is_script,
    )


def _raise_invalid(name: str, error: Unparsable) -> NoReturn:
    place = f"{name}, line {error.line}" if error.line else name
    raise SourceInvalid(
        f"{place}: {error.message}", errors=[{"line": error.line, "message": error.message}]
    ) from error


def _refuse_much_code(name: str, size: int) -> None:
    if size > CODE_LIMIT:
        raise TooLarge(
            f"{name} holds {size:,} characters of code; {CODE_LIMIT:,} are read."
            " Put data into a companion file."
        )


def _read_notebook(
    name: str,
    document: dict[str, Any],
    files: Mapping[str, bytes],
    limits: SourceLimits,
    adapter: str,
) -> Source:
    cells = notebooks.code_cells(document, name=name, limit=limits.cells)
    kernel = notebooks.kernel(document, name=name)
    _refuse_much_code(name, sum(len(cell.text) for cell in cells))
    warnings = [kernel.warning] if kernel.warning else []
    if kernel.language != "python":
        return Source(
            name=name,
            kind="ipynb",
            cells=tuple(_cell(index, cell) for index, cell in enumerate(cells, start=1)),
            files=dict(files),
            has_handler=False,
            adapter=adapters.NOTEBOOK,
            parameters=schema.NO_PARAMETERS,
            takes_parameters=False,
            kernel=kernel.name,
            language=kernel.language,
            needs_kernel=True,
            warnings=tuple(warnings),
        )
    parsed = _parse_cells(cells)
    trees = [tree for _, tree in parsed if tree is not None]
    warnings += [_warning(cell.problem) for cell, _ in parsed if cell.problem is not None]
    handler = handlers.find(trees) or _companions_handler(trees, files)
    if adapter == adapters.NOTEBOOK:
        handler = None
    parameters = _parameters(handler, parsed, trees)
    source = Source(
        name=name,
        kind="ipynb",
        cells=tuple(cell for cell, _ in parsed),
        files=dict(files),
        has_handler=handler is not None,
        adapter=adapters.NOTEBOOK if handler is None else adapters.HANDLER,
        parameters=parameters,
        takes_parameters=schema.takes_any(parameters, handler.node if handler else None),
        needs_kernel=handlers.needs_kernel(trees, [cell.text for cell in cells]),
        warnings=tuple(warnings),
        requirements=requirements.read(
            name,
            [cell.text for cell in cells],
            is_notebook=True,
            metadata=notebooks.metadata(document),
        ),
    )
    code = adapters.Code(
        kind="ipynb", texts=tuple(cell.text for cell in source.cells), trees=tuple(trees)
    )
    is_auto = adapter == adapters.AUTO and handler is None
    found = adapters.find(code) if is_auto else adapters.known().get(adapter)
    if found is None and adapter in (adapters.AUTO, source.adapter):
        return source
    return _adapted(source, found, adapter, code)


def _warning(problem: Problem) -> str:
    line = f", line {problem.line}" if problem.line else ""
    return f"Cell {problem.cell}{line}: {problem.message}"


def _cell(index: int, cell: notebooks.CodeCell, problem: Problem | None = None) -> SourceCell:
    return SourceCell(index=index, text=clean(cell.text), tags=cell.tags, problem=problem)


def _parse_cells(cells: list[notebooks.CodeCell]) -> list[tuple[SourceCell, ast.Module | None]]:
    """Each cell with its tree: None where it is not Python, not checked, or has a problem."""
    parser = CellParser()
    parsed: list[tuple[SourceCell, ast.Module | None]] = []
    for index, cell in enumerate(cells, start=1):
        try:
            parsed.append((_cell(index, cell), parser.parse(cell.text)))
        except Unparsable as error:
            problem = Problem(message=error.message, cell=index, line=error.line)
            parsed.append((_cell(index, cell, problem), None))
    return parsed


def _parameters(
    handler: handlers.Handler | None,
    parsed: list[tuple[SourceCell, ast.Module | None]],
    trees: list[ast.Module],
) -> dict[str, Any]:
    if handler is not None:
        return schema.of_handler(handler.node, trees)
    for cell, tree in parsed:
        if "parameters" in cell.tags:
            return schema.of_parameters_cell(tree or ast.Module([], []), cell.text, trees)
    return dict(schema.NO_PARAMETERS)


def _companions_handler(
    trees: list[ast.Module], files: Mapping[str, bytes]
) -> handlers.Handler | None:
    """A handler that `from companion import *` brings; its signature is not looked at."""
    for module in handlers.star_imports(trees):
        data = files.get(f"{module}.py", b"")
        if re.search(rb"^(async\s+)?def\s+djsci_handler\b", data, re.MULTILINE):
            return handlers.Handler()
    return None
