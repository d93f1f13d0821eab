"""A file's own settings: which there are, what they may be, and which only superusers set.

A file tightens the site's limits and never loosens its isolation.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from djsci.core import adapters
from djsci.core.errors import BadRequest, Forbidden

from . import conf
from .models import PrivateFile

ENGINES = ("auto", "fork", "kernel", "thread")
LEVELS = ("auto", "process", "landlock", "bwrap", "container")  # each stronger than the last
INSTANCES = ("fresh", "warm")
OUTPUTS = ("static", "interactive")
MOST_RETRIES = 10

Check = Callable[[Any], str | None]


def _one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"One of {', '.join(allowed)}."


def _known(key: str) -> Check:
    def check(value: Any) -> str | None:
        known = sorted(conf.get(key))
        return None if value in known else f"One of {', '.join(known) or '(none is set up)'}."

    return check


def _number_up_to(key: str, unit: str) -> Check:
    def check(value: Any) -> str | None:
        most = conf.get(key)
        if not _is_number(value) or not 0 < value <= most:
            return f"A number over 0 and at most {most} {unit}, the site's own limit."
        return None

    return check


def _whole(least: int, most: int | None) -> Check:
    def check(value: Any) -> str | None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < least or (most is not None and value > most):
            limit = f" and at most {most}" if most is not None else ""
            return f"A whole number, at least {least}{limit}."
        return None

    return check


def _concurrency(value: Any) -> str | None:
    return _whole(1, conf.get("RUNNING_PER_FILE"))(value)


def _connections(value: Any) -> str | None:
    known = {*conf.get("CONNECTIONS"), "open"}
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return "A list of names."
    unknown = sorted(set(value) - known)
    return f"Unknown: {', '.join(unknown)}." if unknown else None


def _level(value: Any) -> str | None:
    """Below a level that the site names a file's own would do nothing; what `auto` is depends."""
    site = conf.get("ISOLATION")
    if value in LEVELS and site in LEVELS and 0 < LEVELS.index(value) < LEVELS.index(site):
        return f"The site's own level is {site!r}: a file may ask for more, not for less."
    return _one_of(*LEVELS)(value)


def _adapter(value: Any) -> str | None:
    return _one_of(*adapters.names())(value)


CHECKS: dict[str, Check] = {
    "adapter": _adapter,
    "engine": _one_of(*ENGINES),
    "instance": _one_of(*INSTANCES),
    "isolation": _level,
    "environment": _known("ENVIRONMENTS"),
    "connections": _connections,
    "timeout": _number_up_to("TIMEOUT", "seconds"),
    "memory": _number_up_to("MEMORY_LIMIT", "bytes"),
    "retries": _whole(0, MOST_RETRIES),
    "queue": _known("QUEUES"),
    "concurrency": _concurrency,
    "output": _one_of(*OUTPUTS),
}


def apply(
    file: PrivateFile,
    values: Mapping[str, Any],
    *,
    is_superuser: bool,
    is_trusted: bool | None = None,
) -> None:
    """Put `values` on `file`, which the caller saves. Raises `BadRequest`, `Forbidden`.

    `is_trusted`: whether the version will be trusted, where the caller settles that.

    What only superusers set may be named by others as long as it stays, or is given up.
    """
    wanted = {key: value for key, value in values.items() if key not in {"access", "trusted"}}
    errors = {key: message for key, value in wanted.items() if (message := _refuse(key, value))}
    if "access" in values and values["access"] not in PrivateFile.Access.values:
        errors["access"] = f"One of {', '.join(PrivateFile.Access.values)}."
    if "trusted" in values and not isinstance(values["trusted"], bool):
        errors["trusted"] = "true or false."
    if errors:
        raise BadRequest(
            "; ".join(f"{key}: {message}" for key, message in errors.items()),
            errors=[{"field": key, "message": message} for key, message in errors.items()],
        )
    _trust(file, values.get("trusted"), is_superuser=is_superuser)
    if is_trusted is None:
        is_trusted = file.is_trusted
    _require_privilege(file, wanted, is_superuser=is_superuser, is_trusted=is_trusted)
    file.access = values.get("access", file.access)
    merged = {**(file.settings or {}), **wanted}
    file.settings = {key: value for key, value in merged.items() if value is not None}


def privileges(file: PrivateFile) -> dict[str, Any]:
    """What of a file's settings decides who may run it and what it may reach, for the audit."""
    present = file.settings or {}
    return {
        "access": file.access,
        "trusted": file.trusted_version.sha256 if file.trusted_version else None,
        "connections": sorted(present.get("connections") or []),
        "owner": None if file.owner_id is None else str(file.owner_id),
        "engine": "thread" if present.get("engine") == "thread" else "isolated",
    }


def _refuse(key: str, value: Any) -> str | None:
    if key not in CHECKS:
        return f"No such setting. There are {', '.join(CHECKS)}, access and trusted."
    return None if value is None else CHECKS[key](value)


def _trust(file: PrivateFile, wanted: bool | None, *, is_superuser: bool) -> None:
    if wanted is None or wanted == file.is_trusted:
        return
    if not is_superuser:
        raise _only_superusers("trusted")
    if wanted and file.version is None:
        raise BadRequest("There is no version to trust yet.")
    file.trusted_version = file.version if wanted else None


def _require_privilege(
    file: PrivateFile, wanted: Mapping[str, Any], *, is_superuser: bool, is_trusted: bool
) -> None:
    present = file.settings or {}
    granted = set(present.get("connections") or [])
    if not is_superuser and not set(wanted.get("connections") or []) <= granted:
        raise _only_superusers("connections")
    if wanted.get("engine") != "thread" or present.get("engine") == "thread":
        return
    if not is_superuser:
        raise _only_superusers("engine")
    if not is_trusted:
        message = "Only a trusted version may share the server's process."
        raise BadRequest(message, errors=[{"field": "engine", "message": message}])


def _only_superusers(field: str) -> Forbidden:
    message = "Only superusers set this."
    return Forbidden(f"{field}: {message}", errors=[{"field": field, "message": message}])


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
