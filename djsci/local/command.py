"""`djsci run FILE`: the arguments, the run, the exit status."""

import argparse
import asyncio
import contextlib
import math
import os
import platform
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from djsci.core import adapters, attachments, parameters, requests, sources
from djsci.core.artifacts import ArtifactContent, content_type
from djsci.core.errors import BadRequest, DjsciError
from djsci.core.sources import Source, SourceLimits
from djsci.engines import libraries
from djsci.engines.base import Engine, Limits, Stop
from djsci.engines.kernel import KernelEngine
from djsci.engines.local import LocalEngine
from djsci.guest.requests import HandlerRequest, UploadedFile
from djsci.names import part_names

from . import beside, usage
from .kept import Kept
from .printer import Printer

SUCCEEDED, FAILED, USAGE, TIMED_OUT, INTERRUPTED = 0, 1, 2, 124, 130
YEARS = 10 * 365 * 86400.0
MOST = 1 << 30  # bytes of the files, of the result, and of what is left
MEMORY = 1 << 50  # it is the user's own machine: nothing is held to less than all of it


def add_to(commands: Any) -> None:
    """Add the command to the parser of all."""
    run = commands.add_parser(
        "run",
        help="run a notebook or Python file here: no server, no database",
        description="Run a local file. `djsci run FILE --help` shows the file's own parameters.",
        add_help=False,
    )
    run.add_argument("file", metavar="FILE", nargs="?", type=Path, help="a .py or .ipynb")
    run.add_argument(
        "-p", "--parameter", metavar="NAME=VALUE", action="append", default=[], dest="given",
        help="may be repeated; one name given twice makes a list; NAME=@PATH for a file",
    )  # fmt: skip
    run.add_argument(
        "--request", metavar="'[METHOD] /PATH[?QUERY]'", default="",
        help="the HTTP request that the handler sees, for files that look at it; default: POST /",
    )  # fmt: skip
    run.add_argument(
        "--with", metavar="FILE", action="append", default=[], type=Path, dest="more",
        help="one more companion; those beside FILE that it imports or names go with it anyway",
    )  # fmt: skip
    run.add_argument("--adapter", default=adapters.AUTO, help="how FILE is read; default: auto")
    run.add_argument(
        "--json", action="store_true", help="the result on one line, on a terminal too"
    )
    run.add_argument("--output", metavar="FILE", type=Path, help="write the result there as well")
    run.add_argument(
        "--artifacts", metavar="FOLDER", type=Path, default=Path(),
        help="where the files go that the run leaves; default: here",
    )  # fmt: skip
    run.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=YEARS)
    run.add_argument("-h", "--help", action="store_true", dest="wants_help")
    run.set_defaults(command=lambda options: execute(options, run), needs_django=False)


