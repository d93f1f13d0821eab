"""The notebook's shell: IPython's own, with displays, results and errors sent as frames."""

import base64
import builtins
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from . import failures
from .output import Channel

COLOURS = {"TERM": "xterm-color", "CLICOLOR": "1", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
PAGERS = {"PAGER": "cat", "GIT_PAGER": "cat"}
FRAMES = 100


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


class Shell(InteractiveShell):  # type: ignore[misc]
    """Made once in the fork server; each worker has its own copy."""

    display_pub_class = Type(_Publisher)
    displayhook_class = Type(_Hook)
    channel: Channel | None = None
    cell: int | None = None
    count = 0
    cells: ClassVar[dict[int, int]] = {}  # execution count -> the cell's index
    has_error = False
    has_asked_exit = False

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

    def ask_exit(self) -> None:
        self.has_asked_exit = True

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self.has_error = True
        self.say_error(evalue, [str(line) for line in stb][-FRAMES:])

    def say_error(self, error: BaseException, traceback: list[str]) -> None:
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

    def play(self, text: str, index: int) -> tuple[Any, BaseException | None]:
        """Run one cell: its value and what it failed with. Its error has been said."""
        self.cell, self.count = index, self.execution_count
        self.cells[self.count] = index
        self.has_error = self.has_asked_exit = False
        outcome = self.run_cell(text, store_history=True)
        error = outcome.error_before_exec or outcome.error_in_exec
        if error is not None and not self.has_error:
            self.say_error(error, [])
        if error is None and self.has_asked_exit:
            error = SystemExit()
            self.say_error(error, [])
        return outcome.result, error


def make() -> Shell:
    """The shell, as a fresh process has it: no history, no files of its own."""
    config = Config()
    config.HistoryManager.enabled = False
    shell: Shell = Shell.instance(config=config)
    builtins.input = _no_input
    return shell


def _no_input(prompt: object = "") -> str:
    raise StdinNotImplementedError("input() has nothing to read: a run has no keyboard")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A MIME bundle as JSON values: bytes as base64."""
    plain = {
        str(kind): base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for kind, value in values.items()
    }
    return dict(json.loads(json.dumps(plain, default=str), parse_constant=lambda _: None))
