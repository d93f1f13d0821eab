"""A Python that runs may be given: another environment's, with what it reads."""

import json
import os
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

LEAST = (3, 11)
LOOK = """
import json, site, sys
print(json.dumps({
    "version": sys.version_info[:3],
    "paths": [sys.prefix, sys.base_prefix, sys.base_exec_prefix],
    "packages": site.getsitepackages(),
}))
"""
STARTING = 30.0  # seconds


class Python(NamedTuple):
    """`program` starts it, `paths` are all that it reads, `packages` are where libraries are.

    `starter`: all of it is the users', as their code is: wheels replace programs, `pyvenv.cfg` and
    what Python reads as it starts. Nothing outside of a wall starts `program` or loads anything of
    it; this other program does, and becomes it inside.
    """

    program: str
    paths: tuple[str, ...]
    packages: tuple[str, ...]
    version: str = ""  # as 3.12.4
    starter: str = ""


def find(place: str) -> Python:
    """The Python of an environment's folder, or that program. Raises `OSError` with what to do."""
    program = os.path.join(place, "bin", "python") if os.path.isdir(place) else place
    if not (os.path.isabs(place) and os.access(program, os.X_OK)):
        raise FileNotFoundError(
            f"{place} holds no Python: name the folder of a virtual environment, in full"
        )
    return _look(program, os.stat(program).st_mtime_ns)


def guarded(folder: str, base: Python) -> Python:
    """The Python of the environment in `folder`, which `base` made; nothing of it is started."""
    short = ".".join(base.version.split(".")[:2])
    packages = os.path.join(folder, "lib", f"python{short}", "site-packages")
    program = os.path.join(folder, "bin", "python")
    return Python(program, (folder, *base.paths), (packages,), base.version, base.program)


@lru_cache(maxsize=32)
def _look(program: str, _: int) -> Python:
    asked = [program, "-I", "-c", LOOK]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=STARTING, check=True)  # noqa: S603
        found = json.loads(said.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise OSError(f"{program} does not start: {type(error).__name__}") from error
    version = _dotted(found["version"])
    if tuple(found["version"][:2]) < LEAST:
        raise OSError(f"{program} is Python {version}; {_dotted(LEAST)} is needed")
    paths = dict.fromkeys(os.path.realpath(path) for path in found["paths"])
    every = tuple({found["paths"][0]: None, **paths})
    return Python(program, every, tuple(found["packages"]), version)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
