"""The guest inside a Jupyter kernel: takes the run from its request's buffers, sends frames."""

import asyncio
import base64
import builtins
import concurrent.futures.thread
import contextlib
import importlib
import itertools
import json
import os
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipykernel
import IPython
import tornado
import zmq
from IPython import get_ipython
from IPython.core.compilerop import CachingCompiler

from . import api, call, fonts, keyboard, results
from .artifacts import Artifacts
from .requests import HandlerRequest

MIME = "application/vnd.djsci.frame+json"
_dumps = json.dumps  # kept: user code may replace the module's


class Run:
    """What this kernel was started for."""

    artifacts: Artifacts  # made when the run's own files are there

    def __init__(self, head: dict[str, Any]) -> None:
        self.shell = get_ipython()
        self.publisher = self.shell.display_pub
        self.head = head
        self.request = HandlerRequest.from_dict(head["request"])
        self.folder = Path.cwd()
        self.entry = self.folder / head["entry"]
        self.pid = os.getpid()
        self.files = 0
        self.value: Any = None
        self.given: dict[str, Any] | None = None  # the frame of what djsci.result() was given
        self.threads = set(threading.enumerate())
        self.streams = {"stdout": sys.stdout, "stderr": sys.stderr}

    def send(self, frame: dict[str, Any]) -> None:
        """Publish a frame; what was printed before it goes out first."""
        text = _dumps({**frame, "nonce": self.head["nonce"]})
        self.mend_streams()
        self.publisher.publish({MIME: text})

    def send_bytes(self, name: str, pieces: Iterator[bytes]) -> None:
        """Send an artifact in parts; the last one, which is empty, says so."""
        if os.getpid() != self.pid:
            return
        self.files += 1
        for piece in itertools.chain(pieces, [b""]):
            data = base64.b64encode(piece).decode()
            self.send({"type": "part", "of": self.files, "name": name, "data": data})

    def mend_streams(self) -> None:
        """The kernel flushes `sys.stdout` before it answers, whatever user code put there."""
        for name, stream in self.streams.items():
            present = getattr(sys, name, None)
            if getattr(present, "closed", False) or not callable(getattr(present, "flush", None)):
                setattr(sys, name, stream)

    def give(self, value: Any) -> None:
        """Take what `djsci.result(value)` was given. Raises an error named as in a run's end."""
        try:
            self.given = call.result_frame(value, limit=self.head["result_limit"])
        except results.ResultRefused as refused:
            raise type(refused.ename, (ValueError,), {})(str(refused)) from None


LEFTOVERS = 1.0  # seconds that threads and tasks get after the handler has returned
KERNEL = tuple(
    str(Path(file).parent)
    for file in (
        __file__,
        *(str(module.__file__) for module in (asyncio, IPython, ipykernel, tornado, zmq)),
    )
)
_runs: list[Run] = []


def warm(preload: Sequence[str]) -> None:
    """Import what most runs import, before there is a run."""
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm falls back to text
    fonts.take()
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    print(os.getpid())  # noqa: T201 - the engine reads it


def begin() -> None:
    """Read this cell's own buffers; write the files; make the folder the run's."""
    buffers = get_ipython().kernel.get_parent("shell")["buffers"]
    head, *files = [bytes(buffer) for buffer in buffers]
    run = Run(json.loads(head))
    _runs.append(run)
    for name, content in zip(run.head["files"], files, strict=True):
        path = run.folder / name
        path.write_bytes(content)
        path.chmod(0o444)
    run.artifacts = Artifacts(
        str(run.folder),
        send=run.send,
        send_bytes=run.send_bytes,
        limit=run.head["artifact_limit"],
    )
    hidden = ("", str(run.folder), *run.head["hidden"])
    sys.path[:] = [path for path in sys.path if path not in hidden]
    sys.path.append(str(run.folder))  # last: a companion shadows nothing
    run.shell.user_ns["__file__"] = str(run.entry)
    api.install(
        api.Channel(
            send=run.send,
            request=run.request,
            run=run.head["known"],
            folder=run.folder,
            on_result=None if run.head["has_handler"] else run.give,
            on_artifact=run.artifacts.add,
        )
    )
    sys.argv[:] = [str(run.entry)]
    kernel, compiler = run.shell.kernel, run.shell.compile
    kernel._cancel_on_sigint = _cancel_on_sigint
    kernel.raw_input, kernel.getpass = keyboard.no_input, keyboard.no_getpass
    # ipykernel names cells as files that are not there; IPython then shows wrong lines.
    compiler.get_code_name = types.MethodType(CachingCompiler.get_code_name, compiler)
    run.shell.events.register("post_run_cell", _keep_value)
    run.shell.events.register("post_execute", _end_copy)
    run.shell.events.register("post_execute", run.mend_streams)
    keyboard.take_away()


