"""Counts of failures per address, without a database row.

They are kept in Django's default cache. Where that is shared (Redis, Memcached, files) the limit
holds over all processes; with the local-memory cache, or while the cache is away, over one.
"""

import logging
import math
import time

from django.conf import settings
from django.core.cache import BaseCache, caches
from django.core.cache.backends.locmem import LocMemCache

from djsci.core.errors import LimitReached

from .addresses import neighbourhood

logger = logging.getLogger("djsci.access")

MOST_FAILED_TOKENS = 10
FAILED_TOKENS_SECONDS = 60
_NO_COUNTERS = (
    "django.core.cache.backends.dummy.DummyCache",  # forgets
    "django.core.cache.backends.db.DatabaseCache",  # a refusal would write to the database
)
_here = LocMemCache("djsci-limits", {"MAX_ENTRIES": 10_000})


def count_failed_token(address: str) -> None:
    """Note a token that was refused. Raises `LimitReached` when the address had its share."""
    subject = f"token:{neighbourhood(address)}"
    count, seconds_left = counted(subject, seconds=FAILED_TOKENS_SECONDS)
    if count > MOST_FAILED_TOKENS:
        logger.warning("too many failed tokens from %s", neighbourhood(address))
        raise LimitReached(
            f"FAILED_TOKENS: more than {MOST_FAILED_TOKENS} tokens a minute were refused.",
            retry_after=seconds_left,
        )


def counted(subject: str, *, seconds: int) -> tuple[int, int]:
    """Count one more; how many there are in this window, and the seconds that it still lasts."""
    try:
        return _counted(_cache(), subject, seconds)
    except Exception:
        logger.warning("the cache is away: failures are counted in this process only")
        return _counted(_here, subject, seconds)


def _counted(cache: BaseCache, subject: str, seconds: int) -> tuple[int, int]:
    """A window begins with its first failure; its counter is named after its end."""
    now = time.time()
    key = f"djsci:{subject}"
    end = int(cache.get_or_set(key, math.ceil(now + seconds), seconds) or 0)
    counter = f"{key}:{end}"
    cache.add(counter, 0, 2 * seconds)
    try:
        return cache.incr(counter), max(1, math.ceil(end - now))
    except ValueError:  # evicted between the two calls
        return 1, seconds


def _cache() -> BaseCache:
    if settings.CACHES["default"]["BACKEND"] in _NO_COUNTERS:
        return _here
    return caches["default"]
