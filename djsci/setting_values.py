"""System checks of the values in `DJSCI`, inside `POOL` and `RETENTION` too: each has its kind."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from . import conf
from .runs import dispatch


class Kind(NamedTuple):
    """What a value must be: in words, and by a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_texts(value: Any) -> bool:
    """Whether this is a list of texts."""
    is_list = isinstance(value, list | tuple | set)
    return is_list and all(isinstance(item, str) for item in value)


POSITIVE = Kind("a number over 0", lambda value: _is_number(value) and value > 0)
NOT_NEGATIVE = Kind("a number, at least 0", lambda value: _is_number(value) and value >= 0)
COUNT = Kind("a whole number over 0", lambda value: _is_whole(value) and value > 0)
COUNT_OR_0 = Kind("a whole number, at least 0", lambda value: _is_whole(value) and value >= 0)
COUNT_OR_NONE = Kind(f"{COUNT.words}, or None", lambda value: value is None or COUNT.fits(value))
DAYS = Kind(
    "a number of days, at least 0, or None: for ever",
    lambda value: value is None or NOT_NEGATIVE.fits(value),
)
MAPPING = Kind("a dict", lambda value: isinstance(value, Mapping))
TEXTS = Kind("a list of texts", is_texts)
TEXTS_OR_NONE = Kind("a list of texts, or None", lambda value: value is None or is_texts(value))
NAMES = Kind("a list of names, one at least", lambda value: is_texts(value) and all(value or [""]))
TEXT = Kind("a text", lambda value: isinstance(value, str))

_KINDS: dict[Kind, tuple[str, ...]] = {
    POSITIVE: ("TIMEOUT", "LEASE", "HEARTBEAT"),
    NOT_NEGATIVE: ("GRACE", "DRAIN"),
    COUNT: (
        *("OUTPUT_LIMIT", "RESULT_LIMIT", "UPLOAD_LIMIT", "MEMORY_LIMIT", "PIDS_LIMIT"),
        *("THREADS", "QUEUE_PER_USER", "QUEUE"),
    ),
    COUNT_OR_0: ("RETRIES", "ARTIFACT_LIMIT"),
    COUNT_OR_NONE: ("RUNNING", "RUNNING_PER_USER", "RUNNING_PER_FILE"),
    MAPPING: ("ENGINES", "CONNECTIONS", "CONTAINER", "ENVIRONMENTS", "POOL", "RETENTION"),
    TEXTS: ("PROVISIONERS", "ALLOWED_ORIGINS", "TRUSTED_PROXIES"),
    NAMES: ("QUEUES",),
    TEXT: ("ISOLATION", "DISPATCHER", "STORAGE"),
}
_MEMBERS: dict[str, dict[str, Kind]] = {
    "POOL": {"size": COUNT_OR_0, "preload": TEXTS_OR_NONE, "recycle": POSITIVE},
    "RETENTION": {"logs": DAYS, "runs": DAYS, "environments": DAYS},
}


def keys() -> Iterator[CheckMessage]:
    """Names that there are not, in `DJSCI` and in those of its dicts whose names are ours."""
    configured = getattr(settings, "DJSCI", {})
    if not isinstance(configured, Mapping):
        yield Error("DJSCI is not a dict.", id="djsci.E002")
        return
    yield from _unknown("DJSCI", configured, conf.DEFAULTS)
    for key, members in _MEMBERS.items():
        if isinstance(configured.get(key), Mapping):
            yield from _unknown(f"DJSCI[{key!r}]", configured[key], members)


def _unknown(
    where: str, found: Mapping[Any, Any], known: Mapping[str, Any]
) -> Iterator[CheckMessage]:
    for key in sorted(set(found) - set(known), key=str):
        hint = "Known keys: " + ", ".join(known)
        yield Error(f"{where} has no key {key!r}.", hint=hint, id="djsci.E001")


def kinds() -> Iterator[CheckMessage]:
    """Values that nothing can be made of."""
    for kind, names in _KINDS.items():
        for key in names:
            yield from _misfit(f"DJSCI[{key!r}]", conf.get(key), kind)
    for key, members in _MEMBERS.items():
        values = conf.get(key)
        for name, kind in members.items() if isinstance(values, Mapping) else ():
            yield from _misfit(f"DJSCI[{key!r}][{name!r}]", values[name], kind)


def _misfit(where: str, value: Any, kind: Kind) -> Iterator[CheckMessage]:
    if not kind.fits(value):
        yield Error(f"{where} is not {kind.words}.", id="djsci.E002")


def default_queue() -> Iterator[CheckMessage]:
    """The queue of files that name none, where this process's executor is to serve it."""
    is_local = dispatch.path() == dispatch.ALIASES["local"]
    if is_local and "default" not in conf.get("QUEUES"):
        text = "DJSCI['QUEUES'] has no 'default': runs of files that name no queue wait for ever."
        hint = 'Add it, as in ["default", "gpu"], unless another process serves it.'
        yield Warning(text, hint=hint, id="djsci.W011")
