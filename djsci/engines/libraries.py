"""Whether an environment has what a file's header asks for; its metadata are read, no code."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import Distribution

from packaging.requirements import Requirement

from djsci.core.requirements import Requirements

from . import installed


def lacking(
    requirements: Requirements, version: str, packages: Sequence[str] = ()
) -> tuple[str, ...]:
    """The dependencies that a Python of this version does not have in `packages`, or in ours."""
    stamp = installed.stamp(packages)
    return _lacking(requirements.dependencies, version, tuple(packages), stamp)


@lru_cache(maxsize=512)
def _lacking(
    dependencies: tuple[str, ...], version: str, packages: tuple[str, ...], _: object
) -> tuple[str, ...]:
    return tuple(one for one in dependencies if not _has(Requirement(one), version, packages))


def _has(wanted: Requirement, version: str, packages: tuple[str, ...]) -> bool:
    about = {
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "extra": "",
    }
    try:
        if wanted.marker is not None and not wanted.marker.evaluate(about):
            return True
        places = list(packages or sys.path)
        found = next(iter(Distribution.discover(name=wanted.name, path=places)), None)
        return found is not None and wanted.specifier.contains(found.version, prereleases=True)
    except (ValueError, KeyError):  # a marker that compares nothing, a version that is none
        return False
