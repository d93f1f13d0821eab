"""What a run reaches: the hosts it was granted, by name, and nothing else of this machine."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from djsci.core import events
from djsci.core.connections import Grant, Host, parse_host
from djsci.engines.fork import ForkEngine, SpawnEngine
from djsci.isolation import evidence
from djsci.isolation.proxy import may_reach
from tests.engines.test_fork import LIMITS, cells, play, printed, py, result
from tests.isolation.conftest import need
from tests.servers import postgres_url

asynchronous = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.timeout(90)
SECRET = "canary-connection-51"
REACH = """
import os, socket

def ask(sock):
    sock.settimeout(5)
    sock.sendall(b"ping")
    return sock.recv(100).decode()

def plain(name, port):
    with socket.create_connection((name, port), timeout=5) as sock:
        return ask(sock)

def proxy():
    host, _, port = os.environ["DJSCI_PROXY"].removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=5)

def connect(name, port):
    with proxy() as sock:
        sock.sendall(f"CONNECT {name}:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
        said = sock.recv(4096).decode()
        return ask(sock) if " 200 " in said else said.split("\\r\\n")[0]

def socks(name, port):
    with proxy() as sock:
        sock.sendall(b"\\x05\\x01\\x00")
        assert sock.recv(2) == b"\\x05\\x00"
        packed = bytes([len(name)]) + name.encode() + port.to_bytes(2, "big")
        sock.sendall(b"\\x05\\x01\\x00\\x03" + packed)
        status = sock.recv(10)[1]
        return ask(sock) if status == 0 else status

def attempt(way, *where):
    try:
        return way(*where)
    except OSError as error:
        return type(error).__name__

def djsci_handler(request):
    asked = request.json()
    return {
        f"{way.__name__} {name}": attempt(way, name, port)
        for way in (plain, connect, socks)
        for name, port in asked
    } | {"value": os.environ.get("WAREHOUSE")}
"""


class Listener:
    """Answers each connection with its own name; counts them."""

    def __init__(self, name: str) -> None:
        self.name, self.hits = name, 0
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.sock.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self.sock.close()

    def _serve(self) -> None:
        while True:
            try:
                made, _ = self.sock.accept()
            except OSError:
                return
            self.hits += 1
            with made:
                if made.recv(100):
                    made.sendall(self.name.encode())


@pytest.fixture
def listeners() -> Iterator[tuple[Listener, Listener]]:
    with ExitStack() as stack:
        yield stack.enter_context(Listener("granted")), stack.enter_context(Listener("other"))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[ForkEngine, SpawnEngine])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[ForkEngine]:
    need("bwrap")
    if request.param is ForkEngine:
        need(evidence.NESTED)
    opened = request.param(size=0, isolation="bwrap")
    await opened.open()
    yield opened
    await opened.close()


def granted(*hosts: Host, **values: str) -> Any:
    return replace(LIMITS, grant=Grant(hosts=hosts, values=values))


async def reached(engine: ForkEngine, limits: Any, *asked: tuple[str, int]) -> dict[str, Any]:
    said = await play(
        engine,
        py(REACH),
        limits=limits,
        method="POST",
        content_type="application/json",
        body=json.dumps(asked).encode(),
    )
    return dict(result(said))


@asynchronous
async def test_k1_a_granted_host_answers_by_plain_connect_connect_and_socks5(
    engine: ForkEngine, listeners: tuple[Listener, Listener]
) -> None:
    """K2 too: another port, name or address of the same machine is never reached."""
    named, other = listeners
    limits = granted(Host("localhost", named.port), WAREHOUSE=SECRET)
    found = await reached(
        engine,
        limits,
        ("localhost", named.port),
        ("127.0.0.1", other.port),
        ("127.0.0.2", named.port),
    )
    assert found.pop("value") == SECRET
    assert found == {
        "plain localhost": "granted",
        "connect localhost": "granted",
        "socks localhost": "granted",
        "plain 127.0.0.1": "ConnectionRefusedError",
        "connect 127.0.0.1": "HTTP/1.1 403 Forbidden",
        "socks 127.0.0.1": 2,
        "plain 127.0.0.2": "ConnectionRefusedError",
        "connect 127.0.0.2": "HTTP/1.1 403 Forbidden",
        "socks 127.0.0.2": 2,
    }
    assert (named.hits, other.hits) == (3, 0)


@asynchronous
async def test_k4_the_next_run_has_nothing_of_it(
    engine: ForkEngine, listeners: tuple[Listener, Listener]
) -> None:
    named, _ = listeners
    limits = granted(Host("127.0.0.1", named.port), WAREHOUSE=SECRET)
    first = await reached(engine, limits, ("127.0.0.1", named.port))
    assert first["plain 127.0.0.1"] == "granted"
    code = f"""
import os, socket
def djsci_handler(request):
    try:
        socket.create_connection(("127.0.0.1", {named.port}), 5)
    except OSError as error:
        return [type(error).__name__, os.environ.get("WAREHOUSE"), os.environ.get("DJSCI_PROXY")]
"""
    assert result(await play(engine, py(code))) == ["ConnectionRefusedError", None, None]
    assert named.hits == 3


@asynchronous
async def test_a_notebook_has_its_connections_and_a_low_port(
    engine: ForkEngine, listeners: tuple[Listener, Listener]
) -> None:
    named, _ = listeners
    limits = granted(Host("localhost", named.port), Host("db.internal", 443))
    code = (
        "import socket\n"
        f"made = socket.create_connection(('localhost', {named.port}), 5)\n"
        "made.sendall(b'x'); print(made.recv(9).decode())\n"
        "print(socket.getaddrinfo('db.internal', 443, socket.AF_INET)[0][4])"
    )
    said = await play(engine, cells(code), limits=limits)
    assert "granted\n('127.0.1.2', 443)" in printed(said)
    warned = [event.message for event in said if isinstance(event, events.Log)]
    is_spawned = isinstance(engine, SpawnEngine)
    assert ["db.internal:443" in text for text in warned] == [True] * is_spawned


@asynchronous
async def test_a_driver_reads_a_postgresql_of_the_hosts_loopback(
    engine: ForkEngine, listeners: tuple[Listener, Listener]
) -> None:
    """And cannot reach a second listener there that was not named."""
    _, other = listeners
    folder = unquote(str(urlsplit(postgres_url()).netloc.partition("@")[2]))
    [path] = Path(folder).glob(".s.PGSQL.*[0-9]")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, thence = await asyncio.open_unix_connection(path)
        await asyncio.gather(copy(reader, thence), copy(there, writer))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    code = f"""
import psycopg, socket
def djsci_handler(request):
    with psycopg.connect("host=localhost user=postgres dbname=postgres", port=request.json()) as db:
        found = db.execute("select 6 * 7").fetchone()
    try:
        socket.create_connection(("localhost", {other.port}), 5)
    except OSError as error:
        return [*found, type(error).__name__]
"""
    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await play(
            engine,
            py(code),
            limits=granted(Host("localhost", port)),
            method="POST",
            content_type="application/json",
            body=str(port).encode(),
        )
    assert result(said) == [42, "ConnectionRefusedError"]
    assert other.hits == 0


@asynchronous
async def test_at_process_the_values_are_there() -> None:
    engine = ForkEngine(size=0)
    await engine.open()
    try:
        code = "import os\ndef djsci_handler(request):\n    return os.environ['WAREHOUSE']\n"
        said = await play(engine, py(code), limits=granted(Host("x.test", 1), WAREHOUSE=SECRET))
        assert result(said) == SECRET
    finally:
        await engine.close()


@asynchronous
@pytest.mark.parametrize("level", ["bwrap", "landlock"])
async def test_open_is_the_servers_own_network(
    level: str, listeners: tuple[Listener, Listener]
) -> None:
    need(level)
    named, _ = listeners
    engine = ForkEngine(size=0, isolation=level, has_network=True)
    await engine.open()
    try:
        code = f"""
import os, socket
def djsci_handler(request):
    with socket.create_connection(("localhost", {named.port}), 5) as made:
        made.sendall(b"x")
        return [made.recv(9).decode(), os.access("/etc/shadow", os.R_OK)]
"""
        said = await play(engine, py(code))
        assert result(said) == ["granted", False]
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("address", "name", "may"),
    [
        ("10.1.2.3", "db.internal", True),
        ("fd12::1", "db.internal", True),
        ("93.184.216.34", "example.test", True),
        ("127.0.0.1", "rebound.test", False),
        ("::1", "rebound.test", False),
        ("0.0.0.0", "rebound.test", False),  # noqa: S104
        ("169.254.169.254", "rebound.test", False),
        ("fe80::1%eth0", "rebound.test", False),
        ("fd00:ec2::254", "rebound.test", False),
        ("::ffff:10.1.2.3", "rebound.test", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("10.1.2.3", "localhost", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("169.254.169.254", "169.254.169.254", True),
    ],
)
def test_k2_a_name_leads_to_no_address_of_the_server_itself(
    address: str, name: str, *, may: bool
) -> None:
    assert may_reach(address, name) is may


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("db.internal:5432", ("db.internal", 5432)),
        ("DB.Internal.:5432", ("db.internal", 5432)),
        ("10.0.0.7:80", ("10.0.0.7", 80)),
        ("[::1]:80", ("::1", 80)),
        *((text, None) for text in ("db", "db:", "db:0", "db:70000", ":1", "a b:1", "::1:80")),
        *((text, None) for text in ("http://db:1", "*.db:1", "-a:1", "[db]:1", "db:1\n", "d\n:1")),
    ],
)
def test_a_host_is_a_name_and_a_port(text: str, host: tuple[str, int] | None) -> None:
    if host is not None:
        assert parse_host(text) == host
        return
    with pytest.raises(ValueError, match=r".+"):
        parse_host(text)
