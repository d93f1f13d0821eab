"""Notebooks for Jupyter's kernel gateway: cells that begin with `# GET /path/:id`."""

import re
from typing import Any, ClassVar

from djsci.core.annotations import Schema

from .base import Adapter, Code, shim_text

_ROUTE = re.compile(
    r"\s*#+\s*(?P<info>ResponseInfo\s+)?(?P<method>GET|POST|PUT|PATCH|DELETE)\s+(?P<path>/\S*)",
    re.IGNORECASE,
)


class Gateway(Adapter):
    """The cells without a route run first; the one whose route fits runs with `REQUEST`.

    What it prints is the answer's body; the cell `# ResponseInfo GET /path` prints its head.
    """

    name: ClassVar[str] = "gateway"
    unasked: ClassVar[tuple[str, ...]] = ("ipynb",)

    def reads(self, code: Code) -> bool:
        return code.kind == "ipynb" and any(not route["info"] for route in _routes(code))

    def parameters(self, code: Code) -> Schema:
        return {"type": "object", "properties": {}, "additionalProperties": True}

    def takes_parameters(self, code: Code) -> bool:
        return False

    def shim(self, code: Code) -> str:
        return shim_text("gateway", _routes(code))

    def unplayed(self, code: Code) -> frozenset[int]:
        return frozenset(route["cell"] for route in _routes(code))


def _routes(code: Code) -> list[dict[str, Any]]:
    found = []
    for index, text in enumerate(code.texts, 1):
        match = _ROUTE.match(text)
        if match is not None:
            route = {"method": match["method"].upper(), "path": match["path"], "cell": index}
            found.append({**route, "info": bool(match["info"]), "text": text})
    return found
