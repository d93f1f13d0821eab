"""One run in one kernel: its cells are played, its end is judged."""

import contextlib
import json
import os
import secrets

from nbclient.exceptions import DeadKernelError

from djsci.core import events
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest

from . import bundle
from .base import Limits, Stop, known_of
from .cells import Cells, Failed
from .frames import Frames, reason
from .played import Played
from .unit import Unit

CALL = "__import__('djsci.guest.kernel', fromlist=['_']).{}()"
AWAIT = f"await {CALL}"


class Execution(Played):
    """One run in one unit."""

    what = "kernel"

    def __init__(
        self, unit: Unit, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> None:
        frames = Frames(
            nonce=secrets.token_urlsafe(16),
            result_limit=limits.result,
            artifact_limit=limits.artifacts,
        )
        super().__init__(limits=limits, stop=stop, frames=frames)
        self.unit = unit
        self.source = source
        self.request = request
        self.is_over_memory = False

    @property
    def is_over(self) -> bool:
        return self.is_over_memory

    def start(self) -> None:
        seconds = self.limits.timeout + self.limits.grace + 5
        self.unit.limit(cpu_seconds=seconds * (os.cpu_count() or 1))
        super().start()

    def interrupt(self) -> None:
        self.unit.interrupt()

    def kill(self) -> None:
        self.unit.kill()

    async def play(self) -> tuple[events.FinalState, str]:
        source = self.source
        cells = Cells(
            unit=self.unit, emit=self.outbox.put, frames=self.frames, count=len(source.cells)
        )
        try:
            await self._cells(cells)
        except Failed as failed:
            await self._collect(cells)
            return "failed", str(failed)
        except DeadKernelError:
            return "crashed", self.unit.exit_text()
        if self.frames.error is not None:
            return "failed", reason(self.frames.error)
        if self.unit.is_guest and not self.frames.is_done:
            return "crashed", "the guest ended without saying so"
        return "succeeded", ""

    async def _collect(self, cells: Cells) -> None:
        """What a run that failed in a cell has left is kept too."""
        if self.unit.is_guest:
            with contextlib.suppress(Failed, DeadKernelError):
                await cells.hidden(CALL.format("collect"))

    async def _cells(self, cells: Cells) -> None:
        source, is_guest = self.source, self.unit.is_guest
        if source.kind == "py":
            cells.places[1] = (1, 0)
        for warning in source.warnings:
            await self.outbox.put(events.Log(level="warning", message=warning))
        if is_guest:
            await cells.hidden(CALL.format("begin"), buffers=self._buffers())
        if source.kind == "ipynb":
            await self._notebook(cells)
        self._go_on()
        if is_guest:
            await cells.hidden(AWAIT.format("finish"), is_last=True)
        else:
            self.frames.result = events.Result(value=events.Json(text="null"))

    def _go_on(self) -> None:
        """Nothing new begins once the run is to stop, whatever the code made of the interrupt."""
        if self.is_stopped:
            raise Failed("stopped")

    async def _notebook(self, cells: Cells) -> None:
        source = self.source
        wants = self.unit.is_guest and not source.has_handler and bool(self.request.parameters)
        tagged = [cell.index for cell in source.cells if "parameters" in cell.tags]
        if wants and not tagged:
            await cells.hidden(CALL.format("parameters"))
        for cell in source.cells:
            self._go_on()
            await cells.run(cell)
            if wants and tagged and cell.index == tagged[0]:
                await cells.hidden(CALL.format("parameters"))

    def _buffers(self) -> list[bytes]:
        """What the run is about, as binary buffers: no data in code, no size limit."""
        source = self.source
        names = sorted(source.files)
        head = {
            "nonce": self.frames.nonce,
            "request": self.request.to_dict(),
            "known": known_of(source, self.limits),
            "kind": source.kind,
            "entry": source.name,
            "has_handler": source.has_handler,
            "shim": source.shim,
            "is_script": source.is_script,
            "files": names,
            "hidden": bundle.hidden(),
            "result_limit": self.limits.result,
            "artifact_limit": self.limits.artifacts,
        }
        return [json.dumps(head).encode(), *(source.files[name] for name in names)]
