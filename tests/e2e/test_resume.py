"""A reader who loses the server, or the right to read, and one who comes late."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from . import console
from .proxy import Proxy
from .sites import Place
from .sites import place as new_place
from .waiting import until

LINES = 40
WANTED = [f"line {number:05}" for number in range(LINES)] + ["over"]


@pytest.fixture(params=["daphne", "uvicorn"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    with Proxy(place.url) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file for which a run of `steps` waits."""
    yield tmp_path / "gate"
    (tmp_path / "gate").touch()


class Cutter:
    """Lets through, on connection i, i events and not one more; keeps what passed."""

    def __init__(self) -> None:
        self.connections = 0
        self.seqs: list[int] = []

    def __call__(self, near: Any) -> None:
        self.connections += 1
        left = self.connections
        far = near.connect_to_server()

        def on_message(text: str) -> None:
            nonlocal left
            frame = json.loads(text)
            if frame["type"] != "events" or left <= 0:
                if left > 0:
                    near.send(text)
                return
            kept = frame["events"][:left]
            left -= len(kept)
            self.seqs += [event["seq"] for event in kept]
            near.send(json.dumps({**frame, "events": kept, "last": kept[-1]["seq"]}))
            if left <= 0:
                near.close()
                far.close()

        far.on_message(on_message)


def test_a_socket_cut_at_each_event_loses_and_doubles_nothing(open_as: Any, place: Place) -> None:
    page = open_as(place, "ada")
    cutter = Cutter()
    page.route_web_socket("**/ws/runs/**", cutter)
    run = place.start("steps", {"lines": LINES})
    console.watch(page, run)
    console.wait_for_state(page, "succeeded", seconds=60)
    assert console.printed(page) == WANTED
    assert cutter.connections >= 6
    assert cutter.seqs == list(range(1, len(place.events(run)) + 1))
    assert "40" in console.part(page, "Result").inner_text()


def test_a_reader_outlives_the_network(
    open_as: Any, place: Place, proxy: Proxy, gate: Path
) -> None:
    """Cut again and again, refused for a while, silent for a while, offline: all lines, once."""
    page = open_as(place, "ada", url=proxy.url, tolerate="error")
    run = place.start("steps", {"lines": LINES, "gate": str(gate)})
    console.watch(page, run)
    for number in (2, 8, 14):
        console.wait_for_line(page, f"line {number:05}")
        proxy.cut()
    console.wait_for_line(page, "line 00018")
    proxy.mode = "refuse"
    proxy.cut()
    word = page.locator(".dj-link-state")
    word.filter(has_text="Reconnecting").wait_for()
    assert page.get_by_role("button", name="Retry now").is_visible()
    proxy.mode = "pass"
    # On a slow machine it may have come back by itself before it is clicked.
    page.get_by_role("button", name="Retry now").or_(word.filter(has_text="Live")).first.click()
    word.filter(has_text="Live").wait_for()
    proxy.mode = "silent"
    word.filter(has_text=re.compile("onnecting")).wait_for(timeout=15_000)
    proxy.cut()
    page.context.set_offline(True)
    word.filter(has_text="offline").wait_for(timeout=15_000)
    proxy.mode = "pass"
    attempts = proxy.attempts
    gate.touch()
    page.context.set_offline(False)
    console.wait_for_state(page, "succeeded")
    assert console.printed(page) == WANTED
    assert proxy.attempts - attempts <= 10


def test_without_sockets_the_page_polls(open_as: Any, daphne: Place) -> None:
    page = open_as(daphne, "ada")
    page.route_web_socket("**/*", lambda socket: socket.close(code=1011))
    console.watch(page, daphne.start("steps", {"lines": LINES}))
    page.locator(".dj-link-state").filter(has_text="polling").wait_for()
    console.wait_for_state(page, "succeeded")
    assert console.printed(page) == WANTED


def test_two_viewers_and_a_late_one_see_the_same(open_as: Any, daphne: Place, gate: Path) -> None:
    run = daphne.start("steps", {"lines": LINES, "gate": str(gate)})
    first, second = open_as(daphne, "ada"), open_as(daphne, "ada")
    for page in (first, second):
        console.watch(page, run)
    for page in (first, second):
        console.wait_for_line(page, "line 00010")
    first.get_by_role("button", name="Cancel", exact=True).wait_for()
    late = open_as(daphne, "ada")
    console.watch(late, run, "#L3-L4")
    console.wait_for_line(late, "line 00010")
    gate.touch()
    for page in (first, second, late):
        console.wait_for_state(page, "succeeded")
        assert console.printed(page) == WANTED
    after = open_as(daphne, "ada")
    console.watch(after, run)
    console.wait_for_line(after, "over")
    assert console.printed(after) == WANTED
    results = {console.part(page, "Result").inner_text() for page in (first, second, late, after)}
    assert len(results) == 1


