"""Formats that people already have, each read by an adapter: which one reads a file.

An adapter looks at syntax trees only. Others' join under the entry point group `djsci.adapters`.
"""

import functools
import logging
from collections.abc import Mapping
from importlib.metadata import entry_points

from .argparse_script import ArgparseScript
from .base import Adapter, Code
from .gateway import Gateway
from .http_function import HttpFunction
from .lambda_handler import LambdaHandler
from .main_function import MainFunction

__all__ = ["AUTO", "HANDLER", "NOTEBOOK", "Adapter", "Code", "find", "known", "names"]

logger = logging.getLogger(__name__)
AUTO = "auto"
HANDLER = "handler"  # no adapter is needed: the file defines `djsci_handler`
NOTEBOOK = "notebook"  # nor here: the cells are the run
GROUP = "djsci.adapters"
_OURS = (HttpFunction(), LambdaHandler(), ArgparseScript(), MainFunction(), Gateway())


@functools.cache
def known() -> Mapping[str, Adapter]:
    """The adapters by name, in the order in which they are asked: ours first."""
    found: dict[str, Adapter] = {adapter.name: adapter for adapter in _OURS}
    for entry in entry_points(group=GROUP):
        try:
            made = entry.load()()
        except Exception:
            logger.exception("the adapter %s cannot be loaded", entry.name)
            continue
        if isinstance(made, Adapter) and made.name not in (AUTO, HANDLER, NOTEBOOK):
            found.setdefault(made.name, made)
        else:
            logger.error("%s is no adapter: %r", entry.name, made)
    return found


def names() -> list[str]:
    """What a file's setting `adapter` may be."""
    return [AUTO, HANDLER, NOTEBOOK, *known()]


def find(code: Code) -> Adapter | None:
    """The first adapter that reads this, of those that are tried on its kind unasked."""
    asked = (adapter for adapter in known().values() if code.kind in adapter.unasked)
    return next((adapter for adapter in asked if adapter.reads(code)), None)
