"""The servers of the browser's tests, and what is on them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from tests import live
from tests.conftest import notebook

SHOW = """
from IPython.display import display

def djsci_handler(request, bundles: list):
    for bundle in bundles:
        display(bundle, raw=True)
"""
THREAD = {"owner": "ada", "trusted": True, "settings": {"engine": "thread"}}
FILES: list[dict[str, Any]] = [
    {
        "name": "show",
        "owner": "ada",
        "access": "authenticated",
        "files": {"show.ipynb": notebook(SHOW).decode()},
    },
    {
        "name": "show_interactive",
        "owner": "ada",
        "access": "authenticated",
        "settings": {"output": "interactive"},
        "files": {"show.ipynb": notebook(SHOW).decode()},
    },
]
USERS = [{"name": "ada", "superuser": True}, {"name": "bob"}, {"name": "cy"}]
INTERVALS = {"socket_bytes": 8192, "head": 2.0}


@dataclass
class Place:
    """A server with its users and files."""

    site: live.Site
    made: live.Seeded

    @property
    def url(self) -> str:
        return self.site.url

    def run(self, name: str, parameters: Mapping[str, Any], *, user: str = "ada") -> str:
        """Run a file to its end; the run's id."""
        answer = httpx.post(
            f"{self.url}/djsci/api/v1/files/{name}/runs/",
            json={"parameters": parameters},
            headers={**self.made.bearer(user), "Prefer": "wait=60"},
            timeout=70,
        )
        assert answer.status_code == 200, answer.text
        run: str = answer.json()["id"]
        return run

    def events(self, run: str, *, user: str = "ada") -> list[dict[str, Any]]:
        """The run's whole log."""
        found: list[dict[str, Any]] = []
        while True:
            answer = httpx.get(
                f"{self.url}/djsci/api/v1/runs/{run}/events/",
                params={"after": len(found)},
                headers={**self.made.bearer(user), "Accept": "application/json"},
                timeout=30,
            )
            assert answer.status_code == 200, answer.text
            new = answer.json()["events"]
            if not new:
                return found
            found += new

    def outputs(self, run: str, *, user: str = "ada") -> list[int]:
        """The numbers of the run's displays."""
        kinds = ("display_data", "execute_result", "update_display_data")
        return [event["seq"] for event in self.events(run, user=user) if event["type"] in kinds]


@contextmanager
def place(kind: Literal["daphne", "uvicorn"], **options: Any) -> Iterator[Place]:
    """A running server on which ada owns the files."""
    settings = {"ROOT_URLCONF": "tests.e2e.urls", **options.pop("settings", {})}
    intervals = {**INTERVALS, **options.pop("intervals", {})}
    with live.server(kind, settings=settings, intervals=intervals, **options) as site:
        yield Place(site, site.seed({"users": USERS, "files": FILES}))
