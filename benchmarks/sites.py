"""djsci over HTTP: a real server, a token, one kept-alive connection, the whole `call/`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal

import httpx

from tests import live

from .engines import PRELOAD
from .rounds import Found, Reading, Way, aside, say
from .workloads import NOTEBOOK, PANDAS, PY, Work

Server = Literal["uvicorn", "daphne"]
SETTINGS: dict[str, Any] = {
    "ENGINES": {"py": "fork", "ipynb": "fork"},
    "POOL": {"size": 1, "preload": list(PRELOAD)},
}
CALL, CLASSIC = "/djsci/call/{}/", "/djsci/sync_py/{}/"
WAIT = 60.0


class Site:
    """A server with one file for each work and engine."""

    def __init__(self, server: Server, files: list[dict[str, Any]], stack: ExitStack) -> None:
        self.server = server
        self.ways: list[Way] = []
        site = stack.enter_context(live.server(server, settings={"DJSCI": SETTINGS}))
        made = site.seed({"users": [{"name": "bench", "superuser": True}], "files": files})
        self.client = stack.enter_context(
            httpx.Client(base_url=site.url, headers=made.bearer("bench"), timeout=WAIT)
        )

    def way(self, file: str, work: str, *, name: str, path: str = CALL) -> Way:
        """A way that asks for a file's answer and reads it."""
        return Way(
            name=f"djsci {path.split('/')[2]}/ on {self.server}, {name}",
            work=work,
            once=lambda: aside(lambda: get(self.client, path.format(file))),
        )

    def make_warm(self, files: Sequence[str]) -> str:
        """Let these files' calls fork from a template; why that cannot be, or nothing."""
        for file in files:
            settings = {"settings": {"instance": "warm"}}
            answer = self.client.patch(f"/djsci/api/v1/files/{file}/", json=settings)
            if answer.is_error:
                return f"not in this build: {answer.json().get('detail', answer.status_code)}"
        return ""


def get(client: httpx.Client, path: str) -> Reading:
    """One request and its whole answer."""
    begun = time.perf_counter()
    answer = client.get(path)
    seconds = time.perf_counter() - begun
    answer.raise_for_status()
    return Reading(seconds=seconds)


def file_of(work: Work, engine: str) -> dict[str, Any]:
    """A file to seed; `thread` needs a trusted version."""
    return {
        "name": f"{work.entry.replace('.', '_')}_{engine}",
        "owner": "bench",
        "files": {work.entry: work.content.decode()},
        "trusted": engine == "thread",
        "settings": {"engine": engine},
    }


def ways(
    stack: ExitStack,
    found: Found,
    server: Server,
    *,
    is_quick: bool,
    more: Sequence[dict[str, Any]] = (),
) -> Site:
    """A site with its ways. Quick: on Daphne the trivial file alone. `more`: files to seed."""
    wanted = [(PY, "fork"), (PANDAS, "fork"), (PY, "thread"), (PANDAS, "thread")]
    wanted += [] if is_quick else [(NOTEBOOK, "kernel"), (NOTEBOOK, "fork")]
    if is_quick and server == "daphne":
        wanted = [(PY, "fork")]
    files = {(work, engine): file_of(work, engine) for work, engine in wanted}
    warm = [file_of(work, "fork") | {"name": f"{work.entry[:-3]}_warm"} for work in (PY, PANDAS)]
    site = Site(server, [*files.values(), *warm, *more], stack)
    site.ways = [
        site.way(file["name"], work.name, name="pooled worker" if engine == "fork" else engine)
        for (work, engine), file in files.items()
    ]
    refusal = site.make_warm([file["name"] for file in warm])
    if refusal:
        found.left_out[f"djsci call/ on {server}, warm"] = refusal
        say(f"djsci call/ on {server}, warm: left out: {refusal}")
    else:
        for work, file in zip((PY, PANDAS), warm, strict=True):
            site.ways.append(site.way(file["name"], work.name, name="warm"))
    classic = files[PY, "fork"]["name"]
    site.ways.append(site.way(classic, PY.name, name="pooled worker", path=CLASSIC))
    return site