def execute(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Do it; the exit status."""
    if options.file is None:
        if options.wants_help:
            parser.print_help()
            return SUCCEEDED
        parser.error("name the FILE to run")
    try:
        source = _read(options)
        if options.wants_help:
            sys.stdout.write(usage.of_source(str(options.file), source.parameters))
            return SUCCEEDED
        _require_libraries(source)
        request = _request(source.parameters, options.given, options.request)
    except DjsciError as error:
        _refuse(error)
        return USAGE
    printer = Printer(
        sys.stdout,
        sys.stderr,
        is_pretty=sys.stdout.isatty() and not options.json,
        has_colours=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
    )
    kept = Kept(options.artifacts)
    try:
        asyncio.run(_play(source, request, options, printer, kept))
        status = _finish(options, printer)
        return FAILED if kept.lost and status == SUCCEEDED else status
    except BrokenPipeError:  # whoever read what is printed has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _read(options: argparse.Namespace) -> Source:
    files = beside.collect(options.file, options.more)
    name, files = part_names(options.file.name, files)
    return sources.read(name, files, limits=SourceLimits(upload=MOST), adapter=options.adapter)


def _require_libraries(source: Source) -> None:
    """Whether this Python has what the file's PEP 723 header asks for. Raises `BadRequest`."""
    asked, version = source.requirements, platform.python_version()
    if asked is None:
        return
    if not asked.takes(version):
        raise BadRequest(f"{source.name} asks for Python {asked.python}; this is {version}.")
    if missing := libraries.lacking(asked, version):
        named = " ".join(map(shlex.quote, missing))
        raise BadRequest(
            f"{source.name} asks for {', '.join(missing)}, which this Python does not have:"
            f" {shlex.quote(sys.executable)} -m pip install {named}"
        )


def _request(schema: Mapping[str, Any], pairs: list[str], line: str) -> HandlerRequest:
    """What the handler is called with. Raises `BadParameters`, `BadRequest`."""
    texts, files = _given(schema, pairs)
    sent = requests.build(files=files)
    values = attachments.attach(schema, parameters.from_text(schema, texts), sent)
    checked = parameters.validate(schema, values, is_text=False, is_strict=True)
    plain, more = attachments.detach(schema, checked)
    request = requests.from_parameters(plain)
    if line:
        method, _, target = line.rpartition(" ")
        path, _, query = target.partition("?")
        request = requests.build(
            method=method or "GET",
            path=path,
            query=query,
            headers=request.headers if pairs else None,
            body=request.body if pairs else b"",
            content_type=request.content_type if pairs else "",
            parameters=plain,
        )
    return replace(request, FILES=requests.with_files(sent.FILES, more))


def _given(
    schema: Mapping[str, Any], pairs: list[str]
) -> tuple[dict[str, list[str]], list[tuple[str, UploadedFile]]]:
    """Texts by name, and the files."""
    texts: dict[str, list[str]] = {}
    files: list[tuple[str, UploadedFile]] = []
    for pair in pairs:
        name, is_pair, text = pair.partition("=")
        if not is_pair or not name:
            raise BadRequest(f"-p takes NAME=VALUE, not {pair!r}.")
        is_file = attachments.takes_file(schema.get("properties", {}).get(name, {}))
        if is_file and text.startswith("@"):
            files.append((name, _file(Path(text[1:]).expanduser())))
        elif is_file and os.path.isfile(text):
            raise BadRequest(f"{name}: -p {name}=@{text} gives the file.")
        else:
            texts.setdefault(name, []).append(text)
    return texts, files


def _file(path: Path) -> UploadedFile:
    content = beside.read(path)
    return UploadedFile(name=path.name, content_type=content_type(path.name), content=content)


def _refuse(error: DjsciError) -> None:
    fields = [one for one in error.errors if "field" in one]
    lines = [f"  {one['field']}: {one['message']}" for one in fields] or [f"  {error.detail}"]
    sys.stderr.write("\n".join([f"djsci: {error.title}", *lines]) + "\n")


async def _play(
    source: Source,
    request: HandlerRequest,
    options: argparse.Namespace,
    printer: Printer,
    kept: Kept,
) -> None:
    engine: Engine = KernelEngine(size=0) if source.needs_kernel else LocalEngine()
    limits = Limits(timeout=options.timeout, memory=MEMORY, result=MOST, artifacts=MOST)
    stop = Stop()
    with _stopped_by_signals(stop):
        await engine.open()
        if isinstance(engine, LocalEngine):
            printer.named = (engine.work, str(options.file.resolve().parent))
        try:
            async with aclosing(engine.execute(source, request, limits=limits, stop=stop)) as said:
                async for event in said:
                    if isinstance(event, ArtifactContent):
                        kept.take(event)
                    printer.show(event)
        finally:
            await engine.close()
    for line in kept.told():
        printer.say(line)


@contextlib.contextmanager
def _stopped_by_signals(stop: Stop) -> Iterator[None]:
    """Ctrl-C interrupts the run; a second one kills it."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_asked:
            stop.force()
        stop.ask("cancelled")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _finish(options: argparse.Namespace, printer: Printer) -> int:
    end = printer.end
    try:
        printer.finish(options.output)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        printer.say(f"djsci: {options.output} cannot be written: {error.strerror}")
        return FAILED
    if end.state == "succeeded":
        return SUCCEEDED
    printer.say(f"djsci: {end.state}{f': {end.reason}' if end.reason else ''}")
    if end.reason == "bad_parameters":
        return USAGE
    return {"timed_out": TIMED_OUT, "cancelled": INTERRUPTED}.get(end.state, FAILED)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (seconds > 0 and math.isfinite(seconds)):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds over 0")
    return min(seconds, YEARS)
