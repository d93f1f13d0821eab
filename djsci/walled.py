"""System checks of whom walled runs are, where the server is root."""

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error

from djsci.isolation import cures

from . import conf

MOST = (1 << 32) - 2


def users_of_runs() -> Iterator[CheckMessage]:
    """`UID_RANGE` is two numbers, none of them root's, that exist where the server runs."""
    chosen = conf.get("UID_RANGE")
    if chosen is None:
        return
    if not _is_range(chosen):
        hint = "The first and the last, as (62464, 63487), or None."
        yield Error("DJSCI['UID_RANGE'] is no range of users.", hint=hint, id="djsci.E022")
    elif reason := cures.of_users(cures.look(), (chosen[0], chosen[1])):
        text = "DJSCI['UID_RANGE'] cannot be used here; every walled run is refused."
        yield Error(text, hint=reason, id="djsci.E022")


def _is_range(chosen: object) -> bool:
    if not (isinstance(chosen, list | tuple) and len(chosen) == 2):
        return False
    first, last = chosen
    is_whole = all(type(number) is int for number in chosen)
    return is_whole and 0 < first <= last <= MOST
