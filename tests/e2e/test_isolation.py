"""Hostile outputs in frames: nothing leaves, nothing is reached, scripts only where allowed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from . import attacks
from .listeners import Listeners
from .sites import Place
from .waiting import until

SETTLED = 1500  # ms after which all that the control sends has arrived
EMBED = """
([paths, sandbox]) => {
  window.heard = [];
  addEventListener("message", (event) => heard.push(event.data));
  for (const [name, path] of paths) {
    const frame = document.createElement("iframe");
    if (sandbox) frame.sandbox = "allow-scripts";
    frame.name = name;
    frame.src = path;
    document.body.append(frame);
  }
}
"""


@dataclass
class Attacked:
    """A run that displayed every attack: its id and each output's number."""

    run: str
    seqs: dict[str, int]
    listeners: Listeners

    def paths(self, view: str, query: str = "") -> list[tuple[str, str]]:
        return [(name, self.path(view, name) + query) for name in self.seqs]

    def path(self, view: str, name: str) -> str:
        seq = self.seqs[name]
        if view == "frame":
            return f"/djsci/api/v1/runs/{self.run}/outputs/{seq}/frame/"
        return f"/{view}/{self.run}/{seq}/"


@pytest.fixture(scope="module")
def attacked(daphne: Place) -> Iterator[Attacked]:
    with Listeners() as listeners:
        texts = attacks.outputs(listeners.tcp_port, listeners.udp_port)
        bundles = [{"text/html": text} for text in texts.values()]
        run = daphne.run("show", {"bundles": bundles})
        seqs = daphne.outputs(run)
        assert len(seqs) == len(texts)
        yield Attacked(run, dict(zip(texts, seqs, strict=True)), listeners)


def embed(page: Any, paths: list[tuple[str, str]], *, sandbox: bool = False) -> None:
    page.evaluate(EMBED, [paths, sandbox])
    if sandbox:
        for frame in page.frames[1:]:
            frame.wait_for_load_state("load")
    else:
        page.wait_for_timeout(SETTLED)


def click_all(page: Any) -> None:
    """Click where the thing to click is; by place, as a closed shadow tree can be reached by."""
    for name in (name for name in attacks.CLICKED if page.frame(name=name)):
        page.frame(name=name).wait_for_load_state("load")
        frame = page.frame(name=name).frame_element()
        frame.scroll_into_view_if_needed()
        box = frame.bounding_box()
        page.mouse.click(box["x"] + 18, box["y"] + 18)


def ran(page: Any) -> set[str]:
    return {message["ran"] for message in page.evaluate("heard") if "ran" in message}


def leaked(page: Any) -> set[str]:
    return {message["leaked"] for message in page.evaluate("heard") if "leaked" in message}


def test_o1_the_control_sends_what_the_frames_must_not(
    open_as: Any, daphne: Place, attacked: Attacked
) -> None:
    """Else the tests below could pass because an attack does nothing."""
    asked: list[str] = []
    page = open_as(daphne, "ada", tolerate="request|error|dialog|violation")
    page.context.on("dialog", lambda dialog: asked.append(dialog.message))
    page.goto("/empty/")
    attacked.listeners.hits.clear()
    embed(page, [each for each in attacked.paths("naked") if each[0] not in attacks.ALONE])
    click_all(page)
    reaches = {name for name in attacks.SCRIPTS if name.startswith("reach-")}
    until(page, lambda: leaked(page) == reaches)
    for name in attacks.ALONE:
        alone = page.context.new_page()
        alone.goto(attacked.path("naked", name), wait_until="commit")
        if name in attacks.CLICKED:
            alone.get_by_text("go").click(no_wait_after=True)
    sent = set(attacked.seqs) - reaches - {"alert", *attacks.SILENT}
    wanted = {attacks.UNNAMED.get(name, name) for name in sent}
    until(page, lambda: (attacked.listeners.hits, asked) == (wanted, ["x"]))


