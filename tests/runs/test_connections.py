"""A file's connections, from the grant to the end of a run: what is given, what is kept."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core import serializers
from django.test import override_settings

from djsci import runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core import events
from djsci.core.errors import IsolationUnavailable
from djsci.models import PrivateFile, Run
from djsci.runs import executor
from djsci.runs.masking import Masker
from tests.isolation.conftest import need

SECRET = 'p"ss\\wörd-51-canary'
TELLS = """
import os, sys
def djsci_handler(request):
    secret = os.environ["PASSWORD"]
    print("whole", secret, file=sys.stderr)
    for letter in secret:
        print(letter, end="", flush=True)
    print()
    if request.json().get("fails"):
        raise ValueError(secret)
    return {"secret": secret, secret: [secret * 2]}
"""
MakeFile = Callable[..., PrivateFile]


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server on this host that answers `granted` once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            made, _ = listener.accept()
            with made:
                made.recv(10)
                made.sendall(b"granted")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def grant(file: PrivateFile, *names: str) -> None:
    PrivateFile.objects.filter(pk=file.pk).update(
        settings={"engine": "fork", "connections": [*names]}
    )


async def end(file: PrivateFile, caller: Caller, **parameters: Any) -> tuple[Run, str]:
    started = await runs.start(file.pk, caller=caller, trigger="api", parameters=parameters)
    assert await runs.finish(started.run_id, wait=30)
    run = await Run.objects.aget(pk=started.run_id)
    said = "\n".join([row.data async for row in run.log.order_by("last")])
    return run, said


async def test_k3_a_value_is_in_no_row_and_no_log(
    make_file: MakeFile, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    file = await in_database(make_file, TELLS, engine="fork")
    await in_database(grant, file, "warehouse")
    site = {"warehouse": {"env": {"PASSWORD": lambda: SECRET}}}
    with override_settings(DJSCI={"CONNECTIONS": site}):
        run, said = await end(file, caller)
        failed, failure = await end(file, caller, fails="1")
    assert run.state == "succeeded", said
    assert json.loads(run.result or "") == {"secret": "•••", "•••": ["••••••"]}
    texts = [event["text"] for event in map(json.loads, said.split("\n")) if "text" in event]
    assert "".join(texts).count("•••") == 2
    assert (failed.state, failed.error and failed.error["evalue"]) == ("failed", "•••")
    dump = await in_database(lambda: serializers.serialize("json", everything()))
    forms = {SECRET, json.dumps(SECRET)[1:-1], json.dumps(SECRET, ensure_ascii=False)[1:-1]}
    forms |= {json.dumps(form)[1:-1] for form in forms}
    for text in (dump, caplog.text, said, failure):
        assert not [form for form in forms if form in text]


def everything() -> list[Any]:
    models = apps.get_app_config("djsci").get_models()
    return [row for model in models for row in model.objects.all()]


async def test_k4_a_grant_that_was_withdrawn_while_queued_gives_nothing(
    make_file: MakeFile, caller: Caller
) -> None:
    code = "import os\ndef djsci_handler(request):\n    return os.environ.get('PASSWORD')\n"
    file = await in_database(make_file, code, engine="fork")
    await in_database(grant, file, "warehouse")
    site = {"warehouse": {"env": {"PASSWORD": SECRET}}}
    with override_settings(DJSCI={"CONNECTIONS": site, "RUNNING": 0}):
        started = await runs.start(file.pk, caller=caller, trigger="api", parameters={})
        await in_database(grant, file)
    with override_settings(DJSCI={"CONNECTIONS": site}):
        executor.start().ring()
        view = await runs.finish(started.run_id, wait=30)
    assert view is not None
    assert view.result == "null"


async def test_a_connection_that_is_gone_from_the_settings_is_refused(
    make_file: MakeFile, caller: Caller
) -> None:
    file = await in_database(
        make_file, "def djsci_handler(request):\n    return 1\n", engine="fork"
    )
    await in_database(grant, file, "warehouse")
    with pytest.raises(IsolationUnavailable, match="'warehouse' is not set up"):
        await runs.start(file.pk, caller=caller, trigger="api", parameters={})


async def test_a_host_by_its_connection_and_what_helps_without(
    make_file: MakeFile, caller: Caller, port: int
) -> None:
    need("bwrap")
    code = f"""
import socket
def djsci_handler(request):
    with socket.create_connection(("127.0.0.1", {port}), 5) as made:
        made.sendall(b"x")
        return made.recv(20).decode()
"""
    file = await in_database(make_file, code, engine="fork")
    site = {"here": {"hosts": [f"127.0.0.1:{port}"]}}
    with override_settings(DJSCI={"CONNECTIONS": site, "ISOLATION": "bwrap"}):
        without, _ = await end(file, caller)
        assert without.state == "failed"
        assert "grants the file its hosts by name (`connections`)" in without.error["evalue"]
        await in_database(grant, file, "here")
        run, said = await end(file, caller)
        assert (run.state, run.result) == ("succeeded", '"granted"'), said
    with override_settings(DJSCI={"CONNECTIONS": site, "ISOLATION": "landlock"}):
        need("landlock")
        with pytest.raises(IsolationUnavailable, match="need the level 'bwrap'"):
            await runs.start(file.pk, caller=caller, trigger="api", parameters={})


@pytest.mark.parametrize("engine", ["kernel", "thread"])
async def test_an_engine_that_cannot_have_connections_is_refused(
    make_file: MakeFile, caller: Caller, engine: str
) -> None:
    code = "def djsci_handler(request):\n    return 1\n"
    file = await in_database(make_file, code, engine=engine, connections=["warehouse"])
    with (
        override_settings(DJSCI={"CONNECTIONS": {"warehouse": {}}}),
        pytest.raises(IsolationUnavailable, match=f"this file has '{engine}'"),
    ):
        await runs.start(file.pk, caller=caller, trigger="api", parameters={})


def test_a_secret_is_masked_wherever_it_is_cut() -> None:
    secret = "0123456789"
    text = f"a {secret} b {secret}{secret} 0123 end 012"
    for first in range(len(text)):
        for second in range(first, len(text)):
            masker = Masker([secret, "short"])
            pieces = (text[:first], text[first:second], text[second:])
            said = [
                event
                for piece in pieces
                for event in masker.take(events.Stream(name="stdout", text=piece))
            ]
            said += masker.take(events.Display(data={"text/plain": f"short {secret}"}))
            shown = "".join(event.text for event in said if isinstance(event, events.Stream))
            assert shown == "a ••• b •••••• 0123 end 012", pieces
            assert said[-1] == events.Display(data={"text/plain": "short •••"})


def test_of_two_secrets_the_longer_one_is_masked_whole() -> None:
    for cut in range(15):
        masker = Masker(["secret", "secret-long"])
        text = "a secret-long b"
        pieces = (text[:cut], text[cut:])
        said = [
            each
            for piece in pieces
            for each in masker.take(events.Stream(name="stdout", text=piece))
        ]
        said += masker.take(events.Status(state="running"))
        assert "".join(each.text for each in said if isinstance(each, events.Stream)) == "a ••• b"


def test_a_result_with_a_secret_in_it_stays_json() -> None:
    masker = Masker(["123456", '"], "b": ["'])
    text = '{"n": 1234567, "text": "123456", "a": ["x"], "b": ["y"]}'
    [said] = masker.take(events.Result(value=events.Json(text=text)))
    assert isinstance(said, events.Result)
    assert said.value is not None
    assert json.loads(said.value.text) == {"n": 1234567, "text": "•••", "a": ["x"], "b": ["y"]}
