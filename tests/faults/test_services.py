"""R9, R11, R24, R25: a layer, a disk, a library that is not there: said clearly, and got over."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.client import Follower
from tests.servers import absent
from tests.waiting import until

from .parts import Valkey, valkey
from .stage import INTERVALS, Stage, judge, stage

pytestmark = pytest.mark.faults
SIZE = 20 << 20
LARGE = """
def djsci_handler(request, size: int):
    return "x" * size
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


async def test_r9_a_layer_that_is_stopped_paused_and_emptied_costs_only_time(
    tmp_path: Path, gate: Path
):
    with (
        valkey() as layer,
        stage(tmp_path / "record", kind="uvicorn", webs=2, redis=layer.url) as place,
    ):
        run_id = await asyncio.to_thread(place.start, lines=1, pause=0.02, gate=str(gate))
        followers = [
            Follower(url=web.url, headers=place.headers, timeout=100) for web in place.webs
        ]
        following = [asyncio.create_task(each.follow(run_id)) for each in followers]
        for away in (layer.pause, layer.kill):
            await asyncio.to_thread(place.began, run_id)
            away()
            await asyncio.to_thread(all_work, place)
            await asyncio.to_thread(back, layer)
            lines = place.recorded().count("\n")
            await asyncio.to_thread(
                until, lambda lines=lines: all(f.text().count("\n") > lines for f in followers)
            )
        gate.touch()
        await asyncio.gather(*following)
        rows = await asyncio.to_thread(place.all_ended, seconds=60)
        judge(rows, place.recorded())
        assert {row["state"] for row in rows.values()} == {"succeeded"}
        for each in followers:
            assert each.text() == followers[0].text()


def back(layer: Valkey) -> None:
    """It goes on, or is started again and is empty."""
    if layer.process is not None and layer.process.poll() is None:
        layer.resume()
    else:
        layer.start()
    layer.wait_ready()


def all_work(place: Stage) -> None:
    """Without the layer calls are taken, run to their end, and no answer is a failure."""
    for number, web in enumerate(place.webs):
        runs = f"{web.url}/djsci/api/v1/files/code/runs/"
        said = {"parameters": {"record": str(place.record)}}
        answer = httpx.post(
            runs, headers={**place.headers, "Prefer": "wait=20"}, json=said, timeout=40
        )
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded"), number
        wrong = {"Authorization": "Bearer djsci_" + "x" * 42}
        assert (
            httpx.get(f"{web.url}/djsci/api/v1/runs/", headers=wrong, timeout=40).status_code == 401
        )
        for path in ("/djsci/api/v1/runs/", "/accounts/login/", "/djsci/health/ready"):
            answer = httpx.get(web.url + path, headers=place.headers, timeout=40)
            assert answer.status_code == 200, (path, answer.text[:300])


class Disk:
    """A small file system of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Until not a byte more fits."""
        with (self.path / "filler").open("wb", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2

    def free(self) -> None:
        (self.path / "filler").unlink()


@contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "djsci-test", path],
        capture_output=True,
        text=True,
    )
    if made.returncode:
        absent("tmpfs", f"no file system can be mounted: {made.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("what", ["log", "storage", "spool"])
def test_r11_a_full_disk_is_said_and_got_over_without_a_restart(
    tmp_path: Path, gate: Path, what: str
):
    record = tmp_path / "record"
    with small_disk(tmp_path / "disk") as disk:
        place_of: dict[str, Any] = {
            "log": {"data": disk.path / "data"},
            "storage": {"settings": {"MEDIA_ROOT": str(disk.path / "files")}},
            "spool": {"environment": {"TMPDIR": str(disk.path)}},
        }
        large = {"name": "large", "files": {"large.py": LARGE}}
        with stage(
            record,
            kind="uvicorn",
            files=[large],
            intervals={**INTERVALS, "database_retry": 3.0},
            **place_of[what],
        ) as place:
            assert place.ended(place.start())["state"] == "succeeded"
            run_id = place.start(lines=1, pause=0.02, gate=str(gate))
            place.began(run_id)
            disk.fill()
            {"log": log_full, "storage": storage_full, "spool": spool_full}[what](place)
            disk.free()
            gate.touch()
            rows = place.all_ended(seconds=60)
            judge(rows, place.recorded())
            upload(place, "again", 200)
            for name in ("code", "again"):
                again = place.start(name)
                assert place.ended(again)["state"] == "succeeded"
            assert rows[run_id]["state"] == ("lost" if what == "log" else "succeeded")


def upload(place: Stage, name: str, kilobytes: int) -> httpx.Response:
    return httpx.post(
        f"{place.url}/djsci/api/v1/files/",
        headers=place.headers,
        files=[("file", ("a.py", CODE_ONLY)), ("files", ("data.csv", os.urandom(kilobytes << 10)))],
        data={"name": name},
        timeout=60,
    )


CODE_ONLY = b"""
def djsci_handler(request, record: str = ""):
    return 1
"""


def refused(answer: httpx.Response) -> None:
    assert answer.status_code in (503, 507), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "disk" in answer.json()["detail"] or "database" in answer.json()["detail"]


def absent_file(place: Stage, name: str) -> None:
    path = f"{place.url}/djsci/api/v1/files/{name}/"
    assert httpx.get(path, headers=place.headers, timeout=30).status_code == 404


def log_full(place: Stage) -> None:
    """Nothing can be written: no run is made; the running one is stopped and, later, lost."""
    refused(place.post())
    until(lambda: "its lease is given up" in place.webs[0].said())
    refused(upload(place, "full", 5000))
    absent_file(place, "full")


def storage_full(place: Stage) -> None:
    """No file is made, and a large result ends its run as crashed, with the reason."""
    refused(upload(place, "full", 5000))
    absent_file(place, "full")
    path = f"{place.url}/djsci/api/v1/files/large/runs/"
    said = {"parameters": {"size": 1 << 20}}
    answer = httpx.post(path, headers=place.headers, json=said, timeout=30)
    run = place.ended(answer.json()["id"])
    assert run["state"] == "crashed"
    assert run["reason"].startswith("its result could not be stored")


def spool_full(place: Stage) -> None:
    """A body that is spooled is refused; a run that gets no folder says so."""
    refused(upload(place, "full", 5000))
    absent_file(place, "full")
    run = place.ended(place.start())
    assert run["state"] in ("crashed", "succeeded"), run
    if run["state"] == "crashed":
        assert run["reason"]
