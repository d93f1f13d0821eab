"""Kernels that a Jupyter provisioner of others starts: on Kubernetes, behind a gateway, anywhere.

djsci has no wall around them, and says so: their runs have the isolation `elsewhere`.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from djsci.isolation import process as isolation

from .provisioner import Client, KernelManager
from .unit import StartFailed, Unit

ELSEWHERE = "elsewhere"
LOCAL = "local-provisioner"
LOOK = 0.5  # seconds between two looks whether the kernel lives
ENDING = 30.0  # seconds that its provisioner may take to end it


def provisioner(kernelspec: str) -> str:
    """The name of the provisioner that a kernelspec asks for, if it is not Jupyter's own."""
    try:
        metadata = KernelSpecManager().get_kernel_spec(kernelspec).metadata or {}
    except NoSuchKernel:
        return ""
    name = str((metadata.get("kernel_provisioner") or {}).get("provisioner_name", LOCAL))
    return "" if name == LOCAL else name


class ElsewhereUnit(Unit):
    """A kernel that we neither start nor kill: its provisioner is asked to.

    It is talked to over tcp, and gets no guest: whole notebooks run, without parameters.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.manager = KernelManager(
            kernel_name=self.kernelspec, context=self.context, client_factory=Client
        )
        self._watching: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[Any]] = set()
        self._lives = False

    @property
    def is_alive(self) -> bool:
        return self._lives and not self.died.done()

    async def launch(self) -> None:
        self.work.mkdir(parents=True)
        try:
            await self.manager.start_kernel(
                cwd=str(self.work), env=isolation.environment(self.work)
            )
        except Exception as error:
            raise StartFailed(f"its provisioner says: {error}") from error
        self._lives = True
        self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while await self.manager.is_alive():  # noqa: ASYNC110 - a provisioner can only be asked
            await asyncio.sleep(LOOK)
        self._on_death()

    async def ready(self, *, guest: Path, preload: Sequence[str], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                self._connect()
                await self._while_alive(self._hear())
        except TimeoutError:
            raise StartFailed(f"no kernel after {seconds:g} s") from None

    def limit(self, *, cpu_seconds: float) -> None:
        """Its limits are where it runs; the time of the run is ours."""

    def interrupt(self) -> None:
        self._ask(self.manager.interrupt_kernel())

    def kill(self) -> bool:
        """It is asked to end; whether it has is known after `end`."""
        if self.is_alive:
            self._ask(self.manager.shutdown_kernel(now=True))
        return False

    def _ask(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._asked.add(task)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def exit_text(self) -> str:
        return "the kernel is gone"

    async def end(self) -> bool:
        """True when its provisioner says that it has ended."""
        self.kill()
        is_gone = True
        if self._lives:
            is_gone = False
            with contextlib.suppress(Exception):
                async with asyncio.timeout(ENDING):
                    await asyncio.gather(*self._asked, return_exceptions=True)
                    is_gone = not await self.manager.is_alive()
        if self._watching is not None:
            self._watching.cancel()
        self._lives = False
        self.hang_up()
        return is_gone
