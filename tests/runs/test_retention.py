"""What is stored beside the rows goes when nothing refers to it any more, and not before."""

import os
import tempfile
import uuid
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from djsci import blobs, runs, versions
from djsci.access import audit
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.engines import folders
from djsci.models import Audit, Executor, PrivateFile, Run, Ticket
from djsci.runs import claims, retention

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


def old_run(file: PrivateFile, days: float, **columns: Any) -> Run:
    """A run that ended that many days ago."""
    then = timezone.now() - timedelta(days=days)
    given = {"trigger": "api", "timeout": 60, "memory": 1, "state": "succeeded", "ended": then}
    return Run.objects.create(file=file, version=file.version, created=then, **(given | columns))


def told(*options: str) -> str:
    said = StringIO()
    call_command("djsci_purge", *options, stdout=said)
    return said.getvalue()


def test_a_purge_says_before_and_after_what_goes_and_keeps_the_audit(
    make_file: MakeFile, user: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    retention.purge_blobs(older_than=-60)  # what other tests left
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = folders.make()
    os.close(folders._held.pop(left))  # as the end of its process would
    file = make_file("def djsci_handler(request): return 1")
    audit.record(None, "version", file)
    audited = Audit.objects.count()
    stored = [blobs.put(content) for content in (b"of an old run", b"of a young run", b"of none")]
    for sha256 in stored:
        os.utime(blobs.storage().path(blobs.path(sha256)), (0, 0))
    old_run(file, 400, result_ref=stored[0], key="first")
    young = old_run(file, 40, result_ref=stored[1], key="second")
    live = old_run(file, 400, state="running", ended=None)
    Ticket.objects.create(digest="late", user=user, target="x", expires=timezone.now())
    expected = "{} logs, 1 runs, 2 idempotency keys, 1 tickets, 2 stored contents, 1 folders"
    expected += ", 0 environments {}\n"
    assert told("--dry-run") == expected.format(2, "would be removed")
    assert (Run.objects.count(), Ticket.objects.count(), left.exists()) == (3, 1, True)
    assert all(blobs.exists(sha256) for sha256 in stored)
    assert told() == expected.format(2, "were removed")
    assert set(Run.objects.all()) == {young, live}
    assert [blobs.exists(sha256) for sha256 in stored] == [False, True, False]
    assert (Ticket.objects.count(), left.exists()) == (0, False)
    assert Audit.objects.count() == audited
    assert told("--dry-run").startswith("0 logs, 0 runs, 0 idempotency keys, 0 tickets, 0 stored")


@pytest.mark.parametrize("days", [-1, -0.1, "30", float("nan"), float("inf"), 1e300, True])
def test_what_is_no_number_of_days_removes_nothing(make_file: MakeFile, days: Any):
    file = make_file("def djsci_handler(request): return 1")
    old_run(file, 400)
    with override_settings(DJSCI={"RETENTION": {"logs": days, "runs": days}}):
        assert retention.purge() == retention.Went()
        assert retention.rehearse() == retention.Went()
    with override_settings(DJSCI={"RETENTION": {"logs": 300, "runs": None}}):
        assert retention.purge() == retention.Went(logs=1)


def test_a_batch_of_large_logs_is_a_small_one(make_file: MakeFile):
    file = make_file("def djsci_handler(request): return 1")
    for _ in range(3):
        old_run(file, 40, bytes=40 << 20)
    assert [retention.purge_some().logs for _ in range(3)] == [2, 1, 0]


def test_a_restored_database_runs_nothing_again_and_says_what_storage_lacks(
    make_file: MakeFile, capsys: pytest.CaptureFixture[str]
):
    file = make_file("def djsci_handler(request): return 1")
    stored = [blobs.put(content) for content in (b"whole", b"changed", b"missing")]
    for sha256 in stored:
        old_run(file, 1, result_ref=sha256)
    queued = old_run(file, 0, state="queued", ended=None, queue="elsewhere")
    call_command("djsci_restored", stdout=(said := StringIO()))
    assert said.getvalue() == (
        "1 open runs are lost; 4 stored contents are named, 0 of them missing or changed\n"
    )
    queued.refresh_from_db()
    assert (queued.state, queued.reason) == (
        "lost",
        "it was open in the backup that was restored",
    )
    Path(blobs.storage().path(blobs.path(stored[1]))).write_bytes(b"otherwise")
    blobs.storage().delete(blobs.path(stored[2]))
    with pytest.raises(SystemExit, match="1"):
        call_command("djsci_restored")
    out, errors = capsys.readouterr()
    assert out.endswith("4 stored contents are named, 2 of them missing or changed\n")
    assert [line.partition(":")[0] for line in errors.splitlines()] == sorted(stored[1:])


@pytest.mark.usefixtures("db")
@override_settings(DJSCI={"RETENTION": {"logs": 1, "runs": 2}})
@pytest.mark.parametrize("name", ["_old_logs", "_old_runs", "_old_keys"])
def test_what_is_old_is_found_without_reading_all_runs(name: str) -> None:
    plan = getattr(retention, name)().values("pk")[:200].explain()
    assert "USING INDEX" in plan or "USING COVERING INDEX" in plan, plan
    assert "SCAN djsci_run" not in plan


@pytest.mark.usefixtures("db")
def test_an_executor_that_goes_reads_no_ended_runs(django_assert_num_queries: Any) -> None:
    executor = Executor.objects.create(
        id=uuid.uuid4(), pid=1, process_started=1, slots=1, seen=timezone.now()
    )
    with django_assert_num_queries(1):
        claims.unregister(executor.pk)
