"""Uploads, names and parameters that mean harm: N1 to N9."""

import asyncio
import json
import os
import select
import shutil
import socket
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import psutil
import pytest
from django.test import override_settings

from djsci import blobs, runs, versions
from djsci.access.callers import Caller
from djsci.access.database import in_database
from djsci.core.errors import SourceInvalid
from djsci.models import PrivateFile, Version
from djsci.runs import executor
from tests import live, servers
from tests.client import Follower
from tests.conftest import MakeFile, notebook

CAP = (20 << 20) + (1 << 20)  # UPLOAD_LIMIT and what a form adds
SMALL = 1 << 20
PIECE = b"x" * (64 << 10)
MOST_RSS = 20 << 20
TYPED = "def djsci_handler(request, x: float | str | list | None = None):\n    return x\n"
SHOWS = "def djsci_handler(request, x: str):\n    print(x, end='')\n    return x\n"


@dataclass
class Place:
    """A server that ada may do everything on."""

    site: live.Site
    headers: dict[str, str]
    session: dict[str, str]
    temporary: Path

    def http(self) -> httpx.Client:
        base = f"{self.site.url}/djsci/"
        return httpx.Client(base_url=base, headers=self.headers, timeout=60)

    def is_alive(self) -> bool:
        return httpx.get(f"{self.site.url}/djsci/health/live", timeout=30).status_code == 200


