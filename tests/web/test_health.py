"""Probes and metrics: what this process lacks, what others lack, and counters that never fall."""

import asyncio
import importlib
import inspect
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.test import AsyncClient, override_settings
from django.utils import timezone

from djsci import runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.events import End
from djsci.models import Executor, Run, Tally
from djsci.runs import dispatch, doorbell, executor, log, retention, sweep, tallies
from djsci.web import metrics, readiness
from tests.conftest import MakeFile

from .conftest import MakeRun

READY = "/djsci/health/ready"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is kept from earlier tests, nor for later ones."""
    monkeypatch.setattr(metrics, "_kept", (0.0, ""))
    readiness.forget()
    yield
    readiness.forget()


async def checks(client: AsyncClient) -> tuple[int, str, dict[str, str]]:
    """Status, its word, and the failed checks with their reasons."""
    readiness.forget()
    answer = await client.get(READY)
    body = answer.json()
    failed = {name for name, said in body["checks"].items() if said == "failed"}
    assert failed == set(body.get("details", failed))
    return answer.status_code, body["status"], body.get("details", {})


async def test_liveness_asks_no_database():
    answer = await AsyncClient().get("/djsci/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readiness_names_its_checks(transactional_db):
    answer = await AsyncClient().get(READY)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["checks"] == dict.fromkeys(readiness._CHECKS, "ok")
    assert "details" not in answer.json()


async def test_a_process_that_drains_is_not_ready(transactional_db, monkeypatch, program):
    current = executor.start()
    monkeypatch.setattr(current, "is_draining", True)
    answer = await AsyncClient().get(READY)
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert (answer.json()["checks"]["draining"], answer["Retry-After"]) == ("failed", "5")
    assert "details" not in answer.json()
    assert await checks(program) == (503, "unavailable", {"draining": "shutting down"})


async def test_storage_and_spool_must_take_a_write(program, tmp_path, settings, monkeypatch):
    blocked = tmp_path / "a file where a folder should be"
    blocked.write_text("")
    settings.MEDIA_ROOT = str(blocked / "media")
    status, word, details = await checks(program)
    assert (status, word, set(details)) == (503, "unavailable", {"storage"})
    settings.MEDIA_ROOT = str(tmp_path / "media")
    assert await checks(program) == (200, "ok", {})
    assert list(tmp_path.rglob("blobs/*/*")) == []  # a probe leaves nothing
    monkeypatch.setattr("tempfile.tempdir", str(blocked))
    assert (await checks(program))[2].keys() == {"spool"}


async def test_a_check_that_hangs_is_said_in_a_second_and_not_begun_twice(program, monkeypatch):
    begun, gate = [], threading.Event()

    def hang() -> str:
        begun.append(threading.current_thread())
        gate.wait(30)
        return ""

    monkeypatch.setattr(readiness, "_CHECK_SECONDS", 0.1)
    monkeypatch.setitem(readiness._CHECKS, "storage", hang)
    for _ in range(3):
        monkeypatch.setattr(readiness, "_kept", (0.0, {}))
        answer = await program.get(READY)
        assert answer.status_code == 503
        assert answer.json()["details"]["storage"] == "no answer within 0.1 s"
    gate.set()
    [thread] = begun
    thread.join(10)
    monkeypatch.setattr(readiness, "_CHECK_SECONDS", 30)
    monkeypatch.setattr(readiness, "_kept", (0.0, {}))
    assert (await program.get(READY)).json()["status"] == "ok"


async def test_a_database_that_is_away_is_said_to_anybody_without_asking_it(monkeypatch):
    def away() -> str:
        raise OperationalError("secret of the connection")

    for name in readiness._CHECKS:
        monkeypatch.setitem(readiness._CHECKS, name, away)
    answer = await AsyncClient().get(READY, headers={"Authorization": "Bearer djsci_no"})
    assert answer.status_code == 503
    assert "secret" not in answer.content.decode()


@pytest.fixture
def make_live_run(make_file: MakeFile, make_run: MakeRun) -> Callable[..., Run]:
    """A run that has not ended, of a file of its own."""

    def make(**columns: Any) -> Run:
        file = make_file("def djsci_handler(request):\n    return 1\n")
        made: Run = make_run(file, ended=None, **columns)
        return made

    return make


async def test_what_others_lack_only_degrades(
    program, make_live_run: Callable[..., Run], monkeypatch
):
    since = timezone.now() - timedelta(seconds=90)

    run = await in_database(make_live_run, state="queued", created=since, queue="gpu")
    status, word, details = await checks(program)
    assert (status, word, details.pop("executors")) == (200, "degraded", "nobody serves gpu")
    assert details.pop("queue").startswith("a run has waited for 9")
    assert details == {}
    await in_database(make_executor, queues=["gpu"])
    assert (await checks(program))[2].keys() == {"queue"}
    with override_settings(DJSCI={"RUNNING_PER_USER": 0}):  # held back by a limit, not by us
        assert await checks(program) == (200, "ok", {})
    await in_database(Run.objects.filter(pk=run.pk).delete)
    usage = type("Usage", (), {"free": 4, "total": 100})()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    assert (await checks(program))[:2] == (200, "degraded")


async def test_a_layer_or_a_broker_that_is_away_only_degrades(program, monkeypatch):
    class Away(dispatch.Dispatcher):
        is_local = True

        def ring(self, bells: Any) -> None: ...

        def reach(self) -> None:
            raise ConnectionRefusedError

    class NoLayer:
        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            raise ConnectionResetError

    current = executor.start()
    monkeypatch.setattr(dispatch, "current", Away)
    loop = current._loop
    monkeypatch.setattr(
        doorbell, "_broadcast", doorbell.LayerBroadcast(NoLayer(), loop, window=0.01)
    )
    status, word, details = await checks(program)
    assert (status, word) == (200, "degraded")
    assert details == {"broker": "ConnectionRefusedError", "layer": "ConnectionResetError"}


async def test_threads_that_do_not_return_degrade_until_they_do(
    make_file: MakeFile, caller: Caller, program, monkeypatch
):
    gate = threading.Event()
    monkeypatch.setattr("djsci.test_gate", gate, raising=False)
    code = "import djsci\ndef djsci_handler(request):\n    djsci.test_gate.wait(60)\n"
    file = await in_database(make_file, code, engine="thread", timeout=0.1)
    current = executor.start()
    try:
        with override_settings(DJSCI={"GRACE": 0.1}):
            started = await runs.start(file.pk, caller=caller, trigger="api")
            assert (await runs.finish(started.run_id, wait=30)).state == "timed_out"
        told = "1 abandoned threads have not returned"
        assert await checks(program) == (200, "degraded", {"threads": told})
    finally:
        gate.set()
        for thread in threading.enumerate():
            if thread.name == "djsci-run":
                thread.join(30)
    is_freed = threading.Event()
    current._loop.call_soon_threadsafe(is_freed.set)  # after what the thread has left there
    assert await asyncio.to_thread(is_freed.wait, 30)
    assert await checks(program) == (200, "ok", {})


def make_executor(**columns: Any) -> Executor:
    defaults: dict[str, Any] = {
        "id": uuid.uuid4(),
        "host": "elsewhere",
        "pid": 1,
        "process_started": 1,
        "version": "0",
        "queues": ["default"],
        "slots": 4,
        "seen": timezone.now(),
    }
    return Executor.objects.create(**(defaults | columns))


async def read_metrics(client: AsyncClient) -> dict[str, float]:
    """Samples by their names with labels, as Prometheus's own parser reads them."""
    parser = pytest.importorskip("prometheus_client.parser")
    metrics._kept = (0.0, "")
    answer = await client.get("/djsci/metrics")
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.content.decode()
    found: dict[str, float] = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            name = sample.name + (f"{{{labels}}}" if labels else "")
            assert name not in found
            found[name] = sample.value
    return found


