"""Who printed it: stdout and stderr of a process that many runs share, told apart by context."""

import concurrent.futures.thread as pools
import contextvars
import io
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Literal, Protocol

Name = Literal["stdout", "stderr"]


class Listener(Protocol):
    """A run, as its prints and its threads meet it."""

    def write(self, name: Name, text: str) -> None: ...
    def flush(self) -> None: ...
    def began(self, thread: threading.Thread) -> None: ...


listener: ContextVar[Listener | None] = ContextVar("djsci_listener", default=None)


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer` of a run."""

    def __init__(self, stream: "Proxy") -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        content = bytes(data)
        self._stream.write(content.decode("utf-8", "replace"))
        return len(content)

    def flush(self) -> None:
        self._stream.flush()


class Proxy(io.TextIOBase):
    """At `sys.stdout` or `sys.stderr`: a run's text goes to the run, all else where it went."""

    def __init__(self, name: Name, original: Any) -> None:
        self._name: Name = name
        self._original = original

    def write(self, text: str) -> int:
        run = listener.get()
        if run is None:
            return int(self._original.write(text) or 0)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        run.write(self._name, text)
        return len(text)

    def flush(self) -> None:
        run = listener.get()
        if run is None:
            self._original.flush()
        else:
            run.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return listener.get() is None and bool(self._original.isatty())

    def fileno(self) -> int:
        return int(self._original.fileno())

    def close(self) -> None:
        """The server's stream is not user code's to close."""

    @property
    def buffer(self) -> Any:
        return self._original.buffer if listener.get() is None else _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Capture:
    """The proxies and the two wrapped methods, while at least one engine is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo: list[Callable[[], None]] = []

    def open(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._install()

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            while not self._users and self._undo:
                self._undo.pop()()

    def stand_in(self) -> None:
        """Take the streams again where somebody has put others since."""
        with self._lock:
            self._take_streams()

    def _take_streams(self) -> None:
        for name in ("stdout", "stderr"):
            if not isinstance(getattr(sys, name), Proxy):
                self._replace(sys, name, Proxy(name, getattr(sys, name)))

    def _install(self) -> None:
        self._take_streams()
        self._replace(threading.Thread, "start", _start(threading.Thread.start))
        self._replace(ThreadPoolExecutor, "submit", _submit(ThreadPoolExecutor.submit))

    def _replace(self, place: Any, name: str, ours: Any) -> None:
        stock = getattr(place, name)
        setattr(place, name, ours)

        def undo() -> None:
            if getattr(place, name) is ours:  # else somebody wrapped it: it passes everything on
                setattr(place, name, stock)

        self._undo.append(undo)


def _start(stock: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """A thread that a run starts belongs to the run. A pool's worker belongs to nobody."""

    def start(self: threading.Thread) -> None:
        run = listener.get()
        if run is not None and getattr(self, "_target", None) is not pools._worker:
            context, work = contextvars.copy_context(), self.run
            self.run = lambda: context.run(work)  # type: ignore[method-assign]
            run.began(self)
        stock(self)

    return start


def _submit(stock: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    """What a run submits to a pool belongs to the run."""

    def submit(self: Any, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if listener.get() is None:
            return stock(self, work, *args, **kwargs)
        return stock(self, contextvars.copy_context().run, work, *args, **kwargs)

    return submit


capture = _Capture()
