"""A run from admission to its end, and everybody who follows it."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from djsci import changes, conf, runs, uploads
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import BadParameters, BadRequest, Conflict, LimitReached, NotFound, Pruned
from djsci.core.events import End
from djsci.models import LogRow, PrivateFile, Run
from djsci.runs import admit, doorbell, executor, log, retention
from tests.waiting import until

PRINTS = """
def djsci_handler(request, count: int = 3):
    for number in range(count):
        print("line", number)
    return {"count": count}
"""
COOPERATIVE = """
import time
import djsci

def djsci_handler(request):
    print("started", flush=True)
    while not djsci.cancelled():
        time.sleep(0.01)
    return "never"
"""
MakeFile = Callable[..., PrivateFile]


async def transcript(run_id: str, after: int = 0) -> list[dict[str, Any]]:
    async with asyncio.timeout(30), aclosing(runs.follow(run_id, after=after)) as pages:
        return [json.loads(line) async for page in pages for line in page.lines]


async def run(file: PrivateFile, caller: Caller, **parameters: Any) -> runs.RunView:
    started = await runs.start(file.pk, caller=caller, trigger="api", parameters=parameters)
    view = await runs.finish(started.run_id, wait=30)
    assert view is not None
    return view


async def test_a_run_ends_with_its_result_and_a_gapless_log(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, PRINTS)
    view = await run(file, caller, count=5)
    assert (view.state, view.result) == ("succeeded", '{"count":5}')
    events = await transcript(view.id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[0]["state"]) == ("status", "queued")
    assert set(events[-1]) == {"seq", "t", "type", "state", "elapsed", "reason", "abandoned"}
    text = "".join(event["text"] for event in events if event["type"] == "stream")
    assert text == "".join(f"line {number}\n" for number in range(5))


async def test_live_late_and_resumed_followers_read_the_same(make_file: MakeFile, caller: Caller):
    code = """
import time
def djsci_handler(request):
    for number in range(200):
        print(number)
        time.sleep(0.002)
