"""The one door to engines: admit, execute, record, follow."""

from .admit import Started, start
from .cancel import cancel
from .following import follow, wait_news
from .log import Page
from .reading import (
    RunView,
    describe,
    finish,
    get,
    get_now,
    iso,
    page,
    public_error,
    result_text,
    view,
)
from .repeat import repeat

__all__ = [
    "Page",
    "RunView",
    "Started",
    "cancel",
    "describe",
    "finish",
    "follow",
    "get",
    "get_now",
    "iso",
    "page",
    "public_error",
    "repeat",
    "result_text",
    "start",
    "view",
    "wait_news",
]
