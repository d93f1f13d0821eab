"""The server's log: one JSON line an event, about which run, and without tokens or queries."""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

LOGGERS = (
    *("django.request", "django.server", "django.channels.server"),
    *("uvicorn.access", "uvicorn.error"),
)
_SECRET = re.compile(r"(djsci_)[0-9A-Za-z]{36,}")
_QUERY = re.compile(r"\?\S*")
_about: ContextVar[dict[str, Any]] = ContextVar("djsci_about", default={})  # noqa: B039 - not changed
_process: dict[str, Any] = {}


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """What is logged inside, in threads of `in_database` too, has these fields."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def of_process(**fields: Any) -> None:
    """All that this process logs from now on has these fields."""
    _process.update(fields)


class JsonLines(logging.Formatter):
    """`time level logger message pid`; `executor run lease` where known; `error`: a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _masked(record.getMessage()),
            "pid": os.getpid(),
            **_process,
            **_about.get(),
        }
        if record.exc_info:
            line["error"] = _masked(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


class WithoutTokens(logging.Filter):
    """Lets every record pass, its tokens and queries as dots."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, Mapping):
            record.args = {name: _plain(each) for name, each in record.args.items()}
        elif isinstance(record.args, tuple):
            record.args = tuple(map(_plain, record.args))
        return True


def _plain(value: Any) -> Any:
    return _QUERY.sub("?…", _masked(value)) if isinstance(value, str) else value


def _masked(text: str) -> str:
    return _SECRET.sub(r"\1…", text)


def hide_tokens() -> None:
    """Have the loggers that name addresses hide what is secret; asked twice it does no more."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, WithoutTokens) for each in logger.filters):
            logger.addFilter(WithoutTokens())
