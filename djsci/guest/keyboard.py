"""Nobody sits before a run: what asks for a keyboard says so at once."""

import builtins
import getpass
import sys
from typing import Any

from IPython.core.error import StdinNotImplementedError


def take_away() -> None:
    """`input`, `getpass` and `breakpoint` fail from now on."""
    builtins.input = no_input
    getpass.getpass = no_getpass
    sys.breakpointhook = no_breakpoint


def no_input(prompt: object = "") -> str:
    raise StdinNotImplementedError("input() has nothing to read: a run has no keyboard")


def no_getpass(*_: Any, **__: Any) -> str:
    raise StdinNotImplementedError("getpass() has nothing to read: a run has no keyboard")


def no_breakpoint(*_: Any, **__: Any) -> None:
    raise RuntimeError("breakpoint(): a run has no terminal to debug it in")
