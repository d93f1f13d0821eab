"""A worker's first steps."""

import subprocess
import sys

BECOME = """
import itertools, os
from djsci.guest import worker

def heard(places):
    pipes = [os.pipe() for _ in places]
    pid = os.fork()
    if pid == 0:
        far = [os.dup2(os.dup2(write, 50 + at), place) for at, (place, (_, write))
               in enumerate(zip(places, pipes))]
        report = worker.become(*far)
        for name, descriptor in zip(("run", "out", "err", "report"), (worker.RUN, 1, 2, report)):
            os.write(descriptor, name.encode())
        os._exit(0)
    for _, write in pipes:
        os.close(write)
    os.waitpid(pid, 0)
    said = [os.read(read, 100).decode() for read, _ in pipes]
    for read, _ in pipes:
        os.close(read)
    return said

for places in itertools.permutations(range(99, 105), 4):
    assert heard(places) == ["run", "out", "err", "report"], places
"""


def test_a_workers_descriptors_may_have_any_numbers_before_it_moves_them() -> None:
    done = subprocess.run([sys.executable, "-c", BECOME], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
