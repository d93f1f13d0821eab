"""The warm engine: a version is loaded once in a template, and every call is forked from it."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar

from djsci.core.events import End, Event
from djsci.core.sources import Source
from djsci.guest.requests import HandlerRequest

from .base import Limits, Stock, Stop
from .conversation import Conversation
from .fork import ForkEngine
from .templates import Template
from .workers import StartFailed, Worker

CALLS = 16  # calls of one template that its limit of processes is made for
MOST = 16  # templates that are kept
FOLDERS = ("/tmp", "/dev/shm")  # noqa: S108 - those that a run has to itself in its own root


class WarmEngine(ForkEngine):
    """One template for each file, of the version that was called last.

    Loading is part of the run that causes it: its output, its errors, its time. Calls of one
    template at the same time are not walled from each other. A notebook without a handler has
    nothing to call: it runs as a fork.
    """

    name: ClassVar[str] = "warm"
    calls: ClassVar[int] = CALLS

    def __init__(self, *, size: int = 0, **options: Any) -> None:
        super().__init__(size=size, **options)
        self.templates: dict[str, Template] = {}  # by file; those called last are last
        self._all: set[Template] = set()
        self._loading: dict[str, asyncio.Event] = {}

    async def close(self) -> None:
        self.templates.clear()
        await asyncio.gather(*(template.close() for template in list(self._all)))
        await super().close()

    def stock(self) -> Stock:
        return replace(super().stock(), servers=len(self._all))

    async def execute(
        self, source: Source, request: HandlerRequest, *, limits: Limits, stop: Stop
    ) -> AsyncGenerator[Event, None]:
        how: dict[str, Any] = {"limits": limits, "stop": stop}
        if not source.has_handler or source.is_script:
            async with aclosing(super().execute(source, request, **how)) as said:
                async for event in said:
                    yield event
            return
        began: float | None = None
        worker: Worker | None = None
        for is_last in (False, True):
            loading = self._load(source, request, began=began, **how)
            async with aclosing(loading) as said:
                async for event in said:
                    began = began or time.monotonic()
                    yield event
                    if isinstance(event, End):
                        return
            try:
                worker = await self._call(source, stop)
                break
            except (StartFailed, OSError) as error:
                if is_last:
                    yield _failed(error, began)
                    return
        if worker is None:
            yield End(state="cancelled", elapsed=_since(began))
            return
        run = self._conversation(worker, source, request, part="call", began=began, **how)
        async with aclosing(self._play(run)) as said:
            async for event in said:
                yield event

    async def _load(
        self,
        source: Source,
        request: HandlerRequest,
        *,
        limits: Limits,
        stop: Stop,
        began: float | None,
    ) -> AsyncGenerator[Event, None]:
        """Until there is a template; who has to load it says how that goes, or failed."""
        file, _ = _identity(source)
        while file in self._loading:
            await _either(self._loading[file].wait(), stop.asked())
            if stop.is_asked:
                yield End(state="cancelled", elapsed=_since(began))
                return
        if self._usable(source) is not None:
            return
        loaded = self._loading[file] = asyncio.Event()
        try:
            try:
                worker = await self._take_unless(stop, self.supply.take)
            except (StartFailed, OSError) as error:
                yield _failed(error, began)
                return
            if worker is None:
                yield End(state="cancelled", elapsed=_since(began))
                return
            run = self._conversation(
                worker,
                source,
                request,
                limits=limits,
                stop=stop,
                part="load",
                own=self._own(worker),
                began=began,
            )
            async with aclosing(self._play(run, keep=self._keep)) as said:
                async for event in said:
                    yield event
        finally:
            del self._loading[file]
            loaded.set()

    def _own(self, worker: Worker) -> dict[str, Any]:
        """What is a template's alone, so that it may empty it."""
        has_own_root = self.supply.ground.has_own_root
        folders = list(FOLDERS) if has_own_root else []
        return {"folders": folders, "ipc": has_own_root or worker.uid is not None}

    def _keep(self, run: Conversation) -> None:
        file, version = _identity(run.source)
        template = Template(run.worker, self.supply, version=version, memory=run.limits.memory)
        # A call is in the group too until it has one of its own: what each may use is watched.
        run.worker.bound(memory=run.limits.memory * (1 + CALLS))
        template.on_gone = lambda: self._forget(file, template)
        self._all.add(template)
        for idle in [name for name, one in self.templates.items() if not one.workers]:
            if len(self.templates) >= MOST:
                self.templates.pop(idle).retire()
        self.templates[file] = template

    def _forget(self, file: str, template: Template) -> None:
        self._all.discard(template)
        if self.templates.get(file) is template:
            del self.templates[file]

    def _usable(self, source: Source) -> Template | None:
        """The template of this version; one that will not do is let go."""
        file, version = _identity(source)
        template = self.templates.pop(file, None)
        if template is None:
            return None
        if template.version != version or not template.is_fresh:
            template.retire()
            return None
        self.templates[file] = template
        return template

    async def _call(self, source: Source, stop: Stop) -> Worker | None:
        template = self._usable(source)
        if template is None:
            raise StartFailed("the template is gone")
        try:
            return await self._take_unless(stop, template.call)
        except (StartFailed, OSError):
            template.retire()
            raise

    def _unbounded(self) -> list[tuple[Worker, int]]:
        loose = super()._unbounded()
        if loose:
            loose += [(one.worker, one.memory * (1 + len(one.workers))) for one in self._all]
        return loose


def _identity(source: Source) -> tuple[str, str]:
    """The file and the version; of a source that has none, what is in it."""
    if source.version:
        return source.file, source.version
    digest = hashlib.sha256(source.name.encode())
    for name, content in sorted(source.files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return source.file or digest.hexdigest(), digest.hexdigest()


async def _either(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _since(began: float | None) -> float:
    return 0.0 if began is None else time.monotonic() - began


def _failed(error: Exception, began: float | None) -> End:
    return End(state="crashed", elapsed=_since(began), reason=f"the worker did not start: {error}")
