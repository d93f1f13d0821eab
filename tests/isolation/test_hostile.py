"""Rows of the attack list that need a few lines each: what a hostile handler gets, and no more."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from djsci.engines.fork import ForkEngine
from tests.engines.test_fork import until

from .test_forked import HANDLER, engine, play

__all__ = ["engine"]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
TRIED = """
import ctypes, errno, os, signal, socket, sys
def tried(work):
    try:
        return work() or "done"
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
def djsci_handler(request, **given):
"""


@contextmanager
def listeners() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP and a UDP socket of the host's loopback, to be hit by nobody."""
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        tcp.setblocking(False)
        udp.setblocking(False)
        yield tcp, udp


@pytest.mark.parametrize(
    "body",
    [
        "    def again(): return again()\n    return again()\n",
        "    class Odd:\n        def __repr__(self): return repr(self)\n    print(Odd())\n",
        "    held = []\n    for _ in range(100_000): held = [held]\n    print(held)\n",
    ],
    ids=["recursion", "a repr of itself", "nested lists"],
)
async def test_h5_recursion_is_a_failure(engine: ForkEngine, body: str) -> None:
    _, _, end = await play(engine, HANDLER + body)
    assert end.state == "failed", end


async def test_h8_sparse_files_and_inodes_are_bounded(engine: ForkEngine) -> None:
    body = (
        "    folder = os.environ['TMPDIR']\n    def sparse():\n"
        "        with open('sparse', 'wb') as file: file.truncate(1 << 40)\n"
        "    def many():\n"
        "        for number in range(5000): open(f'{folder}/{number}', 'x').close()\n"
        "    return [tried(sparse), tried(many), len(os.listdir(folder))]\n"
    )
    _, found, end = await play(engine, TRIED + body)
    assert end.state == "succeeded", end
    sparse, many, made = found
    assert sparse == "EFBIG"
    if engine.supply.ground.isolation == "bwrap":
        assert many == "ENOSPC"
        assert made <= 4096


async def test_h9_odd_bytes_and_endless_lines_arrive_as_text(engine: ForkEngine) -> None:
    body = (
        "    print('a' * 20_000_000)\n    print('nul\\0', 'lone \\ud800')\n    sys.stdout.flush()\n"
        "    os.write(1, b'bad \\xff\\xfe')\n    return 'over'\n"
    )
    text, result, end = await play(engine, TRIED + body)
    assert (end.state, result) == ("succeeded", "over")
    long, odd = text.split("\n", 1)
    assert len(long) == 20_000_000
    mark = "\N{REPLACEMENT CHARACTER}"
    assert odd == f"nul{mark} lone {mark}\nbad {mark}{mark}"


async def test_h17_signals_to_all_and_priorities_harm_nobody(engine: ForkEngine) -> None:
    waits = HANDLER + "    print('up', flush=True)\n    time.sleep(1)\n    return 'lives'\n"
    body = (
        "    return [\n"
        "        tried(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5)),\n"
        "        tried(lambda: os.setpriority(os.PRIO_PROCESS, given['server'], 5)),\n"
        "        tried(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),\n"
        "        tried(lambda: os.kill(-1, signal.SIGKILL)),\n"
        "    ]\n"
    )
    nice = psutil.Process().nice()
    (_, lives, _), (_, found, end) = await asyncio.gather(
        play(engine, waits), play(engine, TRIED + body, server=os.getpid())
    )
    assert (end.state, lives) == ("succeeded", "lives")
    faster, others, real_time, _ = found
    assert {faster, real_time} <= {"EACCES", "EPERM"}
    assert others in ("EPERM", "EACCES", "ESRCH"), others
    assert psutil.Process().nice() == nice
    assert (await play(engine, HANDLER + "    return 1\n"))[1] == 1


async def test_h20_no_name_no_datagram_no_raw_socket_leaves_a_run(engine: ForkEngine) -> None:
    body = (
        "    def udp():\n"
        "        with socket.socket(type=socket.SOCK_DGRAM) as made:\n"
        "            made.sendto(b'x', ('127.0.0.1', given['udp']))\n"
        "    def tcp(): socket.create_connection(('127.0.0.1', given['tcp']), 2).close()\n"
        "    def raw(kind): socket.socket(kind, socket.SOCK_RAW, 1).close()\n"
        "    def name():\n"
        "        socket.getaddrinfo('host.invalid', 80)\n"
        "    return {\n"
        "        'udp': tried(udp), 'tcp': tried(tcp), 'name': tried(name),\n"
        "        'raw': tried(lambda: raw(socket.AF_INET)),\n"
        "        'packet': tried(lambda: raw(socket.AF_PACKET)),\n"
        "        'interfaces': [name for _, name in socket.if_nameindex()],\n"
        "    }\n"
    )
    with listeners() as (tcp, udp):
        ports = {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1]}
        _, found, end = await play(engine, TRIED + body, **ports)
        for listener in (tcp, udp):
            with pytest.raises(BlockingIOError):
                listener.accept() if listener is tcp else listener.recv(1)
    assert end.state == "succeeded"
    assert found["tcp"] != "done"
    assert found["name"] == "gaierror" or found["name"].startswith("E")
    assert {found["raw"], found["packet"]} <= {"EPERM", "EACCES"}
    if engine.supply.ground.isolation == "bwrap":
        assert found["interfaces"] == ["lo"]
    else:
        assert found["udp"] != "done"


async def test_the_server_is_back_to_its_size_after_hostile_runs(engine: ForkEngine) -> None:
    """Descriptors, threads and children as before within 10 s, memory within 20 MiB."""
    hostile = [
        "    [os.open('/dev/null', 0) for _ in range(200)]\n    os._exit(3)\n",
        "    if os.fork() == 0:\n        os.setsid()\n        time.sleep(60)\n    return 1\n",
        "    import threading\n"
        "    [threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(20)]\n"
        "    return 1\n",
        "    print('x' * 5_000_000)\n    raise BaseException('y' * 5_000_000)\n",
        "    os.kill(os.getpid(), 9)\n",
    ]
    await play(engine, HANDLER + hostile[3])
    server = psutil.Process()
    before = await _settled(server)
    memory = server.memory_info().rss
    for body in hostile * 2:
        await play(engine, HANDLER + body)
    await until(lambda: all(now <= then for now, then in zip(_size(server), before, strict=True)))
    assert server.memory_info().rss < memory + (20 << 20)


async def _settled(server: psutil.Process) -> tuple[int, int, int]:
    """Its size once the child that waits for the next run is there again."""
    before = None
    while before != (before := _size(server)):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.5)
    return before


def _size(server: psutil.Process) -> tuple[int, int, int]:
    return server.num_fds(), server.num_threads(), len(server.children(recursive=True))
