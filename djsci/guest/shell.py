"""The notebook's shell: IPython's own, with displays, results and errors sent as frames."""

import asyncio
import base64
import builtins
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from IPython.core.async_helpers import get_asyncio_loop
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.external.pickleshare import PickleShareDB
from traitlets import Type
from traitlets.config import Config

from . import failures, keyboard, processes
from .magics import KernelMagics
from .output import Channel

COLOURS = {"TERM": "xterm-color", "CLICOLOR": "1", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
PAGERS = {"PAGER": "cat", "GIT_PAGER": "cat"}
FRAMES = 100
TURNS = 10  # of the loop, between two cells
TASKS = re.compile(r"\b(create_task|ensure_future|get_running_loop|current_task|all_tasks)\b")
OWN_LOOP = re.compile(r"\basyncio\.run\(|\brun_until_complete\(")


class _Publisher(DisplayPublisher):  # type: ignore[misc]
    def publish(
        self,
        data: Any,
        metadata: Any = None,
        source: Any = None,
        *,
        transient: Any = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        self.shell.say_display(
            "update_display_data" if update else "display_data", data, metadata, transient
        )

    def clear_output(self, wait: bool = False) -> None:
        self.shell.say({"type": "clear_output", "wait": bool(wait)})


class _Hook(DisplayHook):  # type: ignore[misc]
    def write_output_prompt(self) -> None:
        """A prompt is for terminals."""

    def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
        self.shell.say_display("execute_result", format_dict, md_dict, None)

    def finish_displayhook(self) -> None:
        self._is_active = False


class _NoKernel:
    """Its presence tells pandas and others that rich output is shown; there is none to ask."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"There is no kernel.{name}: no Jupyter kernel runs this; the engine `kernel` has one."
        )


class Shell(InteractiveShell):  # type: ignore[misc]
    """Made once in the fork server; each worker has its own copy."""

    display_pub_class = Type(_Publisher)
    displayhook_class = Type(_Hook)
    channel: Channel | None = None
    cell: int | None = None
    count = 0
    cells: ClassVar[dict[int, int]] = {}  # execution count -> the cell's index
    has_error = False  # whether the cell has shown one
    has_asked_exit = False
    has_loop = False
    display_error: BaseException | None = None  # of the value that a cell ends with
    store: Any = None

    def begin(self, channel: Channel, entry: Path) -> None:
        """In the worker: what the server's folder was is the run's."""
        self.channel = channel
        self.home_dir = os.environ["HOME"]
        self.user_ns["__file__"] = str(entry)
        self.user_ns["_dh"][:] = [Path.cwd()]
        if not processes.has_terminals():
            self.system = self.system_raw  # which needs none

    @property
    def db(self) -> Any:
        """What `%store` and its like keep. The base class has it in the server's folder."""
        if self.store is None:
            self.store = PickleShareDB(Path(os.environ["IPYTHONDIR"], "db"))
        return self.store

    @db.setter
    def db(self, value: Any) -> None:
        self.store = value if self.channel is not None else None

    @property
    def kernel(self) -> Any:
        return _NoKernel()

    def say(self, frame: dict[str, Any]) -> None:
        if self.channel is not None:
            self.channel.send({**frame, "cell": self.cell})

    def say_display(self, kind: str, data: Any, metadata: Any, transient: Any) -> None:
        frame = {"type": kind, "data": _plain(data), "metadata": _plain(metadata or {})}
        shown = (transient or {}).get("display_id")
        self.say({**frame, "display_id": None if shown is None else str(shown)})

    def enable_gui(self, gui: Any = None) -> None:
        """No event loop of a window system here: figures are shown inline."""

    def init_environment(self) -> None:
        os.environ.update(COLOURS | PAGERS)

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", lambda *_, **__: None, 99)  # a kernel prints no help either

    def init_magics(self) -> None:
        super().init_magics()
        self.register_magics(KernelMagics)

    def should_run_async(self, raw_cell: str, **known: Any) -> bool:
        """A cell that awaits runs on the loop, and one that speaks of tasks, as in a kernel.

        Any other runs as a plain program does, without one: it may start its own.
        """
        is_async: bool = super().should_run_async(raw_cell, **known)
        if not is_async and known.get("preprocessing_exc_tuple") is None:
            is_async = bool(TASKS.search(raw_cell)) and not OWN_LOOP.search(raw_cell)
        self.has_loop |= is_async
        return is_async

    def ask_exit(self) -> None:
        self.has_asked_exit = True

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self.say_error(evalue, [str(line) for line in stb][-FRAMES:])
        if self.displayhook.is_active:
            self.display_error = evalue

    def say_error(self, error: BaseException, traceback: list[str]) -> None:
        self.has_error = True
        names = self.compile._filename_map
        here = {name: self.cell for name, count in names.items() if count == self.count}
        _, line = failures.place(error, here)
        self.say(
            {
                "type": "error",
                "ename": type(error).__name__,
                "evalue": failures.message(error),
                "traceback": traceback,
                "line": line,
            }
        )

    def places(self) -> dict[str, int | None]:
        """The names that cells were compiled under, and the cells."""
        names = self.compile._filename_map
        return {name: self.cells.get(count) for name, count in names.items()}

    def play(self, text: str, index: int, *, may_fail: bool) -> tuple[Any, bool]:
        """Run one cell: its value, and whether the run goes on. Its error has been said."""
        self.cell, self.count = index, self.execution_count
        self.cells[self.count] = index
        self.has_error = self.has_asked_exit = False
        self.display_error = None
        outcome = self.run_cell(text, store_history=True)
        error = outcome.error_before_exec or outcome.error_in_exec
        if error is not None and not self.has_error:
            self.say_error(error, [])
        if self.has_asked_exit:
            self.say_error(SystemExit(), [])
        self._turn()
        is_well = may_fail or (error or self.display_error) is None
        return outcome.result, is_well and not self.has_asked_exit

    def _turn(self) -> None:
        """Tasks go on between two cells, as in a kernel, whose loop turns while it waits."""
        loop = get_asyncio_loop() if self.has_loop else None
        for _ in range(TURNS):
            if loop is None or not asyncio.all_tasks(loop):
                return
            loop.run_until_complete(asyncio.sleep(0))


# Libraries look for this name where they choose between rich output and a terminal's.
Shell.__name__ = Shell.__qualname__ = "ZMQInteractiveShell"


def make() -> Shell:
    """The shell, as a fresh process has it: no history, no files of its own."""
    config = Config()
    config.HistoryManager.enabled = False
    shell: Shell = Shell.instance(config=config)
    shell.extension_manager.load_extension("storemagic")
    builtins.get_ipython = shell.get_ipython  # type: ignore[attr-defined]
    keyboard.take_away()
    return shell


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A MIME bundle as JSON values: bytes as base64."""
    plain = {
        str(kind): base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for kind, value in values.items()
    }
    return dict(json.loads(json.dumps(plain, default=str), parse_constant=lambda _: None))
