"""A worker with an interpreter of its own, where none can be forked: the wall stands already."""

import json
import os
import sys
from typing import Any

from . import forkserver, processes, worker


def main(level: Any) -> None:
    """`argv` ends in the run's socket and the options as JSON; stdout and stderr are its pipes."""
    processes.stay_in_front()
    options = json.loads(sys.argv[-1])
    shell = forkserver.prepare(options["preload"], may_have_threads=True)
    worker.become(int(sys.argv[-2]), os.dup(1), os.dup(2))
    worker.serve(shell, options["folder"] or os.getcwd(), level)
