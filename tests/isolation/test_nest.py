"""The wall of a fork server's child, inside bwrap's."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from djsci.isolation import bwrap, evidence, probe, users
from djsci.isolation.limits import Limits
from tests.isolation.conftest import need

CHILD = """
import os, sys, time
sys.path.append({root!r})
from djsci.isolation import nest
from djsci.isolation.limits import Limits
{made}
heard, report = os.pipe()
if nest.fork() == 0:
    folders = [nest.Folder("/tmp", 1 << 20), nest.Folder("/workdir", 1 << 20)]
    nest.separate(folders, kept=[{kept}], report=report{first})
    nest.close(Limits(), writable=("/tmp", "/workdir"))
    {body}
    os._exit(0)
os.wait()
print(os.waitstatus_to_exitcode(nest.STATUS.unpack(os.read(heard, 4))[0]))
"""


def run(body: str, first: str = "", kept: str = "", made: str = "") -> str:
    root = str(Path(__file__).parent.parent.parent)
    code = CHILD.format(root=root, body=body, first=first, kept=kept, made=made)
    argv = [sys.executable, "-I", "-c", code]
    with users.lease() as uid:
        command = bwrap.command(
            argv, environment={"PATH": os.defpath}, limits=Limits(), uid=uid, may_nest=True
        )
        with subprocess.Popen(command, env={}, stdout=subprocess.PIPE, text=True) as started:
            assert started.stdout is not None
            assert select.select([started.stdout], [], [], 20)[0]
            return started.communicate(timeout=20)[0].strip()


def test_no_canary_is_red_in_a_wall_inside_the_wall() -> None:
    need("bwrap")
    assert probe.run(evidence.NESTED) == []
    assert probe.probe(evidence.NESTED) is None


def test_the_worker_is_never_the_first_process() -> None:
    need("bwrap")
    assert run("print(os.getpid(), os.getppid(), flush=True)").split() == ["2", "1", "0"]


def test_two_runs_share_no_file_and_no_memory() -> None:
    need("bwrap")
    body = (
        "print(os.listdir('/tmp'), os.listdir('/workdir'), flush=True);"
        " open('/tmp/mine', 'w').close(); open('/workdir/mine', 'w').close()"
    )
    assert [run(body), run(body)] == ["[] []\n0", "[] []\n0"]


def test_what_lies_in_a_covered_folder_is_there_where_it_is_kept() -> None:
    need("bwrap")
    made = "open('/tmp/kept', 'w').write('x'); os.makedirs('/tmp/a/b'); open('/tmp/gone', 'w'); "
    body = (
        "print(sorted(os.listdir('/tmp')), open('/tmp/kept').read(), os.listdir('/tmp/a'),"
        " flush=True)"
    )
    assert run(body, kept="'/tmp/kept', '/tmp/a/b'", made=made) == "['a', 'kept'] x ['b']\n0"


def test_when_the_first_process_ends_the_kernel_kills_the_rest() -> None:
    need("bwrap")
    body = "os.setsid(); os.fork(); os.fork(); time.sleep(60)"
    assert run(body, first=", as_first=lambda worker: time.sleep(0.2) or 3 << 8") == "3"


@pytest.mark.parametrize(
    ("body", "code"), [("os._exit(139)", "139"), ("os.kill(os.getpid(), 11)", "-11")]
)
def test_a_signal_is_told_from_an_exit_code(body: str, code: str) -> None:
    need("bwrap")
    assert run(body) == code
