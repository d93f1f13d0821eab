"""One run in a thread of this process, from its files to its outcome."""

import asyncio
import contextlib
import linecache
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from djsci.core import events
from djsci.core.artifacts import ArtifactContent, content_type
from djsci.core.sources import Source, SourceCell
from djsci.guest import api, call, results
from djsci.guest.artifacts import Artifacts
from djsci.guest.modules import run_code
from djsci.guest.requests import HandlerRequest

from . import folders
from .base import Limits, known_of
from .capture import Name, listener
from .code import cell_code, module_code, plain_python
from .companions import Companions
from .frames import explained, reason
from .outbox import Outbox

LEFTOVERS = 1.0  # seconds that threads and tasks get after the handler has returned
NO_SHELL = "Magics and !commands need IPython: set this file's engine to `auto`."


class Play:
    """Runs a source; says what happens to the outbox; `outcome` is (state, reason)."""

    def __init__(
        self, source: Source, request: HandlerRequest, *, limits: Limits, outbox: Outbox
    ) -> None:
        self.source = source
        self.request = request
        self.limits = limits
        self.outbox = outbox
        self.is_cancelled = threading.Event()
        self.outcome: tuple[events.FinalState, str] = ("crashed", "the thread ended without a word")
        self.result: events.Result | None = None
        self._threads: list[threading.Thread] = []
        self._runner = asyncio.Runner()
        self._has_loop = False
        self._entry: dict[str, int | None] = {}
        self._value: Any = None
        self._folder: Path | None = None
        self._artifacts: Artifacts | None = None

    def run(self) -> None:
        """To be called in the run's thread, once."""
        listener.set(self)
        self._folder = folders.make()
        folder = self._folder / "run"
        folder.mkdir()
        companions = Companions(folder, self.source.files)
        try:
            self._guarded(folder, companions)
            self._wait_leftovers()
            self._collect()
        finally:
            companions.close()
            for path in (*self._entry, *(str(folder / name) for name in self.source.files)):
                linecache.cache.pop(path, None)
            self.remove_folder()
            self.outbox.end_lines()

    def remove_folder(self) -> None:
        """Also for a run that never comes back."""
        if self._folder is not None:
            folders.remove(self._folder)

    def write(self, name: Name, text: str) -> None:
        self.outbox.write(name, text)

    def flush(self) -> None:
        self.outbox.flush()

    def began(self, thread: threading.Thread) -> None:
        self._threads.append(thread)

    def send(self, frame: dict[str, Any]) -> None:
        """A frame of the guest becomes an event; the result waits for the end."""
        values = {name: value for name, value in frame.items() if name != "type"}
        match frame["type"]:
            case "chunk":
                self.outbox.put(events.Chunk(value=events.Json(text=frame["value"])))
            case "progress":
                self.outbox.put(events.Progress(**values))
            case "log":
                self.outbox.put(events.Log(**values))
            case "result":
                text = events.Json(text=frame["value"])
                self.result = events.Result(value=text, http=frame["http"])

    def send_bytes(self, name: str, pieces: Iterator[bytes]) -> None:
        """An artifact becomes an event."""
        content = b"".join(pieces)
        kind = content_type(name)
        self.outbox.put(
            ArtifactContent(name=name, size=len(content), content_type=kind, content=content)
        )

    def _guarded(self, folder: Path, companions: Companions) -> None:
        try:
            for name, content in self.source.files.items():
                (folder / name).write_bytes(content)
                (folder / name).chmod(0o444)
            self._enter(folder)
            self._play(companions)
            self.outcome = ("succeeded", "")
        except BaseException as error:
            self.outcome = ("failed", self._fail(error))

    def _enter(self, folder: Path) -> None:
        """From now on this run is the one that `import djsci` means in this thread."""
        self._artifacts = Artifacts(
            str(folder),
            send=self.send,
            send_bytes=self.send_bytes,
            limit=self.limits.artifacts,
        )
        api.enter(
            api.Channel(
                send=self.send,
                request=self.request,
                run=known_of(self.source, self.limits),
                is_cancelled=self.is_cancelled.is_set,
                folder=folder,
                on_result=None if self.source.has_handler else self._keep,
                on_artifact=self._artifacts.add,
            )
        )

    def _collect(self) -> None:
        """The working directory is the server's: a run leaves what it writes beside its file."""
        with contextlib.suppress(OSError):
            if self._artifacts is not None:
                self._artifacts.collect()

    def _play(self, companions: Companions) -> None:
        for warning in self.source.warnings:
            self.outbox.put(events.Log(level="warning", message=warning))
        if self.source.kind == "ipynb":
            namespace = self._notebook(companions)
        else:
            namespace = self._file(companions)
        if self.source.has_handler:
            path = str(companions.folder / self.source.name)
            call.call(
                call.adapted(namespace, self.source.shim, path),
                self.request,
                send=self.send,
                await_=self._await,
                result_limit=self.limits.result,
            )
        elif self.result is None:
            with contextlib.suppress(results.ResultRefused):
                self._keep(self._value)
            if self.result is None:
                self._keep(None)

    def _keep(self, value: Any) -> None:
        self.send(call.result_frame(value, limit=self.limits.result))

    def _file(self, companions: Companions) -> dict[str, Any]:
        path = str(companions.folder / self.source.name)
        self._entry[path] = 1
        code = module_code(self.source.cells[0].text, path)
        module = companions.module(self.source.name)
        run_code(code, module.__dict__)
        return module.__dict__

    def _notebook(self, companions: Companions) -> dict[str, Any]:
        source = self.source
        namespace: dict[str, Any] = {
            "__name__": "__main__",
            "__file__": str(companions.folder / source.name),
            "__builtins__": companions.builtins,
            "get_ipython": _no_shell,
        }
        with contextlib.suppress(ImportError):
            from IPython.display import display

            namespace["display"] = display
        wants = not source.has_handler
        tagged = [cell.index for cell in source.cells if "parameters" in cell.tags]
        if wants and not tagged:
            namespace.update(api.arguments(self.request))
        for cell in source.cells:
            if cell.text.strip() and "skip-execution" not in cell.tags:
                self._cell(cell, namespace)
            if wants and tagged[:1] == [cell.index]:
                namespace.update(api.arguments(self.request))
        return namespace

    def _cell(self, cell: SourceCell, namespace: dict[str, Any]) -> None:
        count = len(self.source.cells)
        self.outbox.put(events.Cell(index=cell.index, count=count, state="start"))
        self.outbox.cell = cell.index
        try:
            self._run_cell(cell, namespace)
        except BaseException as error:
            if not isinstance(error, Exception) or "raises-exception" not in cell.tags:
                raise
            self.outbox.put(self._error(error))
            self._end_cell(cell, "error")
        else:
            self._end_cell(cell, "done")

    def _end_cell(self, cell: SourceCell, state: Any) -> None:
        self.outbox.end_lines()
        self.outbox.cell = None
        count = len(self.source.cells)
        self.outbox.put(events.Cell(index=cell.index, count=count, state=state))

    def _run_cell(self, cell: SourceCell, namespace: dict[str, Any]) -> None:
        path = f"{namespace['__file__']}#cell-{cell.index}"
        self._entry[path] = cell.index
        with contextlib.suppress(Exception):
            text = plain_python(cell.text)
            linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        code = cell_code(cell.text, path)
        self._value = None
        self._finish(eval(code.body, namespace))  # noqa: S307 - the user's code
        if code.value is None:
            return
        self._value = self._finish(eval(code.value, namespace))  # noqa: S307 - the user's code
        if self._value is not None:
            namespace["_"] = self._value
            data = {"text/plain": events.clean(_pretty(self._value))}
            self.outbox.put(events.ExecuteResult(data=data, cell=cell.index))

    def _finish(self, value: Any) -> Any:
        """What a cell's code gave; a cell with a top-level await gave a coroutine of its own."""
        code = getattr(value, "cr_code", None)
        is_cell = (
            code is not None and code.co_filename in self._entry and code.co_name == "<module>"
        )
        return self._await(value) if is_cell else value

    def _await(self, coroutine: Any) -> Any:
        self._has_loop = True
        return self._runner.run(coroutine)

    def _fail(self, error: BaseException) -> str:
        """Say the error; returns the reason of the run's end."""
        self.outbox.end_lines()
        said = self._error(error)
        self.outbox.put(said)
        if self.outbox.cell is not None:
            cell = SourceCell(index=self.outbox.cell, text="")
            self._end_cell(cell, "error")
        if isinstance(error, results.ResultRefused):
            return error.code
        if isinstance(error, SystemExit):
            return f"exited {_exit_code(error)}"
        return reason(said)

    def _error(self, error: BaseException) -> events.Error:
        if isinstance(error, results.ResultRefused):
            return events.Error(ename=error.ename, evalue=str(error))
        frame = call.describe(error, entry=self._entry)
        return events.Error(
            ename=frame["ename"],
            evalue=explained(frame["ename"], frame["evalue"]),
            traceback=tuple(frame["traceback"]),
            cell=frame["cell"],
            line=frame["line"],
        )

    def _wait_leftovers(self) -> None:
        """Threads and tasks that the handler left get a moment; what they print is kept."""
        end = time.monotonic() + LEFTOVERS
        if self._has_loop:
            with contextlib.suppress(BaseException):
                self._runner.run(_wait_tasks(LEFTOVERS))
        with contextlib.suppress(BaseException):
            self._runner.close()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


async def _wait_tasks(seconds: float) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=seconds)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


def _pretty(value: Any) -> str:
    from IPython.lib.pretty import pretty

    try:
        return str(pretty(value))
    except Exception:  # the user's `__repr__` failed: the cell did not
        return object.__repr__(value)


def _no_shell() -> Any:
    raise RuntimeError(NO_SHELL)