"""
    file = await in_database(make_file, code)
    started = await runs.start(file.pk, caller=caller, trigger="api")
    live = await asyncio.gather(*(transcript(started.run_id) for _ in range(10)))
    late = await transcript(started.run_id)
    assert all(events == late for events in live)
    for cut in range(len(late) + 1):
        assert await transcript(started.run_id, after=cut) == late[cut:]


async def test_who_waits_for_a_run_asks_once_and_is_told_by_the_bell(
    make_file: MakeFile, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def heads(run_ids: Any, found: Any = log.heads) -> Any:
        asked.append(run_ids)
        return found(run_ids)

    monkeypatch.setattr(log, "heads", heads)
    monkeypatch.setattr(conf.intervals, "poll", 3600)
    monkeypatch.setattr(conf.intervals, "poll_remote", 3600)
    view = await run(await in_database(make_file, PRINTS), caller)
    assert view.state == "succeeded"
    assert asked == [[view.id]]


async def test_who_waits_for_a_run_hears_its_end_without_any_bell(
    make_file: MakeFile, caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doorbell, "ring", lambda *_, **__: None)
    monkeypatch.setattr(conf.intervals, "poll", 0.02)
    view = await run(await in_database(make_file, PRINTS), caller)
    assert (view.state, view.result) == ("succeeded", '{"count":3}')


async def test_a_warm_file_is_loaded_by_its_first_run_and_by_the_first_of_a_new_version(
    make_file: MakeFile, caller: Caller, settings: Any
):
    settings.DJSCI = {"ISOLATION": "process", "POOL": {"size": 0, "preload": []}}
    code = "print('loaded')\ndef djsci_handler(request, count: int = 3):\n    return {result}\n"
    file = await in_database(make_file, code.format(result="count"), engine="fork", instance="warm")

    async def printed() -> str:
        events = await transcript((await run(file, caller, count=5)).id)
        assert events[-1]["state"] == "succeeded"
        return "".join(event["text"] for event in events if event["type"] == "stream")

    assert [await printed() for _ in range(3)] == ["loaded\n", "", ""]
    content = {"handler.py": code.format(result="[count]").encode()}
    await in_database(
        lambda: uploads.replace(file, entry="handler.py", files=content, uploader=caller.user)
    )
    assert [await printed() for _ in range(2)] == ["loaded\n", ""]


async def test_after_the_head_is_refused_and_an_unknown_run_is_not_found(
    make_file: MakeFile, caller: Caller
):
    view = await run(await in_database(make_file, PRINTS), caller)
    with pytest.raises(BadRequest):
        await transcript(view.id, after=10_000)
    with pytest.raises(NotFound):
        await transcript("nothing")
    with pytest.raises(NotFound):
        await runs.finish("nothing", wait=1)


async def test_bad_parameters_make_no_run(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, PRINTS)
    with pytest.raises(BadParameters) as caught:
        await runs.start(
            file.pk, caller=caller, trigger="api", parameters={"count": "x", "other": 1}
        )
    assert {error["field"] for error in caught.value.errors} == {"count", "other"}
    assert await in_database(Run.objects.count) == 0


async def test_a_file_deleted_while_its_call_is_admitted_is_not_found(
    make_file: MakeFile, caller: Caller
):
    file = await in_database(make_file, PRINTS)
    call = admit.Call(
        file=file,
        version=file.version,
        caller=caller,
        trigger="api",
        engine="thread",
        isolation="process",
        parameters={},
        request="{}",
        key=None,
        digest="",
    )
    await in_database(changes.delete, await in_database(PrivateFile.objects.get, pk=file.pk))
    with pytest.raises(NotFound):
        await in_database(admit._admit, call)
    assert await in_database(Run.objects.count) == 0


async def test_q6_one_key_makes_one_run_of_fifty_posts_at_once(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, PRINTS)

    def begin(count: int) -> Any:
        return runs.start(
            file.pk, caller=caller, trigger="api", parameters={"count": count}, key="k"
        )

    started = await asyncio.gather(*(begin(1) for _ in range(50)))
    assert len({one.run_id for one in started}) == 1
    assert sum(one.is_new for one in started) == 1
    with pytest.raises(Conflict):
        await begin(2)
    await runs.finish(started[0].run_id, wait=30)
    assert (await begin(1)).run_id == started[0].run_id


async def test_q2_a_full_queue_is_a_limit_with_retry_after(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, PRINTS)
    with override_settings(DJSCI={"RUNNING": 0, "QUEUE_PER_USER": 2}):
        first = await runs.start(file.pk, caller=caller, trigger="api")
        await runs.start(file.pk, caller=caller, trigger="api")
        with pytest.raises(LimitReached) as caught:
            await runs.start(file.pk, caller=caller, trigger="api")
    assert caught.value.retry_after
    assert await runs.finish(first.run_id, wait=30)
    await _all_ended()


async def _all_ended() -> None:
    for pk in await in_database(lambda: list(Run.objects.values_list("pk", flat=True))):
        executor.start().ring()
        assert await runs.finish(pk, wait=30)


@pytest.mark.parametrize("limited_by", ["the site", "the file"])
async def test_running_per_file_holds_while_all_end(
    make_file: MakeFile, caller: Caller, limited_by: str
):
    code = """
import threading, time
lock = threading.Lock()
def djsci_handler(request):
    import builtins
    with lock:
        builtins.now = getattr(builtins, "now", 0) + 1
        most = builtins.now
    time.sleep(0.05)
    with lock:
        builtins.now -= 1
    return most