async def test_metrics_are_for_staff_and_this_machine(transactional_db, program, stranger):
    local = await AsyncClient().get("/djsci/metrics")
    assert local.status_code == 200
    assert 'djsci_runs_ended_total{state="failed"} 0' in local.content.decode()
    proxied = {"X-Forwarded-For": "127.0.0.1"}
    assert (await AsyncClient().get("/djsci/metrics", headers=proxied)).status_code == 404
    assert (await stranger.get("/djsci/metrics", headers=proxied)).status_code == 404
    assert (await program.get("/djsci/metrics", headers=proxied)).status_code == 200


async def test_metrics_tell_of_queues_executors_and_this_process(
    program, make_live_run: Callable[..., Run]
):
    odd = 'a "queue"\\ of\nlines'

    def arrange() -> None:
        since = timezone.now() - timedelta(seconds=50)
        make_live_run(state="queued", created=since, queue=odd)
        make_executor(queues=[odd], slots=4, busy=1)
        make_executor(queues=[odd], slots=4, busy=2)  # of the same host: they share its slots
        make_executor(queues=[odd], seen=since)
        tallies.note_swept()

    await in_database(arrange)
    found = await read_metrics(program)
    assert found[f"djsci_runs{{queue={odd},state=queued}}"] == 1
    assert found["djsci_runs{queue=default,state=queued}"] == 0
    assert 50 <= found[f"djsci_queue_oldest_seconds{{queue={odd}}}"] < 110
    assert found["djsci_queue_oldest_seconds{queue=default}"] == 0
    assert found[f"djsci_executors{{queue={odd}}}"] == 2
    assert found[f"djsci_slots{{busy=true,queue={odd}}}"] == 3
    assert found[f"djsci_slots{{busy=false,queue={odd}}}"] == 1
    assert 0 <= found["djsci_sweep_age_seconds"] < 60
    assert found["djsci_resident_memory_bytes"] > 1 << 20
    assert found["djsci_open_fds"] > 3
    assert found["djsci_streams"] == 0
    assert found["djsci_rings_failed_total{to=layer}"] == 0
    assert found["djsci_rings_failed_total{to=broker}"] == 0


