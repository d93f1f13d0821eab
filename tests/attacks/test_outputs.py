"""Outputs that mean harm: O3 to O9. What needs a browser is in `tests/e2e`."""

import contextlib
import csv
import io
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from djsci import cli
from djsci.core import events
from djsci.core.terminal import LONGEST, Filter, plain
from djsci.local.printer import Printer
from tests import live
from tests.client import Follower
from tests.conftest import notebook

# Of each: what a terminal would obey, and what is left of it.
OBEYED = {
    "clipboard": ("a\x1b]52;c;ZXZpbA==\x07b", "ab"),
    "clipboard-c1": ("a\x9d52;c;ZXZpbA==\x9cb", "ab"),
    "title": ("a\x1b]0;owned\x1b\\b", "ab"),
    "title-open": ("a\x1b]0;owned\nb", "a\nb"),
    "link": ("a\x1b]8;;file:///etc/passwd\x1b\\b\x1b]8;;\x1b\\", "ab"),
    "clear": ("a\x1b[2J\x1b[H\x1b[3Jb", "ab"),
    "clear-c1": ("a\x9b2Jb", "ab"),
    "reset": ("a\x1bcb\x1b[!p", "ab"),
    "report": ("a\x1b[6n\x1b[c\x1b[>c\x05b", "ab"),
    "screen": ("a\x1b[?1049h\x1b[?25l\x1b[10;10Hb", "ab"),
    "device": ('a\x1bP$q"p\x1b\\b\x90+q\x9c', "ab"),
    "private": ("a\x1b_G;x\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\b", "ab"),
    "keys": ("a\x1b[>4;1m\x1b[?2004hb", "ab"),
    "charset": ("a\x1b(0\x0e\x0fb", "ab"),
    "bell": ("a\x07\x07b", "ab"),
    "bidi": ("a\u202e\u2066b\u2069\u202c", "ab"),
    "c1": ("a\x84\x85\x8db", "ab"),
    "up-far": ("a\x1b[999999A\x1b[2Kb", None),
}
COLOURS = "\x1b[1;31mred\x1b[0m \x1b[38;5;9mx\x1b[m 50%\r100%\n\tb\x08"


@pytest.mark.parametrize("case", OBEYED)
def test_o3_what_a_terminal_obeys_is_inert_however_it_is_cut(case: str) -> None:
    text, left = OBEYED[case]
    if left is not None:
        assert plain(text) == left
    for has_colours in (True, False):
        whole = Filter(has_colours=has_colours).take(text)
        for cut in range(len(text)):
            each = Filter(has_colours=has_colours)
            assert each.take(text[:cut]) + each.take(text[cut:]) == whole
        assert re.sub(r"\x1b\[[0-9;:]*[mKACDG]", "", whole).isprintable() or "\n" in whole


def test_o3_colours_stay_and_an_endless_sequence_ends() -> None:
    assert Filter(has_colours=True).take(COLOURS) == COLOURS
    assert plain(COLOURS) == "red x 50%\r100%\n\tb\x08"
    each = Filter()
    assert each.take("\x1b]0;" + "x" * LONGEST) + each.take("shown\n") == "shown\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("has_colours", [True, False])
def test_o3_the_command_shows_nothing_that_its_terminal_obeys(has_colours: bool) -> None:
    out, err = Terminal(), Terminal()
    evil = "".join(text for text, left in OBEYED.values() if left is not None)
    printer = Printer(out, err, is_pretty=True, has_colours=has_colours)
    value = json.dumps({evil: evil}, ensure_ascii=False)
    for event in (
        events.Stream(name="stdout", text=evil),
        events.Stream(name="stderr", text=evil),
        events.Display(data={"text/plain": evil}),
        events.Progress(value=0.5, label=evil),
        events.Log(level="info", message=evil, fields={evil: evil}),
        events.Error(ename=evil, evalue=evil, traceback=[evil], cell=1, line=1),
        events.Result(value=events.Json(text=value)),
        events.End(state="failed", reason=evil),
    ):
        printer.show(event)
    printer.say(f"left {evil}")
    printer.finish(None)
    ours = {"\r", "\x1b[K", "\n"}
    for shown in (out.getvalue(), err.getvalue()):
        odd = re.findall(r"\x1b(?:\[[0-?]*[ -/]*[@-~])?|[^\x20-\x7e\n]", shown)
        assert set(odd) <= ours, odd
    assert json.loads(out.getvalue()) == {evil: evil}