"""
    per_file, own = (2, {}) if limited_by == "the site" else (None, {"concurrency": 2})
    file = await in_database(make_file, code, **own)
    with override_settings(DJSCI={"RUNNING": 8, "RUNNING_PER_FILE": per_file}):
        started = [await runs.start(file.pk, caller=caller, trigger="api") for _ in range(12)]
        views = [await runs.finish(one.run_id, wait=30) for one in started]
    assert {view.state for view in views if view} == {"succeeded"}
    assert max(int(view.result or 0) for view in views if view) <= 2


async def test_a_queued_run_that_is_cancelled_never_starts(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, PRINTS)
    with override_settings(DJSCI={"RUNNING": 0}):
        started = await runs.start(file.pk, caller=caller, trigger="api")
        assert await runs.cancel(started.run_id) == "asked"
        assert await runs.cancel(started.run_id) == "ended"
    events = await transcript(started.run_id)
    assert [event["type"] for event in events] == ["status", "end"]
    assert (await runs.get(started.run_id)).starts == 0


async def test_a_running_run_is_cancelled_once(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, COOPERATIVE)
    started = await runs.start(file.pk, caller=caller, trigger="api")
    async with aclosing(runs.follow(started.run_id, after=0)) as pages:
        async for page in pages:
            if any('"stream"' in line for line in page.lines):
                break
    assert await runs.cancel(started.run_id) == "asked"
    assert await runs.cancel(started.run_id) in ("already", "ended")  # it ends in moments
    view = await runs.finish(started.run_id, wait=30)
    assert view is not None
    assert view.state == "cancelled"
    events = await transcript(started.run_id)
    assert [event["type"] for event in events].count("end") == 1
    assert "cancelling" in [event.get("state") for event in events]


async def test_a3_a_right_that_was_withdrawn_while_queued_denies_the_run(
    make_file: MakeFile, user: Any, django_user_model: Any
):
    file = await in_database(make_file, PRINTS, access="authenticated")
    other = await in_database(django_user_model.objects.create_user, "bob")
    guest = Caller(user=other, token=None, via="cookie", scopes=None)
    with override_settings(DJSCI={"RUNNING": 0}):
        started = await runs.start(file.pk, caller=guest, trigger="api")
        await in_database(PrivateFile.objects.filter(pk=file.pk).update, access="private")
    executor.start().ring()
    view = await runs.finish(started.run_id, wait=30)
    assert view is not None
    assert view.state == "denied"


async def test_a3_a_right_that_was_withdrawn_while_admitted_denies_the_run(
    make_file: MakeFile, django_user_model: Any, monkeypatch: pytest.MonkeyPatch
):
    file = await in_database(make_file, PRINTS, access="authenticated")
    other = await in_database(django_user_model.objects.create_user, "bob")
    prepare = admit._prepare

    def withdrawn_meanwhile(*args: Any, **kwargs: Any) -> admit.Call:
        call = prepare(*args, **kwargs)
        PrivateFile.objects.filter(pk=file.pk).update(access="private")
        return call

    monkeypatch.setattr(admit, "_prepare", withdrawn_meanwhile)
    executor.start()
    guest = Caller(user=other, token=None, via="cookie", scopes=None)
    started = await runs.start(file.pk, caller=guest, trigger="api")
    view = await runs.finish(started.run_id, wait=30)
    assert view is not None
    assert view.state == "denied"


class Unreachable:
    """A back-end of permissions that is away."""

    def has_perm(self, user: Any, permission: str, obj: Any = None) -> bool:
        raise ConnectionError


async def test_rights_that_cannot_be_asked_at_the_claim_end_the_run(
    make_file: MakeFile, caller: Caller, django_user_model: Any
):
    file = await in_database(make_file, PRINTS, access="authenticated")
    guest_user = await in_database(django_user_model.objects.create_user, "eve")
    guest = Caller(user=guest_user, token=None, via="cookie", scopes=None)
    with override_settings(DJSCI={"RUNNING": 0}):
        started = await runs.start(file.pk, caller=guest, trigger="api")
        await in_database(PrivateFile.objects.filter(pk=file.pk).update, access="private")
    with override_settings(AUTHENTICATION_BACKENDS=[f"{__name__}.Unreachable"]):
        executor.start().ring()
        view = await runs.finish(started.run_id, wait=30)
    assert view is not None
    assert (view.state, view.reason) == ("crashed", "the engine failed: ConnectionError")


async def test_a_run_is_pinned_to_its_version(make_file: MakeFile, caller: Caller, user: Any):
    file = await in_database(make_file, "def djsci_handler(request): return 1")
    with override_settings(DJSCI={"RUNNING": 0}):
        started = await runs.start(file.pk, caller=caller, trigger="api")
        await in_database(
            uploads.replace,
            file,
            entry="handler.py",
            files={"handler.py": b"def djsci_handler(request): return 2"},
            uploader=user,
            if_match=None,
        )
    executor.start().ring()
    view = await runs.finish(started.run_id, wait=30)
    assert view is not None
    assert view.result == "1"


async def test_a_pruned_log_is_gone_and_the_run_stays(make_file: MakeFile, caller: Caller):
    view = await run(await in_database(make_file, PRINTS), caller)
    with override_settings(DJSCI={"RETENTION": {"logs": 0, "runs": None}}):
        assert (await in_database(retention.purge))[:2] == (1, 0)
    assert await in_database(LogRow.objects.count) == 0
    with pytest.raises(Pruned):
        await transcript(view.id)
    assert (await runs.get(view.id)).result == '{"count":3}'


async def test_who_lost_a_run_writes_no_end(make_file: MakeFile, caller: Caller):
    file = await in_database(make_file, COOPERATIVE)
    started = await runs.start(file.pk, caller=caller, trigger="api")
    async with asyncio.timeout(30), aclosing(runs.follow(started.run_id, after=0)) as pages:
        async for page in pages:
            if any('"started' in line for line in page.lines):
                break
    mine = executor.start()
    [execution] = mine._running.values()
    mine._loop.call_soon_threadsafe(execution.lose)
    assert await asyncio.to_thread(mine._in_hand.wait, 20)
    run = await runs.get(started.run_id)
    assert not run.is_final
    end = End(state="lost")
    assert await in_database(
        log.take_over, run.pk, lease=run.lease, events=[end], columns=log.end_columns(end)
    )


async def test_a_run_that_starts_again_beside_its_lost_execution_is_held_and_heard(
    make_file: MakeFile, caller: Caller
):
    file = await in_database(make_file, COOPERATIVE, retries=1)
    started = await runs.start(file.pk, caller=caller, trigger="api")
    await until_running(started.run_id, lease=1)
    mine = executor.start()
    [lost] = mine._running.values()
    assert await in_database(
        log.take_over, started.run_id, lease=1, events=[], columns=dict(log.QUEUED_AGAIN)
    )
    mine.ring()
    await until_running(started.run_id, lease=3)
    mine._loop.call_soon_threadsafe(lost.lose)
    assert await asyncio.to_thread(until, lambda: lost not in mine._running.values())
    assert [claim.lease for claim in mine._running] == [3]
    await runs.cancel(started.run_id)
    view = await runs.finish(started.run_id, wait=20)
    assert view is not None
    assert view.state == "cancelled"


async def until_running(run_id: str, *, lease: int) -> None:
    row = Run.objects.filter(pk=run_id, state="running", lease=lease)
    assert await in_database(until, row.exists)


async def test_a_crashed_run_with_retries_starts_again_and_ends_once(
    make_file: MakeFile, caller: Caller, tmp_path: Path, settings: Any
):
    settings.DJSCI = {"ISOLATION": "process"}  # it leaves a file where the next start finds it
    code = f"""
import os, pathlib
def djsci_handler(request):
    flag = pathlib.Path({str(tmp_path / "flag")!r})
    if not flag.exists():
        flag.touch()
        print("first", flush=True)
        os._exit(9)
    return "second"
"""
    file = await in_database(make_file, code, engine="auto", retries=1)
    view = await run(file, caller)
    assert (view.state, view.result) == ("succeeded", '"second"')
    events = await transcript(view.id)
    assert [event["type"] for event in events].count("end") == 1
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert "first\n" in [event.get("text") for event in events]
    assert (await runs.get(view.id)).starts == 2
