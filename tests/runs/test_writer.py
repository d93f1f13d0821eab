"""The thread that appends for all runs: nothing that one run does may end it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from djsci.access.database import in_database
from djsci.models import Run
from djsci.runs import log
from djsci.runs.writer import Writer
from tests.conftest import MakeFile


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    made.close()


def running(make_file: MakeFile, user: Any) -> str:
    """A run whose lease 1 is held here."""
    file = make_file("def djsci_handler(request): return 1")
    run = Run.objects.create(
        file=file,
        version=file.version,
        user=user,
        state="running",
        lease=1,
        trigger="api",
        timeout=60,
        memory=1,
        created=file.created,
    )
    return str(run.pk)


def line(run_id: str, *, head: int) -> log.Append:
    text = log.numbered('{"type":"log"}', seq=head + 1, t=0.0)
    return log.Append(run_id=run_id, lease=1, head=head, lines=[text])


async def test_who_gives_up_waiting_for_an_append_does_not_end_the_writer(
    make_file: MakeFile, user: Any, writer: Writer
):
    run_id = await in_database(running, make_file, user)
    waiting = asyncio.create_task(writer.append(line(run_id, head=0)))
    await asyncio.sleep(0)  # it is queued
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(10):
        assert await writer.append(line(run_id, head=1))