@pytest.mark.parametrize(
    ("level", "view"), [("static", "frame"), ("static", "bare"), ("interactive", "frame")]
)
def test_o1_nothing_leaves_a_frame(
    open_as: Any, daphne: Place, attacked: Attacked, level: str, view: str
) -> None:
    page = open_as(daphne, "ada", tolerate="error|violation frame-src")
    page.goto("/djsci/console/")
    title = page.title()
    attacked.listeners.hits.clear()
    embed(page, attacked.paths(view, f"?level={level}"), sandbox=True)
    click_all(page)
    page.wait_for_timeout(SETTLED)
    assert attacked.listeners.hits == set()
    assert ran(page) == (set(attacks.SCRIPTS) if level == "interactive" else set())
    assert leaked(page) == set()
    assert (page.title(), page.context.pages) == (title, [page])
    assert page.url == f"{daphne.url}/djsci/console/"
    if level == "interactive":
        return
    for message in page.evaluate("heard"):
        assert message.keys() == {"height", "blocked"}
        assert all(isinstance(number, int) for number in message.values())


@pytest.mark.parametrize("level", ["static", "interactive"])
def test_nothing_leaves_an_executed_notebook(
    open_as: Any, daphne: Place, attacked: Attacked, level: str
) -> None:
    page = open_as(daphne, "ada", tolerate="error|violation frame-src")
    page.goto("/djsci/console/")
    title = page.title()
    attacked.listeners.hits.clear()
    path = f"/djsci/api/v1/runs/{attacked.run}/notebook/frame/?level={level}"
    embed(page, [("notebook", path)], sandbox=True)
    page.wait_for_timeout(SETTLED)
    assert attacked.listeners.hits == set()
    assert bool(ran(page)) == (level == "interactive")
    assert leaked(page) == set()
    assert (page.title(), page.context.pages) == (title, [page])
    assert page.url == f"{daphne.url}/djsci/console/"


def wait_until_told(page: Any, height: int | None, blocked: int) -> None:
    def is_told() -> bool:
        last = page.evaluate("heard.at(-1) ?? {}")
        return last.get("blocked") == blocked and height in (None, last["height"])

    until(page, is_told)


def test_a_frame_tells_its_height_and_how_many_scripts_were_blocked(
    open_as: Any, daphne: Place
) -> None:
    bundles = [
        {"text/html": "<p style='height: 700px; margin: 0'>tall</p>"},
        {"text/html": "<script>1</script><script>2</script><img src='data:,' onerror='3'>"},
        {"text/markdown": "<script>1</script>"},
        {"application/javascript": "element.style.height = '333px'"},
    ]
    run = daphne.run("show", {"bundles": bundles})
    outputs = daphne.outputs(run)
    for level, told in (
        ("static", [(716, 0), (None, 3), (None, 0), (None, 1)]),
        ("interactive", [(716, 0), (None, 0), (None, 0), (349, 0)]),
    ):
        page = open_as(daphne, "ada")
        page.goto("/djsci/console/")
        for seq, (height, blocked) in zip(outputs, told, strict=True):
            path = f"/djsci/api/v1/runs/{run}/outputs/{seq}/frame/?level={level}"
            embed(page, [(str(seq), path)], sandbox=True)
            wait_until_told(page, height, blocked)


def test_o10_a_frame_opens_in_no_tab_no_foreign_page_and_for_no_stranger(
    open_as: Any, daphne: Place, uvicorn: Place, attacked: Attacked
) -> None:
    path = attacked.path("frame", "image")
    page = open_as(daphne, "ada")
    assert page.goto(path).status == 403
    page.get_by_role("link", name="Open the run").click()
    page.wait_for_url(f"**/runs/{attacked.run}/")
    page.goto(path)
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download").click()
    assert saved.value.suggested_filename.endswith(".html")
    foreign = open_as(daphne, "ada", url=uvicorn.url, tolerate="error|request")
    foreign.context.add_cookies(page.context.cookies())  # a port is no part of a cookie's site
    for base in (uvicorn.url, daphne.url.replace("127.0.0.1", "localhost")):
        foreign.goto(f"{base}/empty/")
        with foreign.expect_response(f"**{path}") as answered:
            foreign.evaluate(EMBED, [[["x", daphne.url + path]], True])
        assert answered.value.status in (401, 403)
    stranger = open_as(daphne, "bob")
    assert stranger.goto(path).status == 404
    stranger.goto("/djsci/console/")
    with stranger.expect_response(f"**{path}") as answered:
        stranger.evaluate(EMBED, [[["x", path]], True])
    assert answered.value.status == 404