@contextmanager
def place(kind: Any, **options: Any) -> Iterator[Place]:
    temporary = Path(tempfile.mkdtemp(prefix="djsci-attacked-"))
    try:
        with live.server(kind, environment={"TMPDIR": str(temporary)}, **options) as site:
            made = site.seed(
                {
                    "users": [{"name": "ada", "superuser": True}],
                    "files": [
                        {"name": "typed", "owner": "ada", "files": {"typed.py": TYPED}},
                        {"name": "shows", "owner": "ada", "files": {"shows.py": SHOWS}},
                    ],
                }
            )
            yield Place(site, made.bearer("ada"), made.cookies("ada"), temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def uvicorn() -> Iterator[Place]:
    """On PostgreSQL, which refuses more than SQLite does."""
    with place("uvicorn", database=servers.postgres_url()) as made:
        yield made


@pytest.fixture(scope="module")
def daphne() -> Iterator[Place]:
    with place("daphne") as made:
        yield made


@dataclass
class Watched:
    """What a server's own process holds meanwhile: its memory, and temporary files' bytes."""

    process: psutil.Process
    folder: str
    rss: int = 0
    bytes: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> int:
        """The bytes of temporary files, also of those without a name."""
        found, descriptors = 0, f"/proc/{self.process.pid}/fd"
        for each in os.listdir(descriptors):
            try:
                if os.readlink(f"{descriptors}/{each}").startswith(self.folder):
                    found += os.stat(f"{descriptors}/{each}").st_size
            except OSError:
                continue  # it was closed meanwhile
        self.bytes = max(self.bytes, found)
        self.rss = max(self.rss, self.process.memory_info().rss)
        return found

    def watch(self) -> None:
        while not self._over.wait(0.005):
            self.look()


@contextmanager
def watched(place: Place) -> Iterator[Watched]:
    process = psutil.Process(place.site.process.pid)
    seen = Watched(process, str(place.temporary))
    seen.look()
    seen.rss_before, seen.bytes_before = seen.rss, seen.bytes
    thread = threading.Thread(target=seen.watch)
    thread.start()
    try:
        yield seen
    finally:
        seen._over.set()
        thread.join(20)


def ask(place: Place, head: str, pieces: Iterable[bytes] = ()) -> bytes:
    """Send a request as it is, until the server answers; all that it answers before it closes."""
    answer = b""
    with connected(place, head) as wire:
        try:
            for piece in pieces:
                wire.sendall(piece)
                if select.select([wire], [], [], 0)[0]:
                    break
            while part := wire.recv(1 << 16):
                answer += part
        except ConnectionError:
            pass
    return answer


@contextmanager
def connected(place: Place, head: str) -> Iterator[socket.socket]:
    parts = urlsplit(place.site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as wire:
        lines = [head.strip(), f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in place.headers.items()]
        wire.sendall("\r\n".join([*lines, "", ""]).encode())
        yield wire


def chunks(*pieces: bytes) -> Iterator[bytes]:
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield from chunks(piece)


def form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


CALL = "POST /djsci/call/typed/ HTTP/1.1\r\n"
UPLOAD = "POST /djsci/api/v1/files/ HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
FILE = b'Content-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s'
FIELD = b'Content-Disposition: form-data; name="f%d"\r\n\r\n1'
MANY_FILES = form(*[FILE % (b"files", b"c%d.txt" % n, b"x") for n in range(10_000)])
MANY_FIELDS = form(*[FIELD % n for n in range(10_000)])
BODIES: dict[str, tuple[str, Iterable[bytes], bytes]] = {
    "declared": (f"{CALL}Content-Length: 10000000000", (), b"413"),
    "declared-and-sent": (f"{CALL}Content-Length: 10000000000", [PIECE] * 1000, b"413"),
    "endless-chunks": (f"{CALL}Transfer-Encoding: chunked", endless(PIECE), b"413"),
    "files": (f"{UPLOAD}Content-Length: {len(MANY_FILES)}", [MANY_FILES], b"400"),
    "fields": (f"{UPLOAD}Content-Length: {len(MANY_FIELDS)}", [MANY_FIELDS], b"400"),
    "understated": (
        f"{UPLOAD}Content-Length: 40",
        [form(FILE % (b"file", b"a.py", TYPED.encode()))],
        b"400",
    ),
    "drip": (
        "POST /djsci/api/v1/tokens/ HTTP/1.1\r\nTransfer-Encoding: chunked",
        endless(b"x" * 512),
        b"413",
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_n1_a_body_over_its_cap_is_refused_and_leaves_nothing(uvicorn: Place, case: str) -> None:
    head, pieces, status = BODIES[case]
    assert uvicorn.is_alive()
    with watched(uvicorn) as seen:
        answer = ask(uvicorn, head, pieces)
    assert answer.split()[1:2] == [status], answer[:300]
    assert b" 200 " not in answer
    assert b" 201 " not in answer
    assert seen.bytes <= CAP + len(PIECE)
    assert seen.rss - seen.rss_before < MOST_RSS
    until(lambda: seen.look() == seen.bytes_before)
    assert uvicorn.is_alive()


def test_n1_bodies_that_stop_halfway_keep_nobody_out(uvicorn: Place) -> None:
    """20 clients send 2 MiB each and fall silent: 16 are waited for, the others sent away."""
    head = f"{CALL}Transfer-Encoding: chunked"
    with ExitStack() as stack, watched(uvicorn) as seen:
        wires = [stack.enter_context(connected(uvicorn, head)) for _ in range(20)]
        for wire in wires:
            for piece in chunks(*[PIECE] * 32):
                wire.sendall(piece)
        answered: set[socket.socket] = set()
        until(lambda: answered.update(select.select(wires, [], [], 0)[0]) or len(answered) == 4)
        assert [wire.recv(12) for wire in answered] == [b"HTTP/1.1 503"] * 4
        with uvicorn.http() as http:
            assert http.post("call/typed/", json={"x": "small"}).json() == "small"
        for wire in wires:
            wire.close()
        until(lambda: seen.look() == seen.bytes_before)


def test_n1_daphne_spools_a_body_and_refuses_it_before_any_view(daphne: Place) -> None:
    head = CALL + f"Content-Length: {2 * CAP}"
    stranger = Place(daphne.site, {"Authorization": "Bearer djsci_no"}, {}, daphne.temporary)
    assert ask(stranger, f"{CALL}Content-Length: 0").split()[1] == b"401"
    with watched(daphne) as seen:
        answer = ask(stranger, head, [PIECE] * (2 * CAP // len(PIECE)))
    assert answer.split()[1] == b"413", answer[:300]
    assert b"too_large" in answer
    until(lambda: seen.look() == seen.bytes_before)
    assert daphne.is_alive()


def until(is_so: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.01)


NAMES = [
    "../up.py", "..\\up.py", "/etc/cron.d/up.py", "C:\\up.py", "a\x00b.py", "a\nb.py", "-rf",
    ".hidden.py", "x" * 300 + ".py", "a\u202eyp.py", "📈.py", "..", ".", "", " ", "a/../../b.py",
    "%2e%2e%2fup.py", "con.py", "a\r\nX-A: b.py", "data", "data-secret", "file:///a.py", "~/a.py",
]  # fmt: skip


def test_n2_a_name_is_text_and_never_a_path(uvicorn: Place) -> None:
    """As an upload's name, its entry's, its companion's, and in addresses; blobs are digests."""
    statuses: set[int] = set()
    outside = {path.name for path in uvicorn.site.data.iterdir()}
    with uvicorn.http() as http:
        for number, name in enumerate(NAMES):
            content = f"{TYPED}# {number}".encode()
            for given, files in (
                (name, [("file", ("a.py", content))]),
                (f"entry {number}", [("file", (name, content))]),
                (f"part {number}", [("file", ("a.py", content)), ("files", (name, b"1"))]),
            ):
                answer = http.post("api/v1/files/", files=files, data={"name": given})
                statuses.add(answer.status_code)
                if answer.status_code == 201:
                    made = answer.json()
                    for part in made["files"]:
                        assert "/" not in part
                        assert "\\" not in part
                        assert part.isprintable()
                        assert not part.startswith((".", "-"))
                    assert http.delete(f"api/v1/files/{made['id']}/").status_code == 204
            for path in (f"api/v1/files/{quote(name, safe='')}/", "api/v1/files/typed/source/"):
                statuses.add(http.get(f"{path}{quote(name, safe='')}").status_code)
    assert statuses <= {200, 201, 400, 404, 409, 422}, statuses
    files = uvicorn.site.data / "files"
    for path in files.rglob("*"):
        if path.is_file():
            folder, digest = path.relative_to(files / "private_files" / "blobs").parts
            assert (len(digest), digest[:2]) == (64, folder)
    assert {path.name for path in uvicorn.site.data.iterdir()} == outside


def upload(place: Place, name: str, content: bytes, entry: str = "a.ipynb") -> httpx.Response:
    with place.http() as http:
        files = {"file": (entry, content)}
        return http.post("api/v1/files/", files=files, data={"name": name})


LIMIT = 8 << 20
BOMBS = {
    "depth": (b'{"cells": ' + b"[" * LIMIT, 422),
    "cells": (b'{"cells":[' + b"{}," * (LIMIT // 3) + b"{}]}", 413),
    "outputs": (
        json.dumps({"cells": [{"source": "1", "outputs": [{"text": "x"}] * 400_000}]}).encode(),
        201,
    ),
    "lines": (notebook("x=1\n" * 50_000), 201),
    "f-strings": (notebook("x=f'" + "{a}" * 150_000 + "'"), 201),
}


@pytest.mark.parametrize("case", BOMBS)
def test_n4_others_are_served_while_a_bomb_is_read(daphne: Place, case: str) -> None:
    """Reading is off the event loop, and outside of a transaction: SQLite has one writer."""
    content, status = BOMBS[case]
    served = {"read": 0, "written": 0}
    with ThreadPoolExecutor(1) as pool, daphne.http() as http:
        for turn in range(20):  # a quick one may be over before anybody else came
            uploading = pool.submit(upload, daphne, f"{case} {turn}", content)
            while not uploading.done():
                assert daphne.is_alive()
                served["read"] += not uploading.done()
                changed = http.patch("api/v1/files/shows/", json={"settings": {"timeout": 9}})
                assert changed.status_code == 200, changed.text
                served["written"] += not uploading.done()
            answer = uploading.result()
            assert answer.status_code == status, answer.text[:300]
            if min(served.values()) > 0:
                break
    assert min(served.values()) > 0


def test_n4_nothing_that_is_sent_packed_is_unpacked(uvicorn: Place) -> None:
    import gzip

    packed = gzip.compress(bytes(200 << 20), 9)
    with uvicorn.http() as http, watched(uvicorn) as seen:
        for kind in ({}, {"Content-Encoding": "gzip"}):
            answer = http.put("api/v1/files/typed/", content=packed, headers=kind)
            assert answer.status_code in (415, 422)
            answer = http.post("call/typed/", content=packed, headers=kind)
            assert answer.status_code == 200
    assert seen.rss - seen.rss_before < MOST_RSS


# What is odd, and how the field that is named begins; "": it is no JSON for Python.
ODD = {
    "nan": ("NaN", "x"),
    "infinity": ("-Infinity", "x"),
    "too-large": ("1e999", "x"),
    "digits": ("9" * 5000, ""),
    "surrogate": ('"\\ud800"', "x"),
    "nul": ('"a\\u0000b"', "x"),
    "depth": ("[" * 101 + "]" * 101, "x[0"),
    "far-depth": ("[" * 100_000, "par"),
    "twice": ('1, "x": 2', "par"),
}


@pytest.mark.parametrize("case", ODD)
def test_n5_odd_json_starts_nothing_at_any_door(uvicorn: Place, case: str) -> None:
    text, field = ODD[case]
    body = f'{{"x": {text}}}'
    said: dict[str, tuple[int, list[str]]] = {}
    with uvicorn.http() as http:
        before = http.get("api/v1/runs/?file=typed").json()["items"]
        for path, sent in (
            ("api/v1/files/typed/runs/", f'{{"parameters": {body}}}'),
            ("call/typed/", body),
            ("sync_py/typed/", body),
        ):
            json_type = {"Content-Type": "application/json"}
            answer = http.post(path, content=sent, headers=json_type)
            fields = [error["field"][:3] for error in answer.json().get("errors", ())]
            said[path] = (answer.status_code, fields)
        assert list(said.values()) == [(422, [field]) if field else (400, [])] * 3, said
        for start in (
            f'{{"type": "start", "parameters": {body}}}',
            json.dumps(
                {
                    "type": "start",
                    "request": {
                        "method": "POST",
                        "headers": {"Content-Type": "application/json"},
                        "body": body,
                    },
                }
            ),
        ):
            assert asyncio.run(socket_refusal(uvicorn, start)) == 4400
        assert http.get("api/v1/runs/?file=typed").json()["items"] == before


async def socket_refusal(place: Place, start: str) -> int | None:
    client = Follower(url=place.site.url, headers=place.headers)
    async with asyncio.timeout(20), client.connection("/djsci/ws/call/typed/") as wire:
        await wire.recv()
        await wire.send(start)
        frame = json.loads(await wire.recv())
        assert frame["type"] == "error", frame
        await wire.wait_closed()
        return wire.close_code


JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
ODD_REQUESTS: dict[str, dict[str, Any]] = {
    "query-nul": {"params": {"x": "a\x00b"}},
    "query-surrogate": {"url": "?x=%ED%A0%80"},
    "query-bytes": {"url": "?x=%ff%fe&%00=%00"},
    "unknown-nul": {"url": "?y=%00&%00"},
    "path-nul": {"url": "%00/%ff/..%2f"},
    "form-bytes": {"content": b"x=%ff%00&y=\xff", "headers": {"Content-Type": FORM}},
    "form-charset": {"content": b"x=1", "headers": {"Content-Type": f"{FORM}; charset=utf-7"}},
    "json-charset": {
        "content": '{"x": 1}'.encode("utf-16"),
        "headers": {"Content-Type": f"{JSON}; charset=utf-16"},
    },
    "json-bom": {"content": b'\xef\xbb\xbf{"x": 1}', "headers": {"Content-Type": JSON}},
    "json-list": {"content": b"[1]", "headers": {"Content-Type": JSON}},
    "no-charset": {"content": b"{}", "headers": {"Content-Type": f"{JSON}; charset=none"}},
    "boundary": {"content": b"--\r\n", "headers": {"Content-Type": "multipart/form-data"}},
    "boundary-odd": {
        "content": b"--\xff\r\n\r\n",
        "headers": {"Content-Type": b"multipart/form-data; boundary=\xff\xfe"},
    },
    "part-name": {
        "content": form(b"Content-Disposition: form-data\r\n\r\n1", FILE % (b"", b"", b"")),
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    },
    "part-nul": {
        "content": form(FILE % (b"x\x00", b"a\x00b", b"\x00"), FIELD % 1),
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    },
    "part-base64": {
        "content": form(
            b'Content-Disposition: form-data; name="x"; filename="a"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\n=====A"
        ),
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    },
    "header-bytes": {"headers": {"X-Odd": b"\xff\xfe", "Content-Type": b"\xff/\xff"}},
    "key-bytes": {"headers": {"Idempotency-Key": b"\xff" * 300}},
    "key-long": {"headers": {"Idempotency-Key": "k" * 5000}},
    "accept": {"headers": {"Accept": "text/csv;q=NaN, */*;q=1e999, application/json;q=x"}},
    "prefer": {"headers": {"Prefer": "wait=99999999999999999999, wait=-1"}},
    "last-event": {"headers": {"Last-Event-ID": "x/٣", "Accept": "text/event-stream"}},
    "cookie": {"headers": {"Cookie": b'a="\xff; sessionid=\x01; =;;b'}},
    "host": {"headers": {"X-Forwarded-For": "٣.\x7f", "X-Forwarded-Host": "evil.test"}},
}


def test_n5_odd_requests_are_answered_and_never_by_500(uvicorn: Place) -> None:
    said: dict[tuple[str, str], int] = {}
    with uvicorn.http() as http:
        for path in ("call/typed/", "api/v1/files/typed/runs/", "api/v1/files/"):
            for case, options in ODD_REQUESTS.items():
                url = path + options.get("url", "")
                rest = {key: value for key, value in options.items() if key != "url"}
                rest["headers"] = encoded(rest.get("headers", {}))
                said[path, case] = http.post(url, **rest).status_code
        for path in ("api/v1/runs/", "api/v1/files/", "console/runs/", "console/"):
            for name in ("cursor", "limit", "after", "file", "state", "user", "since", "q", "from"):
                for value in ("\x00", "\ud800".encode("utf-8", "surrogatepass"), "9" * 5000):
                    url = f"{path}?{name}={quote(value)}"
                    said[url, ""] = http.get(url).status_code
    wrong = {key: status for key, status in said.items() if status >= 500}
    assert wrong == {}


def encoded(headers: dict[str, Any]) -> dict[str, bytes]:
    return {
        name: value if isinstance(value, bytes) else value.encode()
        for name, value in headers.items()
    }


def test_n5_odd_json_in_a_form_is_told_at_its_field(uvicorn: Place) -> None:
    """The admin's metadata, and the page that runs a file."""
    with httpx.Client(base_url=uvicorn.site.url, cookies=uvicorn.session, timeout=30) as browser:
        add, run = "/admin/djsci/privatefile/add/", "/djsci/console/files/typed/run/"
        for case, (odd, _) in ODD.items():
            page = browser.get(add)
            csrf = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
            sent = {"csrfmiddlewaretoken": csrf, "metadata": f'{{"x": {odd}}}', "p-x": odd}
            files = {"file": ("a.py", TYPED.encode())}
            referer = {"Referer": f"{uvicorn.site.url}{add}"}
            refused = browser.post(add, data=sent, files=files, headers=referer)
            assert refused.status_code == 200, case
            assert "errorlist" in refused.text
            assert browser.post(run, data=sent, headers=referer).status_code in (303, 422), case


@pytest.mark.parametrize("kind", ["py", "cells", "kernel"])
def test_n6_a_parameter_is_a_value_and_never_code(daphne: Place, kind: str) -> None:
    evil = "'''\nimport os; print('owned')\n\"\"\"\n{x} %(x)s $x \\x27 !ls\n%time\n" + "\u2028\\"
    made = [("shows", SHOWS.encode())]
    if kind != "py":
        source = {"tags": ["parameters"]}
        book = json.loads(notebook("x = ''", "print(x, end='')\nx"))
        book["cells"][0]["metadata"] = source
        made = [(f"n6 {kind}", json.dumps(book).encode())]
        assert upload(daphne, *made[0]).status_code == 201
    name = made[0][0]
    with daphne.http() as http:
        if kind == "kernel":
            settings = {"settings": {"engine": "kernel"}}
            assert http.patch(f"api/v1/files/{name}/", json=settings).status_code == 200
        run = http.post(
            f"api/v1/files/{name}/runs/",
            json={"parameters": {"x": evil}},
            headers={"Prefer": "wait=50"},
        ).json()
        assert run["state"] == "succeeded", run
        assert run["result"] == evil
        events = http.get(run["links"]["events"].removeprefix("/djsci/")).json()["events"]
        assert "".join(e["text"] for e in events if e["type"] == "stream") == evil


def test_n7_of_twenty_racing_twins_one_wins(uvicorn: Place, daphne: Place) -> None:
    twins = ["Prices é", "PRICES É", unicodedata.normalize("NFD", "prices é"), " prices É "]

    async def race(place: Place) -> list[int]:
        async with httpx.AsyncClient(headers=place.headers, timeout=60) as http:
            answers = await asyncio.gather(
                *[
                    http.post(
                        f"{place.site.url}/djsci/api/v1/files/",
                        files={"file": ("a.py", TYPED.encode())},
                        data={"name": twins[number % len(twins)]},
                    )
                    for number in range(20)
                ]
            )
            return sorted(answer.status_code for answer in answers)

    for each in (uvicorn, daphne):
        assert asyncio.run(race(each)) == [201] + [409] * 19


VALUES = "def djsci_handler(request):\n    return ['é', len('''a\nb'''), __name__ != '']\n"
RIGHT = ["é", 3, True]
POLYGLOTS = {
    "bom": (b"\xef\xbb\xbf" + VALUES.encode(), RIGHT),
    "crlf": (VALUES.replace("\n", "\r\n").encode(), RIGHT),
    "cr": (VALUES.replace("\n", "\r").encode(), RIGHT),
    "latin-1": (f"# -*- coding: latin-1 -*-\n{VALUES}".encode("latin-1"), RIGHT),
    "cp1252": (f"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n{VALUES}".encode("cp1252"),
               RIGHT),
    "bom-and-cookie": (b"\xef\xbb\xbf# coding: utf-8\n" + VALUES.encode(), RIGHT),
    "bom-against-cookie": (b"\xef\xbb\xbf# coding: latin-1\n" + VALUES.encode(), 422),
    "utf-16": (VALUES.encode("utf-16"), 422),
    "utf-16-cookie": (b"# coding: utf-16\n" + VALUES.encode(), 422),
    "utf-7-cookie": (b"# coding: utf-7\n" + VALUES.encode(), 422),
    "rot13-cookie": (b"# coding: rot13\n" + VALUES.encode(), 422),
    "late-cookie": (b"#\n#\n# coding: latin-1\n" + VALUES.encode(), RIGHT),
    "zip-behind": (VALUES.encode() + b"PK\x05\x06" + bytes(18), 422),
    "comment-behind": (VALUES.encode() + b"# PK\x05\x06 \xff\xd8", 422),
    "pdf": (b"%PDF-1.7\n" + VALUES.encode(), 415),
    "html": (b"<!--\n" + VALUES.encode() + b"#-->", 422),
    "gif": (b"GIF89a = 1\n" + VALUES.encode(), 415),
    "notebook-as-py": (notebook("1", VALUES), RIGHT),
    "notebook-bom-crlf": (
        b"\xef\xbb\xbf" + notebook(VALUES.replace("\n", "\r\n")).replace(b", \"", b",\r\n\""),
        RIGHT,
    ),
    "dictionary": (b'{"cells": [], "nbformat": 4}\n' + VALUES.encode(), 422),
    "two-notebooks": (notebook("1") + notebook(VALUES), 422),
}  # fmt: skip


def test_n8_a_file_of_two_kinds_is_read_right_or_refused(daphne: Place) -> None:
    said: dict[str, Any] = {}
    with daphne.http() as http:
        for case, (content, _) in POLYGLOTS.items():
            answer = upload(daphne, f"n8 {case}", content, "a.py")
            said[case] = answer.status_code
            if answer.status_code == 201:
                said[case] = http.get(f"call/{answer.json()['id']}/").json()
    assert said == {case: expected for case, (_, expected) in POLYGLOTS.items()}


GOOD = b"import helper\nfrom pathlib import Path\ndef djsci_handler(request, text: str = ''):\n" \
    b"    return [1, helper.one, Path('data.txt').read_text(), len(text)]\n"  # fmt: skip
HELPER, DATA = b"one = 1\n", b"1"
PINNED = '[1,1,"1",{}]'


async def tamper(file: PrivateFile, what: str) -> None:
    """Change what the file's version is made of, as another process with the disk's rights may."""
    version = await Version.objects.aget(pk=file.version_id)
    part = {"entry": "handler.py", "companion": "helper.py", "data": "data.txt"}.get(what, "")
    evil = {"entry": GOOD.replace(b"[1,", b"[666,"), "companion": b"one = 666\n", "data": b"666"}
    store = blobs.storage()
    if what == "manifest":
        files = {**version.files, "helper.py": blobs.put(evil["companion"])}
        manifest = {**version.manifest, "files": files}
        await Version.objects.filter(pk=version.pk).aupdate(manifest=manifest)
    elif what == "gone":
        store.delete(blobs.path(version.files["helper.py"]))
    elif what == "link":
        path = Path(store.path(blobs.path(version.files["data.txt"])))
        (path.parent / "elsewhere").write_bytes(evil["data"])
        path.unlink()
        path.symlink_to("elsewhere")
    else:
        Path(store.path(blobs.path(version.files[part]))).write_bytes(evil[what])


async def admitted(file: PrivateFile, caller: Caller) -> runs.Started | None:
    """The run; None when it is refused for what its file is made of now."""
    try:
        return await runs.start(file.pk, caller=caller, trigger="api")
    except SourceInvalid:
        return None


@pytest.mark.parametrize(
    "is_cached",
    [True, pytest.param(False, marks=pytest.mark.faults)],
    ids=["cached", "another process"],
)
@pytest.mark.parametrize("what", ["entry", "companion", "data", "manifest", "gone", "link"])
async def test_n9_what_was_pinned_runs_or_nothing(
    make_file: MakeFile,
    caller: Caller,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    what: str,
    is_cached: bool,
) -> None:
    with override_settings(MEDIA_ROOT=str(tmp_path)):
        parts = {"helper.py": HELPER, "data.txt": DATA}
        for stage in ("queued", "checked"):
            file = await in_database(make_file, GOOD, companions=parts, engine="fork")
            monkeypatch.setattr(versions, "_sources", versions.SourceCache())
            if stage == "queued":
                with override_settings(DJSCI={"RUNNING": 0}):
                    started = await runs.start(file.pk, caller=caller, trigger="api")
                    await tamper(file, what)
                    if not is_cached:
                        monkeypatch.setattr(versions, "_sources", versions.SourceCache())
                executor.start().ring()
            else:
                if is_cached:
                    await in_database(versions.source, file.version)
                await tamper(file, what)
                started = await admitted(file, caller)
                if started is None:
                    continue
            view = await runs.finish(started.run_id, wait=40)
            assert view is not None
            if view.state == "succeeded":
                assert is_cached
                assert view.result == PINNED.format(0)
            else:
                assert (view.state, view.result) == ("crashed", None)
                assert "upload it again" in view.reason


async def test_n9_a_request_that_was_replaced_is_not_run(
    make_file: MakeFile, caller: Caller, tmp_path: Path
) -> None:
    """A large request lies in a blob too."""
    with override_settings(MEDIA_ROOT=str(tmp_path)):
        parts = {"helper.py": HELPER, "data.txt": DATA}
        file = await in_database(make_file, GOOD, companions=parts, engine="fork")
        with override_settings(DJSCI={"RUNNING": 0}):
            given = {"text": "x" * 300_000}
            started = await runs.start(file.pk, caller=caller, trigger="api", parameters=given)
            run = await runs.get(started.run_id)
            path = Path(blobs.storage().path(blobs.path(run.request.removeprefix("blob:"))))
            path.write_bytes(path.read_bytes().replace(b"xxx", b"evi", 1))
        executor.start().ring()
        view = await runs.finish(started.run_id, wait=40)
    assert view is not None
    assert (view.state, view.result) == ("crashed", None)
