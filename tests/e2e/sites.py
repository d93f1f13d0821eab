"""The servers of the browser's tests, and what is on them."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from tests import live

from .handlers import FILES

USERS = [{"name": "ada", "superuser": True}, {"name": "bob"}, {"name": "cy"}]
INTERVALS = {"socket_bytes": 256 << 10, "head": 2.0, "recheck": 1.0}


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
        run = self.start(name, parameters, user=user)
        assert self.finish(run, user=user)
        return run

    def start(self, name: str, parameters: Mapping[str, Any], *, user: str = "ada") -> str:
        """Start a run; its id."""
        answer = httpx.post(
            f"{self.url}/djsci/api/v1/files/{name}/runs/",
            json={"parameters": parameters},
            headers=self.made.bearer(user),
            timeout=30,
        )
        assert answer.status_code == 202, answer.text
        run: str = answer.json()["id"]
        return run

    def finish(self, run: str, *, user: str = "ada") -> bool:
        """Wait for a run's end; whether it came."""
        end = time.monotonic() + 60
        after = 0
        while time.monotonic() < end:
            answer = httpx.get(
                f"{self.url}/djsci/api/v1/runs/{run}/events/",
                params={"after": after, "wait": 25},
                headers={**self.made.bearer(user), "Accept": "application/json"},
                timeout=40,
            )
            assert answer.status_code == 200, answer.text
            told = answer.json()
            if told["ended"]:
                return True
            after = told["events"][-1]["seq"] if told["events"] else after
        return False

    def cancel(self, run: str, *, user: str = "ada") -> None:
        """Ask a run to end."""
        address = f"{self.url}/djsci/api/v1/runs/{run}/cancel/"
        assert httpx.post(address, headers=self.made.bearer(user), timeout=30).status_code < 300

    def get(self, path: str, *, user: str = "ada", **query: Any) -> Any:
        """What the API says at a path."""
        address = f"{self.url}/djsci/api/v1/{path}"
        answer = httpx.get(address, params=query, headers=self.made.bearer(user), timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def shell(self, code: str) -> None:
        """Run some Python in the server's project."""
        done = subprocess.run(
            [sys.executable, "-c", f"import django; django.setup()\n{code}"],
            cwd=live.ROOT,
            env=self.site.environment,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]

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
def place(
    kind: Literal["daphne", "uvicorn"], *, again: live.Seeded | None = None, **options: Any
) -> Iterator[Place]:
    """A running server on which ada owns the files; `again`: they are on its data already."""
    settings = {"ROOT_URLCONF": "tests.e2e.urls", **options.pop("settings", {})}
    intervals = {**INTERVALS, **options.pop("intervals", {})}
    with live.server(kind, settings=settings, intervals=intervals, **options) as site:
        yield Place(site, again or site.seed({"users": USERS, "files": FILES}))
