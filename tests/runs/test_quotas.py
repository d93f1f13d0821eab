"""Limits of how much runs at once: never over them, and everybody's turn comes."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model

from djsci import runs
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.models import PrivateFile, Run
from djsci.runs import executor

MakeFile = Callable[..., PrivateFile]

COUNTS = """
import collections, threading, time

now = vars(threading).setdefault("djsci_now", collections.Counter())
lock = vars(threading).setdefault("djsci_lock", threading.Lock())


def djsci_handler(request, file: str):
    who = (request.user.username, file)
    with lock:
        now.update(who)
        most = [now[name] for name in who]
    time.sleep(0.03)
    with lock:
        now.subtract(who)
    return most
"""
WAITS = """
import threading

go = vars(threading).setdefault("djsci_go", threading.Event())


def djsci_handler(request):
    go.wait(30)
"""


def people(*names: str) -> list[Caller]:
    return [Caller.of_user(get_user_model().objects.create_user(name)) for name in names]


async def ended(run_ids: list[str]) -> list[Any]:
    found = []
    for run_id in run_ids:
        found.append(await runs.finish(run_id, wait=60))
    assert {view and view.state for view in found} == {"succeeded"}
    return found


async def test_q1_a_hundred_runs_stay_within_the_caps_and_all_end(
    make_file: MakeFile, settings: Any
) -> None:
    caps = {"RUNNING_PER_USER": 2, "RUNNING_PER_FILE": 4, "QUEUE_PER_USER": 100}
    settings.DJSCI = {"RUNNING": 0, **caps}
    files = [await in_database(make_file, COUNTS, access="authenticated") for _ in range(2)]
    callers = await in_database(people, *(f"user {number}" for number in range(5)))

    async def start(number: int) -> str:
        file = files[number % 4 == 0]  # three in four are of one file, half are one user's
        caller = callers[0 if number % 2 else 1 + number // 2 % 4]
        given = {"file": str(file.name)}
        return (await runs.start(file.pk, caller=caller, trigger="api", parameters=given)).run_id

    started = [await start(number) for number in range(100)]
    settings.DJSCI = {"RUNNING": 16, **caps}
    executor.start().ring()
    most = [view.result for view in await ended(started)]
    of_user, of_file = zip(*(map(int, text.strip("[]").split(",")) for text in most), strict=True)
    assert 1 < max(of_user) <= 2
    assert 1 < max(of_file) <= 4


async def test_q2_one_run_waits_for_few_of_anothers_fifty(
    make_file: MakeFile, settings: Any
) -> None:
    """The next slot that is free is of who has the fewest running."""
    settings.DJSCI = {"RUNNING": 2}
    file = await in_database(make_file, WAITS, access="authenticated")
    many, one = await in_database(people, "many", "one")

    async def start(caller: Caller, **given: Any) -> str:
        made = await runs.start(file.pk, caller=caller, trigger="api", parameters=given)
        return made.run_id

    go = vars(threading).setdefault("djsci_go", threading.Event())
    go.clear()
    his = [await start(many) for _ in range(50)]
    async with asyncio.timeout(30):
        while await Run.objects.filter(state="running").acount() < 2:
            executor.start().ring()
            await asyncio.sleep(0.01)
    hers = await start(one)
    go.set()
    await ended([*his, hers])
    run = await Run.objects.aget(pk=hers)
    between = Run.objects.filter(user=many.user, started__gt=run.created, started__lt=run.started)
    assert await between.acount() <= 2
