"""Parts of the attack list that end a run, or that two runs try on each other, at each level."""

import asyncio
import secrets
import subprocess
from pathlib import Path

import pytest

from djsci.engines.base import Limits
from djsci.engines.fork import ForkEngine
from djsci.isolation import landlock, users
from djsci.isolation.limits import Limits as Bounds
from tests.isolation.conftest import need

from .test_forked import HANDLER, engine, play

__all__ = ["engine"]
pytestmark = [pytest.mark.timeout(120)]

FAILS = {
    "h1 zero": ("    raise SystemExit(0)\n", "exited 0"),
    "h1 text": ("    import sys\n    sys.exit('x')\n", "exited"),
    "h1 quit": ("    quit()\n", "exited 0"),
    "h3 interrupt": ("    raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    "h3 own": ("    class Own(BaseException): pass\n    raise Own('x')\n", "Own: x"),
    "h3 long": ("    raise BaseException('y' * (10 << 20))\n", "BaseException: yyy"),
    "h8 descriptors": ("    kept = [os.open('/dev/null', 0) for _ in range(2000)]\n", "OSError"),
    "h10 getpass": ("    import getpass\n    getpass.getpass()\n", ""),
    "h10 tty": ("    open('/dev/tty').read()\n", ""),
    "h10 breakpoint": ("    breakpoint()\n    print('went on')\n", ""),
    "h14 depth": (
        "    held = []\n    for _ in range(100_000): held = [held]\n    return held\n",
        "",
    ),
    "h14 size": ("    return 'x' * (100 << 20)\n", ""),
}


@pytest.mark.asyncio(loop_scope="module")
async def test_h1_h3_h8_h10_h14_each_fails_with_one_exact_end(engine: ForkEngine) -> None:
    for name, (body, reason) in FAILS.items():
        text, result, end = await play(engine, HANDLER + body)
        assert (end.state, result, "went on" in text) == ("failed", None, False), (name, end)
        assert (end.reason or "").startswith(reason), (name, end)
        assert len(end.reason or "") <= 64 << 10, name


EATS = {
    "many": "    held = []\n    while True: held.append(b'x' * (1 << 20))\n",
    "mmap": (
        "    import mmap\n    held = mmap.mmap(-1, 600 << 20)\n"
        "    for at in range(0, 600 << 20, 4096): held[at] = 1\n    time.sleep(20)\n"
    ),
    "child": (
        "    if os.fork() == 0:\n        held = b'x' * (600 << 20)\n        time.sleep(20)\n"
        "    os.wait()\n    time.sleep(20)\n"
    ),
}


FILLS = {
    "tmpfs": (
        "    with open('/workdir/big', 'wb') as file:\n"
        "        for _ in range(400): file.write(b'x' * (1 << 20))\n    time.sleep(20)\n"
    )
}


@pytest.mark.asyncio(loop_scope="module")
async def test_h7_memory_of_every_kind_ends_the_run_and_no_other(engine: ForkEngine) -> None:
    limits = Limits(timeout=30, grace=0.5, memory=200 << 20)
    is_in_memory = engine.supply.ground.isolation == "bwrap"
    for name, body in {**EATS, **(FILLS if is_in_memory else {})}.items():
        neighbour = HANDLER + "    print('up', flush=True)\n    time.sleep(1)\n    return 'lives'\n"
        (_, _, end), (_, lives, _) = await asyncio.gather(
            play(engine, HANDLER + body, limits=limits), play(engine, neighbour)
        )
        assert (end.state, end.reason) == ("crashed", "memory limit (200 MiB) exceeded"), name
        assert lives == "lives", name


STAYS = {
    "loop": "    while True: pass\n",
    "signals": (
        "    import signal\n    for n in (2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "    while True: time.sleep(60)\n"
    ),
    "c": "    import ctypes\n    ctypes.PyDLL(None).sleep(60)\n",
}


@pytest.mark.asyncio(loop_scope="module")
async def test_h4_what_ignores_every_signal_is_timed_out(engine: ForkEngine) -> None:
    limits = Limits(timeout=0.8, grace=0.3)
    ends = await asyncio.gather(
        *(play(engine, HANDLER + body, limits=limits) for body in STAYS.values())
    )
    assert [(end.state, end.abandoned) for _, _, end in ends] == [("timed_out", False)] * len(STAYS)


@pytest.mark.asyncio(loop_scope="module")
async def test_h11_what_runs_after_the_return_is_heard_or_ended(engine: ForkEngine) -> None:
    body = (
        "    import atexit\n    class Late:\n        def __del__(self): print('deleted')\n"
        "    atexit.register(lambda: print('at exit', flush=True))\n"
        "    globals()['kept'] = Late()\n    atexit.register(time.sleep, 60)\n    return 1\n"
    )
    _, result, end = await play(engine, HANDLER + body)
    assert (result, end.state) == (1, "succeeded")
    assert (end.elapsed or 0) < 20


@pytest.mark.asyncio(loop_scope="module")
async def test_h12_descriptors_locale_and_seed_are_the_runs_own(engine: ForkEngine) -> None:
    look = (
        "    import locale, random\n    return [locale.setlocale(locale.LC_ALL),\n"
        "            os.readlink('/proc/self/fd/0'), random.random()]\n"
    )
    hostile = (
        "    import locale, random\n    random.seed(1)\n    locale.setlocale(locale.LC_ALL, 'C')\n"
        "    for n in (0, 1, 2): os.dup2(os.open('/dev/zero', 0), n)\n    return random.random()\n"
    )
    _, before, _ = await play(engine, HANDLER + look)
    _, drawn, end = await play(engine, HANDLER + hostile)
    assert end.state == "succeeded", end
    _, after, _ = await play(engine, HANDLER + look)
    assert after[:2] == before[:2]
    assert drawn not in (before[2], after[2])


SHARED = """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
def djsci_handler(request, key: int, mark: str, makes: bool):
    path = f"/dev/shm/{mark}"
    kinds = (lambda: libc.shmget(key, 4096, 0o1666 if makes else 0),
             lambda: libc.semget(key, 1, 0o1666 if makes else 0),
             lambda: libc.msgget(key, 0o1666 if makes else 0),
             lambda: libc.mq_open(f"/{mark}".encode(), 0o102 if makes else 2, 0o666, None),
             lambda: os.open(path, os.O_CREAT | os.O_RDWR if makes else os.O_RDWR, 0o666))
    had = []
    for kind in kinds:
        try:
            had.append(kind() >= 0)
        except OSError:
            had.append(False)
    if makes:
        print("up", flush=True)
        time.sleep(2)
    return had
"""


@pytest.mark.asyncio(loop_scope="module")
async def test_h19_two_runs_meet_in_no_shared_memory_and_no_queue(engine: ForkEngine) -> None:
    key, mark = secrets.randbelow(1 << 30) + 1, secrets.token_hex(8)
    given = {"key": key, "mark": mark}
    first = asyncio.create_task(play(engine, SHARED, **given, makes=True))
    await asyncio.sleep(0)
    tried = [[True]]
    while not first.done():
        _, had, end = await play(engine, SHARED, **given, makes=False)
        assert end.state == "succeeded", end
        tried.append(had)
    assert len(tried) > 2
    assert [had for had in tried[1:] if any(had)] == []
    await first


LISTENS = (
    "    import socket\n    had = {}\n"
    "    def bound(made): made.bind(('0.0.0.0', 0)); made.listen()\n"
    "    for name, work in (('bound', bound), ('unbound', lambda made: made.listen())):\n"
    "        with socket.socket() as made:\n"
    "            try:\n"
    "                work(made)\n"
    "                had[name] = made.getsockname()[1]\n"
    "            except OSError:\n                had[name] = 0\n"
    "    return [had, [name for _, name in socket.if_nameindex()]]\n"
)


@pytest.mark.asyncio(loop_scope="module")
async def test_h20_no_run_listens_where_others_can_reach_it(engine: ForkEngine) -> None:
    _, found, end = await play(engine, HANDLER + LISTENS)
    assert end.state == "succeeded", end
    had, interfaces = found
    assert (
        interfaces == ["lo"] if engine.supply.ground.isolation == "bwrap" else not any(had.values())
    ), found


@pytest.mark.parametrize("has_network", [False, True])
def test_a_process_that_is_started_behind_landlock_has_the_profile(
    has_network: bool, tmp_path: Path
) -> None:
    need("landlock")
    with users.lease() as uid:
        if uid is not None:
            tmp_path.chmod(0o755)
        given = {"limits": Bounds(), "folder": str(tmp_path), "has_network": has_network}
        argv = ["grep", "Seccomp:", "/proc/self/status"]
        command = landlock.command(argv, uid=uid, **given)  # type: ignore[arg-type]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split() == ["Seccomp:", "2"], done.stderr
