"""What Django logs of a request is its path: a token there must not stay in a log."""

import logging
import re

LOGGERS = ("django.request", "django.server")
_SECRET = re.compile(r"(djsci_)[0-9A-Za-z]{36,}")


class WithoutTokens(logging.Filter):
    """Lets every record pass, its tokens as dots."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SECRET.sub(r"\1…", each) if isinstance(each, str) else each for each in record.args
            )
        return True


def hide_tokens() -> None:
    """Have the loggers that name paths hide tokens; asked twice it does nothing more."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, WithoutTokens) for each in logger.filters):
            logger.addFilter(WithoutTokens())
