"""djsci: a notebook or a Python file with a `djsci_handler(request)` becomes a live API.

Imported by the server and, inside a handler, by user code: nothing here imports Django.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .guest.api import artifact, cancelled, log, params, progress, request, result
    from .guest.files import File
    from .guest.responses import Response

    run: dict[str, Any]

__version__ = "0.1.0"
__all__ = ["File", "Response", "artifact", "cancelled", "log", "params", "progress", "request"]
__all__ += ["result", "run"]


def __getattr__(name: str) -> Any:
    """The guest's interface, loaded when first used; `run` is what is known of the present run."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .guest import api

    value = getattr(api, name)
    return value() if name == "run" else value
