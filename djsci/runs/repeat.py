"""Run again: the same request, on the file's present version."""

from djsci.access.callers import Caller
from djsci.access.database import in_files
from djsci.models import Run

from .admit import Started, start
from .execute import stored_request


async def repeat(run: Run, *, caller: Caller, key: str | None) -> Started:
    """A new run of what `run` was asked for. Raises as `start` does."""
    request = await in_files(stored_request, run)
    return await start(
        run.file_id,
        caller=caller,
        trigger="form",
        parameters=run.parameters,
        request=request,
        key=key,
    )
