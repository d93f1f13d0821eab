"""One run: its cells are played, its handler is called, and it says what happens."""

import asyncio
import builtins
import concurrent.futures.thread
import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import api, call, results
from .artifacts import Artifacts
from .output import Channel
from .requests import HandlerRequest

LEFTOVERS = 1.0  # seconds that threads and tasks get after the handler has returned


class Run:
    """What a worker was made for: the whole, or one part where a template keeps it loaded."""

    def __init__(
        self,
        channel: Channel,
        shell: Any,
        head: dict[str, Any],
        folder: Path,
        *,
        work: str | None = None,
    ) -> None:
        self.channel = channel
        self.shell = shell
        self.head = head
        self.request = HandlerRequest.from_dict(head["request"])
        self.folder = Path(work or folder)  # its own, where it may write
        self.entry = folder / head["name"]
        self.artifacts = Artifacts(
            str(self.folder),
            send=channel.send,
            send_bytes=channel.send_bytes,
            limit=head["artifact_limit"],
        )
        self.given: dict[str, Any] | None = None
        self.value: Any = None
        self.namespace: Mapping[str, Any] | None = None  # where the handler is, once it is loaded
        self.loop: asyncio.AbstractEventLoop | None = None

    def play(self) -> None:
        """From the first cell to `done`."""
        self.set_up()
        self.begin()
        is_loaded = self.attempt(self.load)
        if is_loaded:
            self.attempt(self.finish)
        self.wait_leftovers(shows=is_loaded or self.head["kind"] == "py")
        self.collect()
        self.end()

    def set_up(self) -> None:
        """What user code finds: where it imports from, what `exit` does."""
        folder = str(self.entry.parent)
        hidden = {"", folder, *self.head["hidden"]}
        sys.path[:] = [path for path in sys.path if path not in hidden]
        sys.path.append(folder)  # last: a companion shadows nothing
        builtins.exit = builtins.quit = _exit  # type: ignore[assignment]
        sys.argv[:] = [str(self.entry)]
        if self.shell is not None:
            self.shell.begin(self.channel, self.entry)

    def begin(self, *, is_hard: bool = True) -> None:
        """From now on this run is the one that `import djsci` means, and its processor time counts.

        Not `is_hard`: what is forked from here may have more of it.
        """
        seconds, most = int(self.head["cpu"]), resource.getrlimit(resource.RLIMIT_CPU)[1]
        seconds = seconds if most == resource.RLIM_INFINITY else min(seconds, most)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds if is_hard else most))
        api.install(
            api.Channel(
                send=self.channel.send,
                request=self.request,
                run=self.head["known"],
                is_cancelled=self.channel.is_stopped,
                folder=self.folder,
                on_result=None if self.head["has_handler"] else self._give,
                on_artifact=self.artifacts.add,
            )
        )

    def attempt(self, step: Callable[[], bool]) -> bool:
        """Whether a step went well; what it failed with has been said."""
        is_well = False
        try:
            is_well = step()
        except BaseException as error:
            self._end_copy()
            with contextlib.suppress(KeyboardInterrupt):
                self.channel.send(self._error(error))
        self._end_copy()
        return is_well

    def collect(self) -> None:
        """Send what is left in the folder, of a run that failed too."""
        with contextlib.suppress(KeyboardInterrupt):
            try:
                self.artifacts.collect()
            except Exception as error:  # user code may have broken what this needs
                text = f"Artifacts could not be read: {type(error).__name__}"
                self.channel.send(
                    {"type": "log", "level": "warning", "message": text, "fields": {}}
                )

    def end(self) -> None:
        """No signal stops it any more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.channel.end_lines()
        self.channel.send({"type": "done"})

    def load(self) -> bool:
        """Play the cells, or execute the module; False when a cell ended the run."""
        if self.head["kind"] == "ipynb":
            is_well = self._notebook()
            self.namespace = self.shell.user_ns
            return is_well
        if self.channel.is_stopped():
            raise KeyboardInterrupt
        if self.head["is_script"]:
            self.namespace = {}
            return True
        self.namespace = vars(call.load_module(self.entry))
        return True

    def _notebook(self) -> bool:
        """Play the cells; False when one ended the run."""
        if self.shell is None:
            raise RuntimeError("Notebooks need IPython, which is not installed here.")
        cells, namespace = self.head["cells"], self.shell.user_ns
        wants = not self.head["has_handler"]
        tagged = [cell["index"] for cell in cells if "parameters" in cell["tags"]][:1]
        if wants and not tagged:
            namespace.update(api.arguments(self.request))
        for cell in cells:
            is_run = cell["text"].strip() and "skip-execution" not in cell["tags"]
            if is_run and not self._cell(cell):
                return False
            if wants and tagged == [cell["index"]]:
                namespace.update(api.arguments(self.request))
        return True

    def _cell(self, cell: dict[str, Any]) -> bool:
        mark = {"type": "cell", "index": cell["index"], "count": len(self.head["cells"])}
        if self.channel.is_stopped():
            raise KeyboardInterrupt
        self.channel.send({**mark, "state": "start"})
        may_fail = "raises-exception" in cell["tags"]
        self.value, is_well = self.shell.play(cell["text"], cell["index"], may_fail=may_fail)
        self._end_copy()
        self.channel.send({**mark, "state": "error" if self.shell.has_error else "done"})
        self.shell.cell = None
        return bool(is_well)

    def finish(self) -> bool:
        """Call the handler, or take the last cell's value."""
        if self.channel.is_stopped():
            raise KeyboardInterrupt
        if self.head["has_handler"] and self.namespace is not None:
            call.call(
                call.adapted(self.namespace, self.head["shim"], str(self.entry)),
                self.request,
                send=self._send_unless_copy,
                await_=self._await,
                result_limit=self.head["result_limit"],
            )
        else:
            self._give_value()
        return True

    def _send_unless_copy(self, frame: dict[str, Any]) -> None:
        self._end_copy()
        self.channel.send(frame)

    def _give(self, value: Any) -> None:
        try:
            self.given = call.result_frame(value, limit=self.head["result_limit"])
        except results.ResultRefused as refused:
            raise type(refused.ename, (ValueError,), {})(str(refused)) from None

    def _give_value(self) -> None:
        frame = self.given
        if frame is None:
            try:
                frame = call.result_frame(self.value, limit=self.head["result_limit"])
            except results.ResultRefused:
                frame = call.result_frame(None, limit=4)
        self._send_unless_copy(frame)

    def _await(self, coroutine: Any) -> Any:
        """Run a coroutine to its end, on the loop that ran the cells' awaits."""
        if self.loop is None:
            self.loop = self._cells_loop()
            asyncio.set_event_loop(self.loop)
        return self.loop.run_until_complete(coroutine)

    def _cells_loop(self) -> asyncio.AbstractEventLoop:
        if self.shell is None:
            return asyncio.new_event_loop()
        from IPython.core.async_helpers import get_asyncio_loop

        loop: asyncio.AbstractEventLoop = get_asyncio_loop()
        return loop

    def close_loop(self) -> None:
        """No fork may share a loop: its descriptors would be one and the same."""
        if self.shell is not None and "asyncio" in sys.modules:
            self._cells_loop().close()

    def _error(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, results.ResultRefused):
            return {"type": "error", "ename": error.ename, "evalue": str(error)}
        entry: dict[str, int | None] = {str(self.entry): 1}
        if self.head["kind"] == "ipynb" and self.shell is not None:
            entry = self.shell.places()
        return call.describe(error, entry=entry)

    def _end_copy(self) -> None:
        """A fork that returned from user code ends here: it is not the run."""
        if self.channel.is_copy:
            with contextlib.suppress(Exception):
                self.channel.flush()
            os._exit(0)

    def wait_leftovers(self, *, shows: bool) -> None:
        """Threads and tasks that the handler left get a moment; what they print is kept."""
        with contextlib.suppress(KeyboardInterrupt):
            self._wait_leftovers()
            if shows and self.shell is not None:
                self.shell.events.trigger("post_execute")  # figures that were not shown yet

    def _wait_leftovers(self) -> None:
        end = time.monotonic() + LEFTOVERS
        loop = self.loop
        if loop is None and "asyncio" in sys.modules:
            with contextlib.suppress(OSError):  # it may have used up its descriptors
                loop = self._cells_loop()
        while time.monotonic() < end:
            tasks = asyncio.all_tasks(loop) if loop is not None else set()
            if not tasks and not any(map(_is_left, threading.enumerate())):
                return
            if tasks and loop is not None:
                with contextlib.suppress(Exception):
                    loop.run_until_complete(asyncio.wait(tasks, timeout=0.02))
            else:
                time.sleep(0.005)


def _is_left(thread: threading.Thread) -> bool:
    if thread is threading.main_thread() or type(thread).__module__.startswith("tqdm"):
        return False  # tqdm's monitor sleeps for ever
    return thread not in concurrent.futures.thread._threads_queues  # an idle worker of a pool


def _exit(*code: Any) -> None:
    raise SystemExit(*code)
