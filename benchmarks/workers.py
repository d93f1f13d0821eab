"""Runs over Celery: what the way to a worker costs one call, and what more workers bring.

The workers share this machine's cores with the server, PostgreSQL, Valkey and this program: more
runs a second than its cores allow cannot be seen here. So there are two works: runs that compute
nothing, which the cores bound, and runs that wait for 0.2 s, as for a database, which slots bound.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx

from tests import live, servers

from . import printing
from .rounds import Found, Reading, Way, aside, left_out
from .sites import CALL, get
from .workloads import PY

COUNTS = (1, 2, 4)
SLOTS = 2  # of each worker
BURST = 24  # runs that are admitted at once
ONE_WORK = f"{PY.name}, one call/ on uvicorn, PostgreSQL"
WORKS = {
    "empty": f"{BURST} trivial runs at once",
    "waits": f"{BURST} runs at once that wait for 0.2 s",
}
LINES_WORK = "print to HTTP client, p95, PostgreSQL and Valkey"
LOCAL, ONE = "djsci local", "djsci celery, 1 worker"
DJSCI: dict[str, Any] = {
    "POOL": {"size": 1, "preload": []},
    "QUEUES": ["default", *(f"of{count}" for count in COUNTS)],
    "RUNNING": 16,
}
WAITS = "import time\n\ndef djsci_handler(request):\n    time.sleep(0.2)\n"


async def ways(stack: AsyncExitStack, found: Found) -> list[Way]:
    """One call by a worker and by the serving process; bursts on 1, 2 and 4 workers."""
    blocking = stack.enter_context(ExitStack())
    made: list[Way] = []
    with left_out(found, "celery"):
        made = await asyncio.to_thread(_ways, blocking)
    return made


def _ways(stack: ExitStack) -> list[Way]:
    stack.callback(servers.stop)
    postgres, valkey = servers.postgres_url(), stack.enter_context(servers.valkey_url())
    local = _client(stack, postgres, valkey, broker="")
    far = _client(stack, postgres, valkey, broker=f"{valkey.rsplit('/', 1)[0]}/1")
    made = [
        Way(name=name, work=work, once=once(client), is_quick=False)
        for name, client in ((LOCAL, local), (ONE, far))
        for work, once in ((ONE_WORK, _call), (LINES_WORK, _lines))
    ]
    for work in WORKS:
        made += [
            Way(
                name=f"djsci celery, {count} worker{'s' * (count > 1)}",
                work=WORKS[work],
                once=_burst(far, f"{work}_{count}"),
                is_quick=False,
            )
            for count in COUNTS
        ]
    return made


def _client(stack: ExitStack, postgres: str, valkey: str, *, broker: str) -> httpx.Client:
    """A site with its files; with a broker, the workers of each count have a queue of their own."""
    site = stack.enter_context(
        live.server(
            "uvicorn",
            database=postgres,
            redis=valkey,
            settings={"DJSCI": DJSCI},
            environment={"DJSCI_BROKER": broker},
        )
    )
    made = site.seed({"users": [{"name": "bench", "superuser": True}], "files": _files()})
    if broker:
        for count in COUNTS:
            for number in range(count):
                name, queues = f"of{count}-{number}", f"djsci.of{count}"
                queues += ",djsci.default" * (count == 1)
                stack.enter_context(live.worker(site, slots=SLOTS, queues=queues, name=name))
    return stack.enter_context(
        httpx.Client(base_url=site.url, headers=made.bearer("bench"), timeout=60)
    )


def _files() -> Sequence[dict[str, Any]]:
    codes = {"empty": PY.content.decode(), "waits": WAITS}
    named = [(work, count) for work in codes for count in COUNTS]
    made = [
        {"name": f"{work}_{count}", "files": {"f.py": codes[work]}, "settings": {"queue": queue}}
        for work, count in named
        for queue in [f"of{count}"]
    ]
    made.append({"name": "one", "files": {"f.py": codes["empty"]}})
    made.append({"name": "lines", "files": {"f.py": printing.DELAYS}})
    return [file | {"owner": "bench"} for file in made]


def _call(client: httpx.Client) -> Any:
    return lambda: aside(lambda: get(client, CALL.format("one")))


def _lines(client: httpx.Client) -> Any:
    """What 19 of 20 lines take at most, from `print` to who follows the call."""

    def run() -> Reading:
        headers = {"Accept": "application/x-ndjson"}
        with client.stream("GET", CALL.format("lines"), headers=headers) as answer:
            answer.raise_for_status()
            found = printing.delays(list(printing.streamed(answer)))
        return Reading(seconds=found[len(found) * 95 // 100 - 1])

    return lambda: aside(run)


def _burst(client: httpx.Client, file: str) -> Any:
    """Seconds from the first admission to the last end."""

    def run() -> Reading:
        begun = time.perf_counter()
        path = f"/djsci/api/v1/files/{file}/runs/"
        started = [client.post(path).raise_for_status().json() for _ in range(BURST)]
        for one in started:
            _follow(client, one["links"]["events"])
        return Reading(seconds=time.perf_counter() - begun)

    return lambda: aside(run)


def _follow(client: httpx.Client, path: str) -> None:
    page: dict[str, Any] = {"after": 0, "ended": False}
    while not page["ended"]:
        asked = client.get(f"{path}?after={page['after']}&wait=25")
        page = asked.raise_for_status().json()