SECRET = "canary7hV2"
FAILS = f"""
import helper

class Odd(Exception):
    pass

def djsci_handler(request, how: str = "plain"):
    hidden = "{SECRET}-local"
    if how == "chained":
        try:
            helper.fail(hidden)
        except KeyError as error:
            raise Odd("told") from error
    if how == "syntax":
        compile("x = ( # {SECRET}-text", "/srv/{SECRET}/handler.py", "exec")
    if how == "group":
        raise ExceptionGroup("told", [Odd("one"), ValueError("two")])
    raise Odd("told")  # {SECRET}-source
"""
HELPER = f"def fail(value):\n    raise KeyError('inner')  # {SECRET}-companion\n"
SPEAKS = """
import os, sys
from IPython.display import display

def djsci_handler(request, text: str):
    print(text)
    print(text, file=sys.stderr)
    sys.stdout.flush(); sys.stderr.flush()
    display({"application/vnd.djsci.frame+json": '{"type": "result", "nonce": "", "value": 1}',
             "text/plain": "shown"}, raw=True)
    return "true"
"""
RAW = """
import faulthandler, logging, os, subprocess, sys, warnings

def djsci_handler(request, text: str):
    for number in (1, 2):
        os.write(number, text.encode())
        subprocess.run(["/bin/sh", "-c", f'printf %s "$0" >&{number}', text], check=True)
    sys.__stderr__.write(text)
    logging.getLogger("djsci").critical(text)
    warnings.warn(text)
    faulthandler.dump_traceback()
    return "true"
"""
ANSWERS = """
import djsci

def djsci_handler(request, headers: dict, status: int = 200, body: str = "<script>1</script>"):
    answer = djsci.Response(body, status)
    answer.headers |= headers  # past the check of what is given
    return answer
"""
LEAVES = """
import djsci

def djsci_handler(request, names: list[str]):
    taken = []
    for name in names:
        try:
            djsci.artifact(b"<script>1</script>", name)
            taken.append(name)
        except ValueError:
            pass
    return taken
"""
TABLE = """
def djsci_handler(request, rows: list[dict]):
    return rows
"""


@dataclass
class Place:
    """A server with ada, who owns the files, and bob, who may run them and not read."""

    site: live.Site
    made: live.Seeded

    def http(self, user: str = "ada") -> httpx.Client:
        base = f"{self.site.url}/djsci/"
        return httpx.Client(base_url=base, headers=self.made.bearer(user), timeout=60)

    def browser(self, user: str) -> httpx.Client:
        base, cookies = f"{self.site.url}/djsci/", self.made.cookies(user)
        return httpx.Client(base_url=base, cookies=cookies, timeout=60)

    async def called(self, name: str, user: str = "ada", **parameters: Any) -> Follower:
        client = Follower(url=self.site.url, headers=self.made.bearer(user))
        return await client.call(name, parameters)

    async def followed(self, run: str, user: str) -> Follower:
        client = Follower(url=self.site.url, headers=self.made.bearer(user))
        return await client.follow(run)


def file(name: str, entry: str, text: str | bytes, **more: Any) -> dict[str, Any]:
    text = text.decode() if isinstance(text, bytes) else text
    made = {"name": name, "owner": "ada", "access": "authenticated", "files": {entry: text}}
    return {**made, **more}


FILES = [
    file("fails", "fails.py", FAILS, files={"fails.py": FAILS, "helper.py": HELPER}),
    file(
        "fails_book",
        "fails.ipynb",
        "",
        files={"fails.ipynb": notebook("1", FAILS).decode(), "helper.py": HELPER},
    ),
    file("speaks", "speaks.py", SPEAKS),
    file("speaks_book", "speaks.ipynb", notebook(SPEAKS)),
    file("speaks_kernel", "speaks.ipynb", notebook(SPEAKS), settings={"engine": "kernel"}),
    file("raw", "raw.py", RAW),
    file("raw_kernel", "raw.ipynb", notebook(RAW), settings={"engine": "kernel"}),
    file("answers", "answers.py", ANSWERS),
    file("leaves", "leaves.py", LEAVES),
    file("table", "table.py", TABLE),
]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    users = [{"name": "ada", "superuser": True}, {"name": "bob"}]
    with live.server("uvicorn", environment={"DJSCI_LOG": "text"}) as site:
        yield Place(site, site.seed({"users": users, "files": FILES}))


RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: [^\x00-\x1f\x7f-\x9f]*")
FORGED = "2026-01-01 00:00:00,000 CRITICAL djsci: forged"
LINE = f"\n{FORGED}\r\x1b]0;owned\x07\x1b[2J\x9b31m\u2028\u202e"


def test_o4_nothing_adds_a_line_to_the_servers_log(place: Place) -> None:
    """Each 404 is one record of Django's; paths, names, headers, prints add none and bend none."""
    encoded = "".join(f"%{byte:02x}" for byte in LINE.encode())
    asked = [f"nothing{encoded}", f"call/x{encoded}/", f"api/v1/files/{encoded}/", f"x{encoded}"]
    asked += [f"api/v1/runs/{encoded}/", f"console/files/{encoded}/", f"private_files/{encoded}"]
    before = place.site.log.read_bytes()
    with place.http() as http:
        statuses = [http.get(path).status_code for path in asked]
        called = ("speaks", "speaks_kernel", "raw", "raw_kernel")
        for name in called:
            assert http.post(f"call/{name}/", json={"text": LINE}).json() == "true"
        bytes_of = {"X-Odd": LINE.replace("\n", "").replace("\r", "").replace("\x07", "").encode()}
        for headers in (bytes_of, {"Authorization": f"Bearer djsci_{FORGED}"}):
            with contextlib.suppress(httpx.LocalProtocolError):
                http.get("api/v1/files/", headers=headers)
        named = {"name": f"x{LINE}"}
        assert http.patch("api/v1/files/speaks/", json=named).status_code == 400
        assert http.post("api/v1/files/fails/runs/", json={"parameters": {LINE: 1}}).is_error
        files = {"file": (f"a{LINE}.py", b"def (")}
        assert http.post("api/v1/files/", files=files, data=named).is_client_error
    head = f"GET /djsci/x HTTP/1.1\r\nHost: {FORGED}\x1b\r\nX{LINE.strip()}: 1\r\n\r\n"
    parts = urlsplit(place.site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as wire:
        wire.sendall(head.encode())
        assert b" 400 " in wire.recv(1000)
    place.site.execute("answer = 1")
    said = place.site.log.read_bytes().removeprefix(before).decode()
    lines = said.split("\n")
    assert lines.pop() == ""
    assert statuses == [404] * len(asked)
    # and one for each of the other refusals, and for the end of each run
    assert len(lines) == len(asked) + 5 + len(called), lines
    assert [line for line in lines if not RECORD.fullmatch(line)] == []
    assert "\n" + FORGED not in said


NAMES = [
    'a"b.csv', "a';b.csv", "a\r\nSet-Cookie: x=1.csv", "n" * 5000 + ".csv", "a\u202evsc.exe",
    "../../up.csv", "a%0d%0ab.csv", "é日📈.csv", "a\x00b", ".hidden", "-rf", "a\x1b]0;x\x07.csv",
    "a\\..\\b.csv", "a;filename=b.exe", "=?utf-8?q?b?=",
]  # fmt: skip


def test_o5_a_downloads_name_stays_in_its_header(place: Place) -> None:
    with place.http() as http:
        run = http.post(
            "api/v1/files/leaves/runs/",
            json={"parameters": {"names": [name for name in NAMES if "\x00" not in name]}},
            headers={"Prefer": "wait=40"},
        ).json()
        assert run["state"] == "succeeded", run
        listed = http.get(f"api/v1/runs/{run['id']}/artifacts/").json()["items"]
        answers = [(item["name"], http.get(item["ref"].removeprefix("/djsci/"))) for item in listed]
        assert {name for name, _ in answers} == set(run["result"])
        for number, name in enumerate(NAMES):
            content = b"def djsci_handler(request): return 1\n"
            files = [("file", ("a.py", content)), ("files", (name, b"1"))]
            made = http.post("api/v1/files/", files=files, data={"name": f"o5 {number}"})
            parts = made.json().get("files", ())
            for part in parts:
                path = f"api/v1/files/o5 {number}/source/{quote(part, safe='')}"
                answers.append((part, http.get(path)))
    assert len(answers) > len(NAMES)
    for name, answer in answers:
        assert answer.status_code == 200, name
        shown = answer.headers.get_list("Content-Disposition")
        assert len(shown) == 1
        assert shown[0].startswith("attachment"), shown
        assert shown[0].isprintable()
        assert len(shown[0]) < 1000
        assert "set-cookie" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")


FAKES = "\n".join(
    [
        '{"seq": 1, "type": "result", "value": "forged"}',
        '{"type": "end", "state": "failed", "elapsed": 0, "reason": "", "abandoned": false}',
        '\n\nid: 999\ndata: {"type": "end"}\n\nevent: end',
        "result",
        "::set-output name=x::y",
        '{"type":"next","after":9999}',
        '<script type="application/json">{"head": 0}</script>',
        '{"of": "result", "last": true}',
    ]
)


@pytest.mark.parametrize("name", ["speaks", "speaks_book", "speaks_kernel"])
async def test_o6_what_looks_like_our_own_is_text(place: Place, name: str) -> None:
    called = await place.called(name, text=FAKES)
    base = f"{place.site.url}/djsci/"
    async with httpx.AsyncClient(
        base_url=base, headers=place.made.bearer("ada"), timeout=60
    ) as http:
        path = f"api/v1/runs/{called.run_id}/events/"
        page = (await http.get(path)).json()["events"]
        sse = await http.get(path, headers={"Accept": "text/event-stream"})
        lines = await http.get(path, headers={"Accept": "application/x-ndjson"})
        assert (await http.get(f"api/v1/runs/{called.run_id}/result/")).json() == "true"
    blocks = [block for block in sse.text.split("\n\n") if block.startswith("id: ")]
    for events_of in (
        called.events,
        page,
        [json.loads(block.split("\ndata: ", 1)[1]) for block in blocks],
        [json.loads(line) for line in lines.text.splitlines()],
    ):
        assert [event["seq"] for event in events_of] == list(range(1, len(events_of) + 1))
        assert [event["value"] for event in events_of if event["type"] == "result"] == ["true"]
        assert [event["state"] for event in events_of if event["type"] == "end"] == ["succeeded"]
        for stream in ("stdout", "stderr"):
            texts = [e["text"] for e in events_of if e["type"] == "stream" and e["name"] == stream]
            assert "".join(texts) == FAKES + "\n"


@pytest.mark.parametrize("name", ["fails", "fails_book"])
@pytest.mark.parametrize("how", ["plain", "chained", "group", "syntax"])
async def test_o7_who_may_not_read_the_source_sees_type_and_message_only(
    place: Place, name: str, how: str
) -> None:
    told = {"syntax": ("SyntaxError", "'(' was never closed")}.get(how, ("Odd", "told"))
    told = ("ExceptionGroup", "told") if how == "group" else told
    called = await place.called(name, "bob", how=how)
    said = {"socket": json.dumps(called.events)}
    run = called.run_id
    said["watched"] = json.dumps((await place.followed(run, "bob")).events)
    query = {"how": how}
    with place.http("bob") as http:
        for path in ("call", "sync_py", "sync_ipynb"):
            said[path] = http.get(f"{path}/{name}/", params=query).text
        asked = {"json": {"parameters": query}, "headers": {"Prefer": "wait=40"}}
        said["waited"] = http.post(f"api/v1/files/{name}/runs/", **asked).text
        for path in ("", "result/", "events/"):
            said[path] = http.get(f"api/v1/runs/{run}/{path}").text
        for accept in ("text/event-stream", "application/x-ndjson"):
            for path in (f"api/v1/runs/{run}/events/", f"call/{name}/?how={how}"):
                said[path[:4] + accept] = http.get(path, headers={"Accept": accept}).text
        assert http.get(f"api/v1/runs/{run}/notebook/").status_code == 403
    with place.browser("bob") as browser:
        said["page"] = browser.get(f"console/runs/{run}/").text
        said["log"] = browser.get(f"console/runs/{run}/log.txt").text
        said["list"] = browser.get("console/runs/").text
    for where, text in said.items():
        assert told[0] in text or where == "list", where
        for secret in (SECRET, "Traceback", "/workdir", "helper.py", ", in ", "------", "/srv"):
            assert secret not in text, (where, secret, text)
    with place.http() as http:
        mine = http.post(f"api/v1/files/{name}/runs/", **asked).json()
        assert f"{SECRET}-source" in json.dumps(mine["error"]["traceback"]) or how != "plain"


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|" /C calc"!A0', "-2+3"]


def test_o8_a_cell_that_a_spreadsheet_would_calculate_is_text(place: Place) -> None:
    rows = [{"=HYPERLINK(1)": text, "n": -1.5, "e": -1} for text in FORMULAS]
    rows.append({"=HYPERLINK(1)": "plain - 1", "n": None, "e": True})
    with place.http() as http:
        asked = {"json": {"rows": rows}, "headers": {"Accept": "text/csv"}}
        answer = http.post("call/table/", **asked)
    assert answer.headers["Content-Type"].startswith("text/csv")
    head, *cells = csv.reader(io.StringIO(answer.text, newline=""))
    assert head == ["'=HYPERLINK(1)", "n", "e"]
    assert cells == [
        *[[f"'{text}", "-1.5", "-1"] for text in FORMULAS],
        ["plain - 1", "", "true"],
    ]


def test_o9_headers_of_a_handler_order_nothing(place: Place) -> None:
    """What is sent is read from the socket: a client may hide a split header."""
    evil = {
        "Content-Type": "text/html",
        "Set-Cookie": "sessionid=x",
        "set-cookie ": "a=b",
        "Location": "//evil.test/",
        "X-A": "1\r\nSet-Cookie: c=d",
        "X-B\r\nSet-Cookie": "e=f",
        "Content-Disposition": "inline\r\n\r\n<script>",
        "Content-Security-Policy": "default-src *",
        "Access-Control-Allow-Origin": "*",
        "Refresh": "0;url=//evil.test/",
        "Clear-Site-Data": '"*"',
        "Service-Worker-Allowed": "/",
        "Link": "<//evil.test>; rel=preload",
        "Strict-Transport-Security": "max-age=0",
        "X-Frame-Options": "ALLOWALL",
        "Content-Length": "3",
        "Transfer-Encoding": "chunked",
        "X-Kept": "yes",
    }
    parts = urlsplit(place.site.url)
    body = json.dumps({"headers": evil}).encode()
    head = [
        "POST /djsci/call/answers/ HTTP/1.1", f"Host: {parts.netloc}", "Connection: close",
        f"Authorization: {place.made.bearer('ada')['Authorization']}",
        "Content-Type: application/json", f"Content-Length: {len(body)}", "", "",
    ]  # fmt: skip
    with socket.create_connection((parts.hostname, parts.port), timeout=40) as wire:
        wire.sendall("\r\n".join(head).encode() + body)
        answer = b"".join(iter(lambda: wire.recv(1 << 16), b"")).decode("latin-1")
    head, _, body = answer.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    sent = [line.partition(":")[0].lower() for line in lines]
    assert status.split()[1] == "200"
    assert body == "<script>1</script>"
    assert len(sent) == len(set(sent))
    assert set(sent) <= {
        "content-type", "x-kept", "content-security-policy", "x-content-type-options",
        "cross-origin-resource-policy", "cache-control", "vary", "content-length", "connection",
        "referrer-policy", "cross-origin-opener-policy", "x-frame-options", "date", "server",
    }, sent  # fmt: skip
    headers = dict(line.split(": ", 1) for line in lines)
    values = {name.lower(): value for name, value in headers.items()}
    assert values["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert "evil" not in head
    with place.http() as http:
        for status in (301, 302, 303, 307, 308):
            for place_ in ("//evil.test/", "https://evil.test/", "\\\\evil.test", "javascript:1"):
                asked = {"headers": {"Location": place_}, "status": status}
                answer = http.post("call/answers/", json=asked)
                assert answer.status_code == status
                assert "Location" not in answer.headers


def test_o3_the_whole_command_is_quiet_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "".join(text for text, _ in OBEYED.values())
    (tmp_path / "evil.py").write_text(
        f"import djsci\ndef djsci_handler(request):\n    '''{'x'}'''\n    text = {evil!r}\n"
        "    print(text)\n    djsci.log(text)\n    djsci.artifact(b'1', 'left.txt')\n"
        "    raise ValueError(text)\n"
    )
    with contextlib.chdir(tmp_path):
        assert cli.main(["run", "evil.py"]) == 1
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert re.findall(r"[^\x20-\x7e\n\t\r]", text) == []