def test_a_server_that_comes_again_goes_on(
    open_as: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The run is lost with its server; the reader is told so, and keeps what came."""
    data = tmp_path_factory.mktemp("kept") / "data"
    scratch = {"TMPDIR": str(data.parent)}  # what a killed server leaves
    with new_place("daphne", data=data, environment=scratch) as first, Proxy(first.url) as proxy:
        page = open_as(first, "ada", url=proxy.url, tolerate="error")
        run = first.start("steps", {"lines": 3, "gate": str(data / "never")})
        done = first.run("steps", {"lines": 3})
        console.watch(page, run)
        console.wait_for_line(page, "line 00002")
        other = page.context.new_page()
        console.watch(other, done)
        console.wait_for_line(other, "over")
        first.site.process.kill()
        first.site.process.wait(10)
        page.locator(".dj-link-state").filter(has_text="Reconnecting").wait_for()
        with new_place("daphne", data=data, again=first.made) as second:
            proxy.target = second.url
            console.wait_for_state(page, "lost", seconds=60)
            assert console.printed(page)[:3] == WANTED[:3]
            other.reload()
            console.wait_for_line(other, "over")


def test_a_run_that_is_pruned_while_open_says_so(open_as: Any, daphne: Place, gate: Path) -> None:
    with Proxy(daphne.url) as proxy:
        page = open_as(daphne, "ada", url=proxy.url, tolerate="error")
        run = daphne.start("steps", {"lines": 2, "gate": str(gate)})
        console.watch(page, run)
        console.wait_for_line(page, "line 00001")
        proxy.mode = "refuse"
        proxy.cut()
        gate.touch()
        daphne.finish(run)
        daphne.shell(
            "from djsci.models import Run, LogRow\n"
            f"LogRow.objects.filter(run={run!r}).delete()\n"
            f"Run.objects.filter(pk={run!r}).update(pruned=True)"
        )
        proxy.mode = "pass"
        page.get_by_text("past its retention").wait_for()
        assert console.printed(page) == WANTED[:2]
        page.reload()
        console.wait_for_state(page, "succeeded")
        page.get_by_text("past its retention and was removed").wait_for()
        assert "2" in console.part(page, "Result").inner_text()


def test_who_may_no_longer_watch_is_told_and_keeps_what_came(
    open_as: Any, daphne: Place, gate: Path
) -> None:
    granted = {"lines": 5, "gate": str(gate)}
    watched = {user: daphne.start("shared", granted, user=user) for user in ("bob", "cy")}
    pages = {user: open_as(daphne, user, tolerate="error") for user in watched}
    for user, page in pages.items():
        console.watch(page, watched[user])
        console.wait_for_line(page, "line 00004")
    answer = httpx.patch(
        f"{daphne.url}/djsci/api/v1/files/shared/",
        json={"access": "private"},
        headers=daphne.made.bearer("ada"),
    )
    assert answer.status_code in (200, 403), answer.text
    daphne.shell(
        "from djsci.models import PrivateFile\n"
        "PrivateFile.objects.filter(name='shared').update(access='private')\n"
        "from django.contrib.sessions.models import Session\n"
        f"Session.objects.filter(pk={daphne.made.sessions['cy']!r}).delete()"
    )
    pages["bob"].get_by_text("You may no longer watch this run").wait_for()
    assert pages["bob"].get_by_role("link", name="All files").is_visible()
    pages["cy"].get_by_text("You are signed out").wait_for()
    sign_in = pages["cy"].get_by_role("link", name="Sign in").get_attribute("href")
    assert sign_in.endswith(f"next=%2Fdjsci%2Fconsole%2Fruns%2F{watched['cy']}%2F")
    for page in pages.values():
        assert console.printed(page) == WANTED[:5]
        assert not page.get_by_role("button", name="Cancel", exact=True).is_visible()
    gate.touch()


def test_a_wrong_clock_changes_no_duration(open_as: Any, daphne: Place, gate: Path) -> None:
    run = daphne.start("steps", {"lines": 2, "gate": str(gate)})
    for shift in (-7, 7):
        page = open_as(daphne, "ada")
        page.add_init_script(
            f"{{ const real = Date.now; Date.now = () => real() + {shift} * 3600e3; }}"
        )
        console.watch(page, run)
        console.wait_for_line(page, "line 00001")
        sentence = page.locator(".dj-sentence")
        sentence.filter(has_text="Running").wait_for()
        assert sentence.inner_text().split()[2] == "s"
        assert 0 <= int(sentence.inner_text().split()[1]) < 60
    gate.touch()
    until(page, lambda: daphne.finish(run))