@contextlib.contextmanager
def _cancel_on_sigint(future: asyncio.Future[Any]) -> Iterator[None]:
    """While a cell awaits, SIGINT cancels it. ipykernel's own does not wake the loop."""
    loop = asyncio.get_running_loop()
    former = signal.signal(
        signal.SIGINT,
        lambda *_: None if future.done() else loop.call_soon_threadsafe(future.cancel),
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _keep_value(outcome: Any) -> None:
    _runs[-1].value = outcome.result


def _end_copy() -> None:
    """A fork that returned from user code ends here: it is not the kernel."""
    if os.getpid() != _runs[-1].pid:
        os._exit(0)


def parameters() -> None:
    """Set the run's parameters in the notebook, as papermill does."""
    run = _runs[-1]
    run.shell.user_ns.update(api.arguments(run.request))


async def finish() -> None:
    """Call the handler, or take the last cell's value; wait for what is left; say done."""
    run = _runs[-1]
    try:
        if run.head["has_handler"]:
            await _call(run)
        else:
            _give_value(run)
    except BaseException as error:
        if os.getpid() == run.pid:
            run.send(_error(run, error))
    _end_copy()
    await _wait_leftovers(run)
    run.shell.events.trigger("post_execute")  # figures that were not shown yet
    collect()
    run.send({"type": "done"})


def collect() -> None:
    """Send what is left in the folder."""
    run = _runs[-1]
    with contextlib.suppress(KeyboardInterrupt):
        try:
            run.artifacts.collect()
        except Exception as error:  # user code may have broken what this needs
            text = f"Artifacts could not be read: {type(error).__name__}"
            run.send({"type": "log", "level": "warning", "message": text, "fields": {}})


async def _call(run: Run) -> None:
    """The handler's own code runs as a plain program's; its coroutines on the cells' loop."""
    with _no_loop():
        namespace = call.adapted(_namespace(run), run.head["shim"], str(run.entry))
    steps = call.steps(namespace, run.request, send=run.send, result_limit=run.head["result_limit"])
    answer: Any = None
    while True:
        try:
            with _no_loop():
                coroutine = steps.send(answer)
        except StopIteration:
            return
        answer = await coroutine


def _namespace(run: Run) -> Mapping[str, Any]:
    if run.head["is_script"]:
        return {}
    return vars(call.load_module(run.entry)) if run.head["kind"] == "py" else run.shell.user_ns


@contextlib.contextmanager
def _no_loop() -> Iterator[None]:
    """As a plain program has it: no running loop, so `asyncio.run` works; SIGINT raises."""
    loop = asyncio.get_running_loop()
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    exits = [getattr(builtins, name, None) for name in ("exit", "quit")]
    builtins.exit = builtins.quit = _exit  # type: ignore[assignment]
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        asyncio.set_event_loop(loop)
        signal.signal(signal.SIGINT, former)
        for name, value in zip(("exit", "quit"), exits, strict=True):
            if value is not None:
                setattr(builtins, name, value)


def _exit(*code: Any) -> None:
    raise SystemExit(*code)


def _give_value(run: Run) -> None:
    """A notebook without a handler: what it gave, else its last cell's value if that is JSON."""
    frame = run.given
    if frame is None:
        try:
            frame = call.result_frame(run.value, limit=run.head["result_limit"])
        except results.ResultRefused:
            frame = call.result_frame(None, limit=4)
    run.send(frame)


def _error(run: Run, error: BaseException) -> dict[str, Any]:
    """The frame of an exception; a notebook's cell is named by its execution count."""
    if isinstance(error, results.ResultRefused):
        return {"type": "error", "ename": error.ename, "evalue": str(error)}
    is_module = run.head["kind"] == "py"
    numbers: Mapping[str, int | None] = getattr(run.shell.compile, "_filename_map", {})
    return call.describe(error, entry={str(run.entry): 1} if is_module else numbers)


async def _wait_leftovers(run: Run) -> None:
    """Threads and tasks that the handler left get a moment; what they print is kept."""
    end = time.monotonic() + LEFTOVERS
    while time.monotonic() < end:
        has_tasks = any(map(_is_users, asyncio.all_tasks()))
        if not has_tasks and not any(_is_left(run, thread) for thread in threading.enumerate()):
            return
        await asyncio.sleep(0.01)


def _is_users(task: asyncio.Task[Any]) -> bool:
    """False for the tasks of the kernel itself."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and not code.co_filename.startswith(KERNEL)


def _is_left(run: Run, thread: threading.Thread) -> bool:
    if thread in run.threads or thread is threading.current_thread():
        return False
    if type(thread).__module__.startswith("tqdm"):
        return False  # its monitor sleeps for ever
    return thread not in concurrent.futures.thread._threads_queues  # an idle worker of a pool
