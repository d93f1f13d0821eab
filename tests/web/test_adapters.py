"""An adapter of another package, found by its entry point: from the upload to the answer."""

import re
from pathlib import Path
from typing import Any

import httpx

from tests import live
from tests.test_documents import blocks

ENTRY = re.compile(r'\[project\.entry-points\."(.+?)"\] (\w+) = "(\w+):(\w+)"')
JOB = """
class Job:
    def run(self, days):
        return {"job": days}

def main(days: int = 3):
    return {"main": days}
"""


def installed(folder: Path) -> Path:
    """`docs/adapters.md`'s adapter as a package, as an installer leaves it."""
    [code] = [text for text in blocks("docs/adapters.md", "python") if "(Adapter)" in text]
    text = (live.ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
    [(group, name, module, adapter)] = ENTRY.findall(text)
    (folder / f"{module}.py").write_text(code)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{adapter}\n")
    return folder


def test_anothers_adapter_reads_an_upload_answers_its_call_and_is_shown_and_set(tmp_path: Path):
    with live.server("uvicorn", modules=installed(tmp_path)) as site:
        made = site.seed({"users": [{"name": "ada", "permissions": ["add_privatefile"]}]})
        program = httpx.Client(base_url=site.url, headers=made.bearer("ada"), timeout=60)
        person = httpx.Client(base_url=site.url, cookies=made.cookies("ada"), timeout=60)
        with program, person:
            only = {"file": ("only.py", JOB.partition("def main")[0].encode())}
            posted = program.post("/djsci/api/v1/files/", data={"name": "only"}, files=only)
            assert (posted.status_code, posted.json()["adapter"]) == (201, "job")
            assert answered(program, "only") == {"job": "2"}
            # Ours are asked first: theirs must be chosen where both read a file.
            both = {"file": ("both.py", JOB.encode())}
            posted = program.post("/djsci/api/v1/files/", data={"name": "both"}, files=both)
            assert posted.json()["adapter"] == "main"
            assert shown(person, "both") == "main"
            assert answered(program, "both") == {"main": 2}
            chosen = save_settings(person, "both", name="both", access="private", adapter="job")
            assert chosen.status_code == 303, chosen.text
            assert shown(person, "both") == "job"
            assert answered(program, "both") == {"job": "2"}


def answered(program: httpx.Client, name: str) -> Any:
    answer = program.get(f"/djsci/call/{name}/", params={"days": 2})
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(person: httpx.Client, name: str) -> str:
    """The adapter that the file's page names."""
    page = person.get(f"/djsci/console/files/{name}/").text
    [adapter] = re.findall(r"adapter <code>(\w+)</code>", page)
    return str(adapter)


def save_settings(person: httpx.Client, file: str, **changed: str) -> httpx.Response:
    """What the settings' form answers when a person changes some fields of it."""
    address = f"/djsci/console/files/{file}/settings/"
    page = person.get(address)
    [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text))
    origin = {"Origin": str(person.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    form = {"csrfmiddlewaretoken": token, **changed}
    return person.post(address, data=form, headers=origin)
