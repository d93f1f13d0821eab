"""The files of the browser's tests: each does one thing that a page has to show."""

import json
from typing import Any

SHOW = """
from IPython.display import display

def djsci_handler(request, bundles: list):
    for bundle in bundles:
        display(bundle, raw=True)
"""
REPORT = """
import sys, time
import matplotlib.pyplot as plt
from tqdm import tqdm
from IPython.display import HTML, display

def djsci_handler(request, steps: int = 30, pause: float = 0.02, title: str = "All of it"):
    '''Walks some steps and reports.

    With a picture and a table.'''
    plt.plot(range(steps)); plt.show()
    display(HTML("<b>bold</b><script>parent.document.title = 'owned'</script>"))
    for step in tqdm(range(steps), file=sys.stdout):
        time.sleep(pause)
    print("\\x1b[32mgreen\\x1b[0m <b>not bold</b>")
    print("to stderr", file=sys.stderr)
    return [{"step": step, "big": 9007199254740993 + step} for step in range(3)]
"""
STEPS = """
import asyncio
from pathlib import Path

async def djsci_handler(request, lines: int = 60, gate: str = ""):
    '''Prints numbered lines, each an event of its own; `gate`: a file that it waits for.'''
    for number in range(lines):
        print(f"line {number:05}", flush=True)
        await asyncio.sleep(0.06)
    while gate and not Path(gate).exists():
        await asyncio.sleep(0.02)
    print("over")
    return lines
"""
MANY = """
def djsci_handler(request, lines: int = 200_000):
    for number in range(lines):
        print(f"line {number:06}")
"""
FAILS = [
    "print('before')",
    "ready = True",
    "def djsci_handler(request):\n    print('inside')\n    rows = {'auc': 1}\n"
    "    return rows['<img src=x onerror=alert(1)>']\n",
]
STUBBORN = """
import time

def djsci_handler(request, seconds: float = 8.0):
    print("deaf", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass
"""
BARS = """
import sys, time
from tqdm import tqdm

def djsci_handler(request):
    for outer in tqdm(range(3), desc="outer", position=0):
        for inner in tqdm(range(10), desc="inner", position=1, leave=False):
            time.sleep(0.01)
    from IPython.display import display, clear_output
    shown = display("count 0", display_id=True)
    for number in range(1, 40):
        shown.update(f"count {number}")
        time.sleep(0.01)
    display("kept")
"""
HOSTILE = """
import sys
from IPython.display import display

def djsci_handler(request):
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    print("\\x1b[2000000000Cx", "\\x1b[999999999Ax")
    print(evil)
    print("\\x1b]8;;javascript:alert(1)\\x1b\\\\linked\\x1b]8;;\\x1b\\\\ \\x1b]0;title\\x07after")
    print("bidi \\u202eevil\\u202c \\u2066x\\u2069 \\x9b31mc1")
    display({"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40' "
             "onload='alert(1)'><script>alert(1)</script></svg>"}, raw=True)
    display({"text/html": "<style>* { display: none }</style>" + evil}, raw=True)
    display({"text/markdown": "[click](javascript:alert(1)) " + evil}, raw=True)
    display({"text/latex": evil}, raw=True)
    display({"text/plain": evil}, raw=True)
    display({"application/json": {evil: [evil, "\\u202e"]}}, raw=True)
    display({"image/png": evil}, raw=True)
    display({"text/html": {"ref": "/etc/passwd", "size": 1}}, raw=True)
    display({evil: evil}, raw=True)
    for number in range(300):
        display({"text/html": f"<p>cell {number}</p>" + evil}, raw=True)
    print("x" * 20_000_000)
    print("last")
    return {evil: evil, "__proto__": {"x": 1}, "constructor": "\\u202e"}
"""
SAYS = """
import sys
import djsci
from IPython.display import display

def djsci_handler(request, texts: list[str], fails: bool = False):
    for text in texts:
        print(text)
        print(text, file=sys.stderr)
        djsci.log(text, **{"text": text})
        djsci.progress(0.5, label=text)
        for kind in ("text/plain", "text/latex", "image/png", "application/json",
                     "application/vnd.jupyter.widget-view+json", text):
            display({kind: text}, raw=True)
    djsci.artifact(b"<script>alert(1)</script>", "page.html")
    if fails:
        raise type(texts[0], (Exception,), {})("".join(texts))
    return {text: [text, {"href": text}] for text in texts}
"""
ANSWERS = """
import djsci

def djsci_handler(request, body: str):
    return djsci.Response(body, 200, {"Content-Type": "text/html"})
"""
TYPED = """
from datetime import date
from typing import Literal

def djsci_handler(request, name: str, count: int = 3, loud: bool = False,
                  when: date | None = None, size: Literal["small", "large"] = "small"):
    '''Greets somebody.'''
    print("hello", name)
    return {"name": name, "count": count, "loud": loud, "size": size}
"""
ONE = """
import time
from pathlib import Path

def djsci_handler(request, gate: str):
    while not Path(gate).exists():
        time.sleep(0.02)
"""
NESTED = """
from dataclasses import dataclass

@dataclass
class Place:
    city: str = "Bern"
    zip: int = 3000

def djsci_handler(request, place: Place = Place(), tags: list[str] = [], more: dict = {}):
    return {"city": place.city, "tags": tags}
"""

THREAD: dict[str, Any] = {"trusted": True, "settings": {"engine": "thread"}}


def _file(name: str, entry: str, text: str, **more: Any) -> dict[str, Any]:
    made = {"name": name, "owner": "ada", "access": "authenticated", "files": {entry: text}}
    return made | more


def ipynb(*cells: str) -> str:
    """A notebook of these code cells, as text."""
    made = [
        {
            "cell_type": "code",
            "id": f"cell-{place}",
            "metadata": {},
            "source": text,
            "outputs": [],
            "execution_count": None,
        }
        for place, text in enumerate(cells, 1)
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


FILES: list[dict[str, Any]] = [
    _file("show", "show.ipynb", ipynb(SHOW)),
    _file("show_interactive", "show.ipynb", ipynb(SHOW), settings={"output": "interactive"}),
    _file("report", "report.ipynb", ipynb(REPORT)),
    _file("steps", "steps.py", STEPS, **THREAD),
    _file("shared", "steps.py", STEPS, **THREAD),
    _file("many", "many.py", MANY),
    _file("fails", "fails.ipynb", ipynb(*FAILS)),
    _file("stubborn", "stubborn.py", STUBBORN, **THREAD),
    _file("bars", "bars.ipynb", ipynb(BARS)),
    _file("hostile", "hostile.ipynb", ipynb(HOSTILE)),
    _file("says", "says.ipynb", ipynb(SAYS)),
    _file("answers", "answers.py", ANSWERS, **THREAD),
    _file("typed", "typed.py", TYPED, **THREAD),
    _file("one", "one.py", ONE, trusted=True, settings={"engine": "thread", "concurrency": 1}),
    _file("nested", "nested.py", NESTED, **THREAD),
]
EVIL = "<img src=x onerror=alert(1)>\"'{{7*7}}"
# Uploaded by the tests of hostile names: every text of the file is hostile.
EVIL_NOTEBOOK = json.loads(
    ipynb(
        f"def djsci_handler(request, text: str = {EVIL!r}):\n"
        f'    """{EVIL.replace(chr(34), "")}"""\n'
        "    from IPython.display import display\n"
        f"    display({{'text/plain': 'x'}}, raw=True, metadata={{{EVIL!r}: {EVIL!r}}})\n"
        f"    raise type({EVIL!r}, (Exception,), {{}})({EVIL!r})\n"
    )
)
