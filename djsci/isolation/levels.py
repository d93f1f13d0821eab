"""What a fork server's child does to wall itself in, by level. It runs inside the level's wall."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from . import landlock, nest, process, seccomp
from .limits import Limits


class Level(NamedTuple):
    """Called in the child with the request for it; returns the folder that the run works in.

    `confine` walls off what a run forks for each of its calls: a folder, a number of processes.
    """

    enter: Callable[..., str]
    prepare: Callable[[], object] = bytes  # what the children need not do each
    fork: Callable[[], int] = os.fork
    confine: Callable[[str, int], object] = process.confine
    has_init: bool = False  # the child becomes the run's first process, and reports how it ended

    def __call__(self, request: Mapping[str, Any], *, report: int | None = None) -> str:
        limits = Limits(**request["limits"])
        folder, uid, readable = request["folder"], request["uid"], request["readable"]
        if self.has_init:
            return self.enter(limits, folder, readable=readable, report=report)
        return self.enter(limits, folder, uid=uid, readable=readable)


LEVELS: Mapping[str, Level] = {
    "process": Level(process.enter),
    "landlock": Level(
        landlock.enter,
        partial(seccomp.program, has_network=False, shares_ipc=True),
        confine=landlock.confine,
    ),
    "bwrap": Level(nest.enter, seccomp.program, nest.fork, nest.confine, has_init=True),
    "landlock+network": Level(
        partial(landlock.enter, has_network=True),
        partial(seccomp.program, has_network=True, shares_ipc=True),
        confine=landlock.confine,
    ),
    "bwrap+network": Level(
        partial(nest.enter, has_network=True),
        seccomp.program,
        partial(nest.fork, nest.IN_NETWORK),
        nest.confine,
        has_init=True,
    ),
}
