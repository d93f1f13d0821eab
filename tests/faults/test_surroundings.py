"""R24: a strange machine: it works there, or says at once why not; it never half works."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.servers import absent
from tests.waiting import until

from .parts import Web
from .stage import Stage, stage

pytestmark = pytest.mark.faults
TEXT = "äöü 漢字 🎈"
SAYS = f"""
def djsci_handler(request, record: str):
    print({TEXT!r})
    return {TEXT!r}
"""
SPOKEN = {"name": "spoken", "files": {"spoken.py": SAYS}}


def says_it(place: Stage) -> None:
    run = place.ended(place.start("spoken"))
    assert (run["state"], run["result"]) == ("succeeded", TEXT), run
    events = place.get(run["id"], "events/")["events"]
    assert [event["text"] for event in events if event["type"] == "stream"] == [TEXT + "\n"]


def test_r24_the_locale_c_changes_no_text(tmp_path: Path):
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    with stage(tmp_path / "record", files=[SPOKEN], environment=plain) as place:
        says_it(place)


def hidden(web: Web, mounts: str) -> None:
    """Start it in a mount namespace of its own, in which something is covered or locked."""
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True)
    if probe.returncode:
        absent("unshare", f"no mount namespace: {probe.stderr.strip()}")
    web.kill()
    web.command = ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh", *web.command]
    web.log.unlink()
    web.start()


def works_or_refuses(place: Stage) -> None:
    """It serves and runs; or a call is refused, or the process ends, and both say why."""
    web = place.webs[0]
    assert web.process is not None
    until(lambda: web.answers() or web.process.poll() is not None)  # type: ignore[union-attr]
    if web.process.poll() is not None:
        assert web.process.returncode != 0
        assert web.said().strip()
        return
    answer = place.post("spoken")
    if answer.status_code != 202:
        assert answer.status_code in (500, 503)
        assert answer.headers["content-type"].startswith("application/problem+json")
        return
    run = place.ended(answer.json()["id"])
    assert run["state"] == "succeeded" or run["reason"], run


@pytest.mark.parametrize("isolation", ["auto", "process"])
def test_r24_without_proc_it_works_or_refuses(tmp_path: Path, isolation: str):
    djsci = {"ISOLATION": isolation}
    with stage(tmp_path / "record", files=[SPOKEN], djsci=djsci) as place:
        hidden(place.webs[0], "mount -t tmpfs none /proc")
        works_or_refuses(place)
        print(place.webs[0].said()[-1500:])


def test_r24_on_a_read_only_disk_it_refuses(tmp_path: Path):
    with stage(tmp_path / "record", files=[SPOKEN]) as place:
        data = place.site.data
        hidden(
            place.webs[0], f"mount --bind '{data}' '{data}' && mount -o remount,bind,ro '{data}'"
        )
        works_or_refuses(place)
        assert os.listdir(data)
        assert place.site.execute(RUNS) == 0


RUNS = """
from djsci.models import Run
answer = Run.objects.count()
"""
