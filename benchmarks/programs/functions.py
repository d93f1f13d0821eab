"""The function that functions-framework serves: `/trivial` and `/table`, the same files."""

import json
import os
import runpy
from typing import Any

FOLDER = os.environ["BENCH_FOLDER"]
HANDLERS = {
    f"/{name}": runpy.run_path(f"{FOLDER}/{name}.py")["djsci_handler"]
    for name in ("trivial", "table")
}


def call(request: Any) -> tuple[str, int, dict[str, str]]:
    return json.dumps(HANDLERS[request.path](request)), 200, {"Content-Type": "application/json"}
