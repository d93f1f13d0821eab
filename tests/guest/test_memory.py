"""The fork server's memory in large pages, where the system has them."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, re
from djsci.guest import memory
kept = [bytes([number % 256]) * 4096 for number in range(8192)]  # 32 MiB in small pieces

def large():
    return int(re.search(r"AnonHugePages: +(\\d+)", open("/proc/self/smaps_rollup").read())[1])

before, done, after = large(), memory.collapse(), large()
child = os.fork()
if child == 0:
    kept[0] = b"x"
    os._exit(all(piece[0] == number % 256 for number, piece in enumerate(kept) if number) - 1)
_, status = os.waitpid(child, 0)
print(before, done, after, status, all(kept[n] == bytes([n % 256]) * 4096 for n in range(8192)))
"""


def test_what_was_written_is_put_into_large_pages_and_stays_what_it_was() -> None:
    run = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60)
    before, done, after, status, is_whole = said.stdout.split()
    assert (status, is_whole) == ("0", "True")
    if done == "0":
        pytest.skip("this kernel makes no large pages on demand (MADV_COLLAPSE, Linux 6.1)")
    assert int(after) >= int(before) + int(done) * 1024
