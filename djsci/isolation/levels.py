"""What a fork server's child does to wall itself in, by level. It runs inside the level's wall."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from . import landlock, nest, process, seccomp
from .limits import Limits


class Level(NamedTuple):
    """Called in the child with the request for it; returns the folder that the run works in."""

    enter: Callable[..., str]
    prepare: Callable[[], object] = bytes  # what the children need not do each
    has_init: bool = False  # the run has a first process of its own, which kills the rest

    def __call__(self, request: Mapping[str, Any]) -> str:
        limits = Limits(**request["limits"])
        folder, uid = request["folder"], request["uid"]
        return self.enter(limits, folder, uid=uid, readable=request["readable"])


LEVELS: Mapping[str, Level] = {
    "process": Level(process.enter),
    "landlock": Level(landlock.enter, partial(seccomp.program, has_network=False)),
    "bwrap": Level(nest.enter, seccomp.program, has_init=True),
}
