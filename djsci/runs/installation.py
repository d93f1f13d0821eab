"""What comes before a run with a PEP 723 header: its libraries are there, or are installed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from djsci.access.database import in_database
from djsci.core.events import End, Error, Status
from djsci.engines import environments
from djsci.engines.base import Stop
from djsci.engines.environments import Environment
from djsci.engines.installing import InstallFailed
from djsci.engines.registry import Choice
from djsci.models import Run

from .log import from_now
from .recorder import Recorder


@contextlib.asynccontextmanager
async def ready(
    run: Run, choice: Choice, recorder: Recorder, *, stop: Stop
) -> AsyncIterator[End | None]:
    """Hold what `choice` installs until the end. Gives the run's `End` where there is no more."""
    async with contextlib.AsyncExitStack() as held:
        if choice.installs is None:
            yield None
            return
        using = asyncio.ensure_future(
            held.enter_async_context(_used(run, choice.installs, recorder))
        )
        failure: End | None = None
        try:
            failure = await _unless_stopped(using, stop)
        except (InstallFailed, OSError) as error:
            reason = str(error) if isinstance(error, InstallFailed) else type(error).__name__
            await recorder.add(Error(ename="InstallFailed", evalue=reason))
            failure = End(state="failed", reason=f"its libraries were not installed: {reason}")
        yield failure


async def _unless_stopped(using: "asyncio.Future[None]", stop: Stop) -> End | None:
    asked = asyncio.ensure_future(stop.asked())
    try:
        await asyncio.wait({using, asked}, return_when=asyncio.FIRST_COMPLETED)
        if using.done():
            using.result()
            return None
        return End(state="cancelled", reason="cancelled while its libraries were installed")
    finally:
        for task in (asked, using):
            task.cancel()
        await asyncio.gather(asked, using, return_exceptions=True)


@contextlib.asynccontextmanager
async def _used(run: Run, environment: Environment, recorder: Recorder) -> AsyncIterator[None]:
    async def say() -> None:
        count = len(environment.packages)
        what = f"installing {count} {'library' if count == 1 else 'libraries'}"
        await recorder.add(Status(state="starting", detail=what))

    if not environment.is_ready:  # it is installed here, or waits for who does
        await in_database(_put_off, run, environment.site.timeout)
    async with environments.used(environment, on_install=say):
        yield


def _put_off(run: Run, seconds: float) -> None:
    """The deadline: what is installed takes none of the run's own time."""
    Run.objects.filter(pk=run.pk, state="starting").update(deadline=from_now(run.timeout + seconds))
