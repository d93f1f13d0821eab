"""A site on which something has happened: a run in each state, versions, tokens, and all pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from .handlers import ipynb
from .sites import Place

RICH = """
import pandas as pd
from IPython.display import HTML, Latex, Markdown, display, clear_output
import matplotlib.pyplot as plt
import djsci

def djsci_handler(request, rows: int = 4, more: bool = True):
    print("\\x1b[1mreading\\x1b[0m", rows, "rows")
    import sys; print("\\x1b[33mwarning\\x1b[0m: one is old", file=sys.stderr)
    frame = pd.DataFrame({"item": ["desk", "lamp", "sofa", "rug"], "price": [120.5, 30, 899, 75]})
    display(frame)
    display(Markdown("# Sales\\n\\nOf *this* week, see [all](https://example.org)."))
    display(Latex("$a^2 + b^2$"))
    display({"application/json": {"a": [1, 2, {"b": None}]}}, raw=True)
    plt.figure(figsize=(5, 2.5)); plt.plot([3, 1, 4, 1, 5]); plt.show()
    open("report.csv", "w").write(frame.to_csv())
    return frame if more else frame[1:]
"""


@dataclass
class Stage:
    """The runs by what became of them, and the paths of every page by name."""

    runs: dict[str, str]
    pages: dict[str, str]


@contextmanager
def staged(place: Place, folder: Path) -> Iterator[Stage]:
    """Things happen on the site; what runs, runs until the end of the block."""
    api = f"{place.url}/djsci/api/v1"
    bearer = place.made.bearer("ada")
    for cells in ([RICH], ["# A second cell", RICH + "\n# changed"]):
        content = ipynb(*cells).encode()
        known = httpx.get(f"{api}/files/rich/", headers=bearer).status_code == 200
        files = {"file": ("rich.ipynb", content)}
        if known:
            done = httpx.put(f"{api}/files/rich/", files=files, headers=bearer)
        else:
            data = {"name": "rich"}
            done = httpx.post(f"{api}/files/", files=files, data=data, headers=bearer)
        assert done.status_code in (200, 201), done.text
    gate = folder / "gate"
    try:
        runs = {
            "succeeded": place.run("rich", {}),
            "failed": place.run("fails", {}),
            "quoted": place.run("rich", {"rows": 5, "more": False}),
            "typed": place.run("typed", {"name": "Ada"}),
            "running": place.start("steps", {"lines": 3, "gate": str(gate)}),
        }
        place.shell(
            "from djsci.models import Run\n"
            f"Run.objects.filter(pk={runs['typed']!r}).update(pruned=True)"
        )
        yield Stage(runs, _pages(runs))
    finally:
        gate.touch()


def _pages(runs: dict[str, str]) -> dict[str, str]:
    console = "/djsci/console"
    return {
        "catalogue": f"{console}/",
        "catalogue-nothing": f"{console}/?q=nothing-is-called-so",
        "upload": f"{console}/files/new/",
        "file": f"{console}/files/typed/",
        "file-nested": f"{console}/files/nested/",
        "file-notebook": f"{console}/files/rich/",
        "source": f"{console}/files/rich/source/",
        "versions": f"{console}/files/rich/versions/",
        "api": f"{console}/files/typed/api/",
        "settings": f"{console}/files/rich/settings/",
        "delete": f"{console}/files/rich/settings/delete/",
        "runs": f"{console}/runs/",
        "runs-nothing": f"{console}/runs/?state=lost",
        "run-succeeded": f"{console}/runs/{runs['succeeded']}/",
        "run-failed": f"{console}/runs/{runs['failed']}/",
        "run-running": f"{console}/runs/{runs['running']}/",
        "run-pruned": f"{console}/runs/{runs['typed']}/",
        "compare": f"{console}/runs/compare/?run={runs['succeeded']}&run={runs['quoted']}",
        "compare-pruned": f"{console}/runs/compare/?run={runs['typed']}&run={runs['failed']}",
        "notebook": f"{console}/runs/{runs['succeeded']}/notebook/",
        "tokens": f"{console}/tokens/",
        "health": f"{console}/health/",
        "missing": f"{console}/runs/nothing/",
        "docs": "/djsci/api/v1/docs",
        "login": f"/accounts/login/?next={quote(console)}/",
    }
