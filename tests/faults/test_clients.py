"""R12, R20: who leaves at any byte, and who cancels at any moment, changes nothing for others."""

import json
import random
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.waiting import until

from .parts import alive
from .stage import Stage, judge, new_seed, stage

DEAF = """
import os, signal, time
import djsci

def djsci_handler(request, record: str):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    text = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    run = djsci.run["id"]
    print(run, 0, flush=True)
    os.write(text, f"{run} start\\n{run} pid {os.getpid()}\\n{run} 0\\n".encode())
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    record = tmp_path_factory.mktemp("clients") / "record"
    with stage(record, files=[{"name": "deaf", "files": {"deaf.py": DEAF}}]) as made:
        yield made
        made.webs[0].close()
        assert "Traceback" not in made.webs[0].said()


@pytest.mark.faults
def test_r12_a_client_gone_at_any_byte_changes_nothing(place: Stage):
    seed = random.Random(new_seed())
    said = json.dumps({"parameters": {"record": str(place.record), "lines": 3}})
    token = place.headers["Authorization"]
    head = (
        "POST /djsci/api/v1/files/code/runs/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: {token}\r\nAccept: application/x-ndjson\r\nPrefer: wait=20\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n{said}"
    ).encode()
    before = set(place.rows())
    for _ in range(20):
        sent = seed.randint(1, len(head))
        cut(place, head[:sent], read=0)
    for read in range(0, 1000, 50):
        cut(place, head, read=read)
    until(lambda: len(place.rows()) - len(before) >= 19)
    rows = place.all_ended(seconds=60)
    judge(rows, place.recorded())
    assert {rows[run_id]["state"] for run_id in set(rows) - before} == {"succeeded"}
    assert httpx.get(f"{place.url}/djsci/health/ready", timeout=30).json()["status"] == "ok"


def cut(place: Stage, sent: bytes, *, read: int) -> None:
    """Send this, read so many bytes of the answer, and be gone with a reset."""
    port = urlsplit(place.url).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=30) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(sent)
        while read > 0:
            got = connection.recv(read)
            if not got:
                return
            read -= len(got)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.faults)])
@pytest.mark.timeout(300)
def test_r20_a_cancel_at_any_moment_leaves_one_end(place: Stage, count: int):
    chance = random.Random(new_seed())
    runs: list[str] = []

    def one(pause: float) -> None:
        run_id = place.start(lines=6, pause=0.05)
        runs.append(run_id)
        threading.Event().wait(pause)
        assert place.cancel(run_id) in (200, 202, 409)

    batches = [chance.uniform(0, 0.8) for _ in range(count)]
    for first in range(0, count, 8):
        threads = [threading.Thread(target=one, args=[p]) for p in batches[first : first + 8]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(runs) == count
    rows = place.all_ended(seconds=60)
    judge(rows, place.recorded())
    states = [rows[run_id]["state"] for run_id in runs]
    assert set(states) <= {"cancelled", "succeeded"}
    for run_id in runs:
        if rows[run_id]["starts"] == 0:
            assert run_id not in place.recorded()


def test_r20_who_ignores_every_signal_is_killed_once(place: Stage):
    run_id = place.start("deaf")
    place.began(run_id)
    child = place.child(run_id)
    answers = [place.cancel(run_id) for _ in range(3)]
    assert all(answer in (200, 202, 409) for answer in answers), answers
    run: Any = place.ended(run_id, seconds=20)
    assert run["state"] == "cancelled"
    until(lambda: not alive(child))
    judge({run_id: place.rows()[run_id]}, place.recorded_of(run_id))