async def test_counters_do_not_fall_when_runs_are_removed(
    make_file: MakeFile, caller: Caller, program
):
    code = "def djsci_handler(request, n: int):\n    return 1 // n\n"
    file = await in_database(make_file, code)
    for n in (0, 1, 1):
        started = await runs.start(file.pk, caller=caller, trigger="api", parameters={"n": n})
        await runs.finish(started.run_id, wait=30)
    before = await read_metrics(program)
    assert before["djsci_runs_ended_total{state=succeeded}"] == 2
    assert before["djsci_runs_ended_total{state=failed}"] == 1
    with override_settings(DJSCI={"RETENTION": {"logs": 0, "runs": 0}}):
        assert (await in_database(retention.purge))[1] == 3
    await in_database(file.delete)
    after = await read_metrics(program)
    ended = "djsci_runs_ended_total"
    assert {n: v for n, v in after.items() if n.startswith(ended)} == {
        n: v for n, v in before.items() if n.startswith(ended)
    }


def test_an_end_is_counted_once_and_a_reaping_too(make_live_run: Callable[..., Run]):
    executor.stop()  # it sweeps too
    run = make_live_run(state="running")
    end = End(state="lost", reason="gone")
    columns: dict[str, Any] = log.end_columns(end)
    assert log.take_over(run.pk, lease=run.lease, events=[end], columns=columns)
    assert not log.take_over(run.pk, lease=run.lease, events=[end], columns=columns)
    assert tallies.ended()["lost"] == 1
    again = make_live_run(state="running", starts=1)
    sweep._reap(again.pk, lease=again.lease)
    sweep._reap(again.pk, lease=again.lease)
    assert (tallies.ended()["lost"], tallies.reaped()) == (2, 1)
    sweep.sweep(sweep.Looks())
    assert Tally.objects.get(name="swept").count == 1


def test_the_migration_counts_what_had_ended_before(make_live_run: Callable[..., Run]):
    Run.objects.filter(pk=make_live_run(state="queued").pk).update(state="crashed")
    make_live_run(state="queued")
    Tally.objects.all().delete()
    migration = importlib.import_module("djsci.migrations.0006_tally")
    with connection.schema_editor() as editor:
        migration.count_what_has_ended(apps, editor)
    assert list(Tally.objects.values_list("name", "count")) == [("ended:crashed", 1)]


def test_every_metric_and_check_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    source = inspect.getsource(metrics)
    named = set(re.findall(r'_(?:gauge|counter)\(\s*"([a-z_]+)"', source))
    assert len(named) == 11
    assert [name for name in sorted(named) if f"`djsci_{name}`" not in text] == []
    assert [name for name in readiness._CHECKS if f"| `{name}` |" not in text] == []
