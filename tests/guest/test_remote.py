"""The guest behind pipes, as a plain process: a container's first one says and hears the same."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from djsci.core.requests import from_parameters
from djsci.engines.bundle import write_guest
from djsci.engines.containers import BOOT
from djsci.guest import frames, remote
from djsci.isolation import container

WAIT = 30.0
Started = Callable[..., "subprocess.Popen[bytes]"]
CODE = """
import os, subprocess, sys
print(os.getpid(), flush=True)
os.write(2, b"raw")
os.setsid() if os.getpid() != os.getsid(0) else None
subprocess.Popen(["sleep", "600"], start_new_session=True)
def djsci_handler(request):
    import time
    time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    """Starts a guest as a container's is: what it runs is sent on its stdin."""
    guest = write_guest(tmp_path / "sent.zip").read_bytes()
    started: list[subprocess.Popen[bytes]] = []
    (tmp_path / "work").mkdir()

    def begin(*, seconds: float = 600) -> "subprocess.Popen[bytes]":
        options = {"mark": "m", "seconds": seconds, "folder": str(tmp_path / "work")}
        options |= {"preload": [], "environment": {"HOME": str(tmp_path)}}
        code = BOOT.replace(container.GUEST, str(tmp_path))
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", code, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(len(guest).to_bytes(4, "big") + guest)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def read(process: "subprocess.Popen[bytes]", size: int) -> bytes:
    data = b""
    assert process.stdout is not None
    while len(data) < size:
        assert select.select([process.stdout], [], [], WAIT)[0]
        piece = os.read(process.stdout.fileno(), size - len(data))
        if not piece:
            return data
        data += piece
    return data


def hear(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    head = read(process, remote.HEAD)
    assert head, "nothing more is said"
    return head[4:], read(process, int.from_bytes(head[:4], "big"))


def say(process: "subprocess.Popen[bytes]", channel: bytes, body: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(frames.frame(channel, body))


def run(process: "subprocess.Popen[bytes]") -> tuple[int, list[bytes]]:
    """Have it run `CODE`; the worker's pid and what was said on which channel until then."""
    preamble = f"{remote.PREAMBLE} m\n".encode()
    assert read(process, len(preamble)) == preamble
    assert b"hello" in hear(process)[1]
    head: dict[str, Any] = {"type": "run", "v": frames.VERSION, "part": "whole", "own": None}
    head |= {
        "request": from_parameters({}).to_dict(),
        "known": {},
        "name": "r.py",
        "kind": "py",
        "cells": [],
    }
    head |= {"has_handler": True, "shim": None, "is_script": False, "hidden": [], "cpu": 60}
    head |= {"reach": {"values": {}, "doors": []}, "result_limit": 1 << 20, "artifact_limit": 0}
    for packet in (*frames.parts("file:r.py", CODE.encode()), *frames.message(head)):
        say(process, remote.PACKET, packet)
    channels: list[bytes] = []
    pid = 0
    while True:
        channel, body = hear(process)
        channels.append(channel)
        if channel == remote.ERR:
            assert body == b"raw"
            return pid, channels
        if channel == remote.PACKET and frames.parse(body)[0] == frames.STDOUT:
            pid = int(frames.parse(body)[1])


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_signal_reaches_the_worker_and_its_end_is_told(start: Started) -> None:
    process = start()
    pid, channels = run(process)
    assert channels[-1:] == [remote.ERR]
    say(process, remote.SIGNAL, b"9")
    said = hear(process)
    while said[0] != remote.EXITED:
        said = hear(process)
    assert json.loads(said[1])["code"] == -9
    assert process.wait(WAIT) == 0
    assert is_gone(pid)


def test_the_end_of_stdin_ends_everything(start: Started) -> None:
    process = start()
    pid, _ = run(process)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(WAIT) == 0
    assert is_gone(pid)
    assert read(process, 1) == b""  # nobody is left who could write: the daemon neither


def test_the_deadline_is_held_without_anybody(start: Started) -> None:
    process = start()
    pid, _ = run(process)
    begun = time.monotonic()
    say(process, remote.DEADLINE, b"0.1")
    assert process.wait(WAIT) == 0
    assert time.monotonic() - begun >= 0.1
    assert is_gone(pid)
