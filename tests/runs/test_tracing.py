"""Spans of admissions and runs, below the caller's; nothing at all without OpenTelemetry."""

import subprocess
import sys
from typing import Any

import pytest
from django.test import AsyncClient

from djsci import runs
from djsci.access import tokens
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import BadParameters
from djsci.runs import executor, tracing
from tests.conftest import MakeFile

CODE = """
def djsci_handler(request, n: int):
    assert n, "a secret of the handler"
    return n
"""
TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a tracer of our own exports."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("djsci"))
    return exporter


def finished(exporter: Any) -> dict[str, Any]:
    executor.stop()  # the span of a run ends just after its last event
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_a_call_and_its_run_are_spans_below_the_callers(
    make_file: MakeFile, user: Any, spans: Any
):
    file = await in_database(make_file, CODE)
    secret = (await in_database(tokens.make, user, "test", tokens.SCOPES))[1]
    headers = {"Authorization": f"Bearer {secret}", "traceparent": f"00-{TRACE}-{ABOVE}-01"}
    answer = await AsyncClient().get(f"/djsci/call/{file.pk}/?n=7", headers=headers)
    assert answer.json() == 7
    found = finished(spans)
    assert set(found) == {"djsci.admit", "djsci.run"}
    for span in found.values():
        assert f"{span.context.trace_id:032x}" == TRACE
        assert f"{span.parent.span_id:016x}" == ABOVE
        assert span.attributes["djsci.file"] == file.pk
        assert span.status.is_unset
    told = found["djsci.run"].attributes
    assert told["djsci.run"] == found["djsci.admit"].attributes["djsci.run"]
    assert (told["djsci.state"], told["djsci.engine"]) == ("succeeded", "thread")
    assert told["djsci.isolation"] == "process"


async def test_failures_and_refusals_are_errors_that_quote_nobody(
    make_file: MakeFile, caller: Caller, spans: Any
):
    file = await in_database(make_file, CODE)
    with pytest.raises(BadParameters):
        await runs.start(file.pk, caller=caller, trigger="api", parameters={"n": "xyzzy"})
    [refused] = spans.get_finished_spans()
    assert (refused.status.is_ok, refused.status.description) == (False, "bad_parameters")
    started = await runs.start(file.pk, caller=caller, trigger="api", parameters={"n": 0})
    assert (await runs.finish(started.run_id, wait=30)).state == "failed"
    failed = finished(spans)["djsci.run"]
    assert (failed.status.is_ok, failed.status.description) == (False, "failed")
    assert failed.parent is None
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "xyzzy" not in told
    assert "a secret" not in told


def test_without_the_library_a_span_is_nothing():
    code = """
import sys
sys.modules["opentelemetry"] = None
import django
django.setup()
from djsci.runs import tracing
with tracing.of_admission({}, run="a") as span, tracing.of_run({}, run="a"):
    span.note(engine="fork")
    span.end("failed")
assert not tracing.is_on()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
