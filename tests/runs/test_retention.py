"""What is stored beside the rows goes when nothing refers to it any more, and not before."""

from collections.abc import Callable

from django.core.management import call_command
from django.test import override_settings

from djsci import blobs, runs, versions
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import PrivateFile, Run
from djsci.runs import retention

MakeFile = Callable[..., PrivateFile]
LARGE = """
def djsci_handler(request, text: str):
    yield "c" * 300_000
    yield len(text)
"""


def digests(run_id: str) -> tuple[str, str, str]:
    """The blobs of a run: its result, its request, and what its log refers to."""
    run = Run.objects.get(pk=run_id)
    data = "".join(run.log.values_list("data", flat=True))
    [chunk] = set(retention.REFERENCE.findall(data)) - {run.result_ref}
    return run.result_ref, run.request.removeprefix("blob:"), chunk


async def test_blobs_stay_as_long_as_something_refers_to_them(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, LARGE)
    started = await runs.start(
        file.pk, caller=caller, trigger="api", parameters={"text": "t" * 300_000}
    )
    assert await runs.finish(started.run_id, wait=30)
    result, request, chunk = await in_database(digests, started.run_id)
    stray = await in_database(blobs.put, b"nobody refers to this")

    def purge() -> int:
        return retention.purge_blobs(older_than=-60)

    assert await in_database(purge) >= 1  # other tests leave blobs too
    assert not await in_database(blobs.exists, stray)
    with override_settings(DJSCI={"RETENTION": {"logs": 0, "runs": None}}):
        await in_database(retention.purge)
    assert await in_database(purge) == 1
    assert not await in_database(blobs.exists, chunk)
    assert await in_database(blobs.exists, result)
    assert await in_database(blobs.exists, request)
    with override_settings(DJSCI={"RETENTION": {"logs": 0, "runs": 0}}):
        await in_database(retention.purge)
    assert await in_database(purge) == 2
    assert await in_database(versions.contents, file.version) == {"handler.py": LARGE.encode()}


async def test_a_young_blob_is_left_for_the_row_that_is_about_to_name_it(user: object):
    young = await in_database(blobs.put, b"its row comes in a moment")
    await in_database(call_command, "djsci_purge", verbosity=0)
    assert await in_database(blobs.exists, young)
