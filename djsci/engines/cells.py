"""nbclient, for one run: every message of the kernel becomes an event, and none is kept."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from queue import Empty
from typing import Any, Literal

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook

from djsci.core import events
from djsci.core.sources import SourceCell

from .frames import Frames, explained, reason
from .unit import Unit

Emit = Callable[[events.Event], Awaitable[None]]
IDLE_MISSING = 4.0  # seconds without a message after the reply, then the cell is done
SILENCE = 0.1  # seconds without a message after a death, then all was read
DRAIN = 1.0  # seconds that reading after a death may take
FRAMES_LIMIT = 100

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r"Cell In\[(\d+)\], line (\d+)")
_DISPLAYS: dict[str, type[events.Display]] = {
    "display_data": events.DisplayData,
    "execute_result": events.ExecuteResult,
    "update_display_data": events.UpdateDisplayData,
}


class Failed(Exception):
    """The user's code failed; the event that says so is out."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


class Cells(NotebookClient):  # type: ignore[misc]
    """Runs cells in a unit's kernel and emits what happens."""

    def __init__(self, *, unit: Unit, emit: Emit, frames: Frames, count: int) -> None:
        super().__init__(new_notebook(), km=unit.manager, timeout=None)
        self.kc = unit.client
        self.unit = unit
        self.emit = emit
        self.frames = frames
        self.count = count
        self.places: dict[int, tuple[int, int]] = {}
        self._current: int | None = None
        self._offset = 0
        self._parents: dict[str, int | None] = {}
        self._fresh: list[events.Event] = []
        self._said: events.Error | None = None  # the last error of the cell
        self._heard = time.monotonic()
        self._is_emitting = False

    @asynccontextmanager
    async def async_setup_kernel(self, **kwargs: Any) -> AsyncGenerator[None, None]:
        """The kernel is there. Stock nbclient would install signal handlers here."""
        yield

    async def run(self, cell: SourceCell) -> None:
        """Run one cell of a notebook. Raises `Failed`, and `DeadKernelError` at a crash."""
        if not cell.text.strip() or "skip-execution" in cell.tags:
            return
        self._current, self._said = cell.index, None
        self._offset = cell.text[: -len(cell.text.lstrip())].count("\n")
        await self.emit(events.Cell(index=cell.index, count=self.count, state="start"))
        code = new_code_cell(cell.text, metadata={"tags": sorted(cell.tags)})
        state: Literal["done", "error"] = "error"
        self.nb.cells = [code]
        try:
            await self.async_execute_cell(code, 0)
            state = "error" if self._said is not None else "done"
        finally:
            self.nb.cells = []
            await self.emit(events.Cell(index=cell.index, count=self.count, state=state))

    async def hidden(
        self, code: str, *, buffers: Sequence[bytes] = (), is_last: bool = False
    ) -> None:
        """Run a cell that nobody sees. `is_last`: result and done count under its id only."""
        self._current, self._said = None, None
        content = {
            "code": code,
            "silent": True,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        message = self.kc.session.msg("execute_request", content)
        message["buffers"] = list(buffers)
        sent = message["header"]["msg_id"]
        if is_last:
            self.frames.last = sent
        self.kc.shell_channel.send(message)
        cell = new_code_cell(code)
        output = asyncio.ensure_future(self._async_poll_output_msg(sent, cell, 0))
        alive = asyncio.ensure_future(self._async_poll_kernel_alive())
        try:
            reply = await self._async_poll_for_reply(sent, cell, None, output, alive)
        finally:
            output.cancel()
            await asyncio.gather(output, alive, return_exceptions=True)
        await self._check_raise_for_error(cell, 0, reply)

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: Any, cell_index: int) -> None:
        """Emit what the kernel says until it is idle; reading stops while the reader is slow."""
        self._parents[parent_msg_id] = self._current
        is_complete = False
        while not is_complete:
            try:
                message = await self.kc.iopub_channel.get_msg(timeout=None)
                self._heard = time.monotonic()
                self.process_message(message, {"id": parent_msg_id}, cell_index)
            except CellExecutionComplete:
                is_complete = True
            except (AttributeError, KeyError, TypeError, ValueError):
                continue  # not a message of Jupyter's protocol
            fresh, self._fresh = self._fresh, []
            self._is_emitting = True
            for event in fresh:
                await self.emit(event)
            self._is_emitting = False
            self._heard = time.monotonic()

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> None:
        """Turn a message into events. Raises `CellExecutionComplete` at the cell's idle."""
        kind, content = msg["msg_type"], msg["content"]
        parent = msg["parent_header"].get("msg_id")
        index = self._parents.get(parent, self._current)
        if kind == "status":
            if content["execution_state"] == "idle" and parent == cell["id"]:
                raise CellExecutionComplete
        elif kind == "execute_input" and index is not None:
            self.places[content["execution_count"]] = (index, self._offset)
        elif kind == "stream":
            name: Literal["stdout", "stderr"] = (
                "stderr" if content["name"] == "stderr" else "stdout"
            )
            self._fresh.append(events.Stream(name=name, text=_text(content["text"]), cell=index))
        elif kind == "clear_output":
            self._fresh.append(events.ClearOutput(wait=bool(content.get("wait")), cell=index))
        elif kind == "error":
            self._fresh.append(self._error(content, index))
        elif kind in _DISPLAYS:
            self._display(_DISPLAYS[kind], content, parent, index)

    def _display(
        self, kind: type[events.Display], content: Any, parent: str, index: int | None
    ) -> None:
        taken = self.frames.take(content["data"], parent=parent, places=self.places)
        if taken is not None:
            self._fresh += taken
            return
        shown = (content.get("transient") or {}).get("display_id")
        self._fresh.append(
            kind(
                data=dict(content["data"]),
                metadata=dict(content.get("metadata") or {}),
                display_id=None if shown is None else str(shown),
                cell=index,
            )
        )

    def _error(self, content: Any, index: int | None) -> events.Error:
        lines = [str(line) for line in content.get("traceback") or ()][-FRAMES_LIMIT:]
        ename = str(content.get("ename", "Error"))[:200]
        self._said = events.Error(
            ename=ename,
            evalue=explained(ename, str(content.get("evalue", ""))),
            traceback=tuple(lines),
            cell=index,
            line=self._line(lines, index),
        )
        return self._said

    def _line(self, lines: Sequence[str], index: int | None) -> int | None:
        """The deepest line of the cell in a traceback."""
        found = None
        for number, line in _PLACE.findall(_ANSI.sub("", "\n".join(lines))):
            cell, offset = self.places.get(int(number), (None, 0))
            if cell == index is not None:
                found = int(line) + offset
        return found

    async def _async_poll_for_reply(
        self, msg_id: str, cell: Any, _timeout: Any, task_poll_output_msg: Any, alive: Any
    ) -> Any:
        try:
            reply = await self._reply(msg_id)
            await self._outputs(task_poll_output_msg)
            if reply is None:
                raise DeadKernelError("the kernel died")
            return reply
        finally:
            alive.cancel()

    async def _reply(self, msg_id: str) -> Any:
        """The reply on the shell channel; None when the kernel died without one."""
        while True:
            wait = asyncio.ensure_future(self.kc.shell_channel.get_msg(timeout=None))
            try:
                await asyncio.wait({wait, self.unit.died}, return_when=asyncio.FIRST_COMPLETED)
                if not wait.done():
                    await asyncio.wait({wait}, timeout=SILENCE)
                if not wait.done():
                    return None
                reply = await wait
            finally:
                wait.cancel()
                with contextlib.suppress(asyncio.CancelledError, Empty):
                    await asyncio.gather(wait, return_exceptions=True)
            if reply["parent_header"].get("msg_id") == msg_id:
                return reply

    async def _outputs(self, output: asyncio.Task[None]) -> None:
        """Wait for the idle message, or for silence where it will not come."""
        self._heard = time.monotonic()
        died_at: float | None = None
        while not output.done():
            await asyncio.wait({output}, timeout=SILENCE / 2)
            now = time.monotonic()
            if self.unit.died.done() and not self._is_emitting:
                died_at = died_at or now
                if now - self._heard > SILENCE or now - died_at > DRAIN:
                    break
            elif now - self._heard > IDLE_MISSING and not self._is_emitting:
                text = "The kernel did not say that it is idle; output may be missing."
                await self.emit(events.Log(level="warning", message=text))
                break
        output.cancel()
        await asyncio.gather(output, return_exceptions=True)

    async def _async_poll_kernel_alive(self) -> None:
        """Nothing to poll: the unit's pidfd says when it dies. Cancelled when the reply is in."""
        await asyncio.get_running_loop().create_future()

    async def _check_raise_for_error(self, cell: Any, cell_index: int, exec_reply: Any) -> None:
        """Judge the cell by its reply."""
        content, said = exec_reply["content"], self._said
        if content["status"] != "ok":
            error = self._error(content, self._current)
            if said is None:
                await self.emit(error)
            elif content.get("ename") == "NoneType":  # the last value could not be shown
                error = said
            if "raises-exception" not in cell.metadata.get("tags", []):
                raise Failed(reason(error))
        payloads = content.get("payload") or ()
        if any(item.get("source") == "ask_exit" for item in payloads):
            asked = self._error({"ename": "SystemExit", "evalue": ""}, self._current)
            await self.emit(asked)
            raise Failed(reason(asked))
