"""Environments that are installed for a header: made once, by whoever is first, and walled off."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from djsci.core.requirements import Requirements
from djsci.engines import environments, installing
from djsci.engines.environments import Environment
from djsci.engines.fork import ForkEngine
from djsci.engines.installing import InstallFailed, Site
from tests import wheels
from tests.engines.test_fork import cells, play, printed, py, result
from tests.isolation.conftest import need

asynchronous = pytest.mark.asyncio(loop_scope="module")
pytestmark = pytest.mark.timeout(90)
SEES = """
import os, sys, greetings
SPACES = [os.stat("/proc/self/ns/" + name).st_ino for name in ("pid", "user")]
def djsci_handler(request):
    found = [greetings.TEXT, sys.prefix, sys.seen_by == [os.getpid(), *SPACES]]
    try:
        open(os.path.join(os.path.dirname(greetings.__file__), "more.py"), "w")
    except OSError:
        return found
    return [*found, "written"]
"""
SEEN = (
    "import os, sys; sys.seen_by = [os.getpid(), *(os.stat('/proc/self/ns/' + name).st_ino"
    " for name in ('pid', 'user'))]\n"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("installed")
    folder = wheels.folder(root / "wheels")
    wheels.write(folder, "watcher", files={"watcher.pth": SEEN})
    (folder / "onlysource-1.0.tar.gz").write_bytes(b"no wheel")
    return Site(folder=str(root / "environments"), find_links=(str(folder),))


async def installed(environment: Environment) -> bool:
    """Whether it had to be installed."""
    asked = []

    async def on_install() -> None:
        asked.append(1)

    async with environments.used(environment, on_install=on_install):
        assert environment.is_ready
    return bool(asked)


def wanted(site: Site, *names: str, is_notebook: bool = False) -> Environment:
    asked = Requirements(dependencies=names)
    return environments.wanted(asked, site, is_notebook=is_notebook)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def environment(site: Site) -> Environment:
    environment = wanted(site, "greetings", "watcher", is_notebook=True)
    both = await asyncio.gather(installed(environment), installed(environment))
    assert sorted(both) == [False, True]
    return environment


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["process", "landlock", "bwrap"]
)
async def engine(
    request: pytest.FixtureRequest, environment: Environment
) -> AsyncIterator[ForkEngine]:
    if request.param != "process":
        need(request.param)
    engine = ForkEngine(
        size=1, isolation=request.param, preload=["greetings"], python=environment.python
    )
    await engine.open()
    yield engine
    await engine.close()


@asynchronous
async def test_what_fails_is_tried_once_by_all_who_want_it_at_once(site: Site) -> None:
    failing = wanted(site, "onlysource")
    tried = []

    async def on_install() -> None:
        tried.append(1)

    async def use() -> str:
        with pytest.raises(InstallFailed) as failure:
            async with environments.used(failing, on_install=on_install):
                pass
        return str(failure.value)

    first, second, third = await asyncio.gather(use(), use(), use())
    assert first == second == third
    assert len(tried) == 1
    await use()
    assert len(tried) == 2  # who comes later tries again


@asynchronous
async def test_what_is_installed_is_met_by_the_run_alone_and_cannot_be_changed(
    engine: ForkEngine, environment: Environment
) -> None:
    level = engine.supply.ground.isolation
    last = ["written"] if level == "process" else []  # there is no wall
    said = await play(engine, py(SEES))
    assert result(said) == ["hello", str(environment.folder), True, *last]


@asynchronous
async def test_a_notebook_has_its_shell_and_its_libraries(engine: ForkEngine) -> None:
    said = await play(engine, cells("import greetings", "print(greetings.TEXT)\n%pwd"))
    assert printed(said) == "hello\n"


@asynchronous
async def test_nothing_of_what_a_wheel_replaces_is_started_outside_of_a_wall(
    site: Site, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    about = "replacer-1.0.data"
    files = {
        f"{about}/scripts/python": f"#!/bin/sh\ntouch {mark}\n",
        f"{about}/data/pyvenv.cfg": "home = /nowhere\n",
        "sitecustomize.py": "import os\nos.environ['SEEN'] = str(os.getpid())\n",
    }
    wheels.write(Path(site.find_links[0]), "replacer", files=files)
    environment = wanted(site, "replacer")
    assert await installed(environment)
    assert (environment.folder / "bin" / "python").read_text().startswith("#!/bin/sh")
    engine = ForkEngine(size=0, python=environment.python)
    await engine.open()
    code = "import os, sys\ndef djsci_handler(request):\n"
    code += "    return [os.environ['SEEN'] == str(os.getpid()), sys.executable]\n"
    try:
        said = await play(engine, py(code))
    finally:
        await engine.close()
    assert result(said) == [True, str(environment.folder / "bin" / "python")]
    assert not mark.exists()


@asynchronous
async def test_what_installs_writes_into_its_environment_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("landlock")
    environment = wanted(site, "greetings", "watcher")
    tries = f"touch {tmp_path}/outside; touch {environment.folder}/inside; ls {tmp_path} /root"
    monkeypatch.setattr(installing, "_pip", lambda folder, _: ["sh", "-c", f"{tries}; true"])
    assert await installed(environment)
    assert not (tmp_path / "outside").exists()
    inside = environment.folder / "inside"
    assert inside.stat().st_uid == os.geteuid()
    assert [
        path
        for path in environment.folder.rglob("*")
        if path.is_symlink() is False and path.stat().st_mode & 0o022
    ] == []
    shutil.rmtree(environment.folder)


@asynchronous
async def test_what_is_no_wheel_is_not_built_and_named(site: Site) -> None:
    with pytest.raises(InstallFailed, match=r"No matching distribution found for onlysource$"):
        await installed(wanted(site, "onlysource"))
    assert not wanted(site, "onlysource").folder.exists()


@asynchronous
async def test_an_address_that_a_wheel_asks_for_is_not_built(site: Site, tmp_path: Path) -> None:
    folder, ran = Path(site.find_links[0]), tmp_path / "ran"
    source = wheels.write_source(folder / "addressed-1.0.tar.gz", "addressed", touches=ran)
    about = {"front-1.0.dist-info/METADATA": f"Requires-Dist: addressed @ file://{source}\n"}
    wheels.write(folder, "front", files=about)
    with pytest.raises(InstallFailed, match="No matching distribution found for front"):
        await installed(wanted(site, "front"))
    argv = installing._pip(Path(sys.prefix), site)  # pip itself, given the address
    asked = [*argv, "--no-deps", "--target", str(tmp_path / "into"), str(source)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert "what installs starts no program" in done.stdout + done.stderr
    assert not ran.exists()


@asynchronous
async def test_a_wheel_cannot_say_that_it_is_ready_or_hinder_its_removal(site: Site) -> None:
    files = {"marked-1.0.data/data/djsci-ready.json/x": ""}
    wheels.write(Path(site.find_links[0]), "marked", files=files)
    environment = wanted(site, "marked")
    assert await installed(environment)
    os.utime(environment.mark, (1, 1))
    assert environments.purge(site.folder, days=40) == 1
    assert not environment.folder.exists()


@asynchronous
async def test_many_small_files_are_too_large(site: Site) -> None:
    files = {f"many/{number}.txt": "" for number in range(300)}
    wheels.write(Path(site.find_links[0]), "many", files=files)
    environment = wanted(replace(site, size=4 << 20), "many")
    with pytest.raises(InstallFailed, match="larger than 4 MiB"):
        await installed(environment)
    assert not environment.folder.exists()


@asynchronous
async def test_what_installs_has_its_memory_bounded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("landlock")
    much = "import mmap; mmap.mmap(-1, 16 << 30, flags=0x4022)"  # private, of no file, not reserved
    monkeypatch.setattr(installing, "_pip", lambda _, __: [sys.executable, "-I", "-c", much])
    with pytest.raises(InstallFailed, match="Cannot allocate memory"):
        await installed(wanted(site, "greetings>0.2"))


@asynchronous
async def test_one_more_environment_takes_the_room_of_what_was_used_longest_ago(
    site: Site, tmp_path: Path
) -> None:
    small = replace(site, folder=str(tmp_path / "few"), size=64 << 20)
    first, second, third = (wanted(small, f"greetings{more}") for more in ("", ">0", ">0.1"))
    assert await installed(first)
    one = installing.size_of(first.folder)
    room = replace(small, total=small.size + one)
    second, third = replace(second, site=room), replace(third, site=room)
    assert await installed(second)
    assert (first.is_ready, second.is_ready) == (True, True)
    os.utime(first.mark, (1, 1))
    assert await installed(third)
    assert (first.folder.exists(), second.is_ready, third.is_ready) == (False, True, True)
    tight = replace(first, site=replace(room, total=room.size))

    async def never() -> None:
        raise AssertionError

    async with environments.used(third, on_install=never):
        with pytest.raises(InstallFailed, match="no room is left"):
            await installed(tight)
        assert third.is_ready


@asynchronous
async def test_a_build_that_is_killed_or_cancelled_leaves_nothing_that_counts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = wanted(site, "greetings")
    pip = wheels.Standstill()
    monkeypatch.setattr(installing, "_pip", pip)
    task = asyncio.create_task(installed(environment))
    await asyncio.to_thread(pip.begins)
    assert environment.folder.exists()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    pip.ends()
    assert not environment.folder.exists()
    monkeypatch.undo()
    # What a process that was killed leaves: a folder without a mark, and a lock that is free.
    environment.folder.mkdir()
    (environment.folder / "half").write_text("")
    assert await installed(environment)
    assert not (environment.folder / "half").exists()


@asynchronous
async def test_what_is_not_used_for_long_is_removed_unless_a_run_has_it(site: Site) -> None:
    environment = wanted(site, "watcher")
    assert await installed(environment)
    long_ago = time.time() - 31 * 86400

    async def never() -> None:
        raise AssertionError

    async with environments.used(environment, on_install=never):
        os.utime(environment.mark, (long_ago, long_ago))
        assert environments.purge(site.folder, days=30) == 0
    assert environments.purge(site.folder, days=40) == 0
    assert environments.purge(site.folder, days=30) == 1
    assert not environment.folder.exists()


def test_a_python_that_fits_is_taken_or_named(site: Site) -> None:
    asked = Requirements(dependencies=("greetings",), python=">=4")
    with pytest.raises(OSError, match=r"asks for Python >=4; there is 3\."):
        environments.wanted(asked, site, is_notebook=False)


def test_a_reason_holds_no_password_no_address_and_no_path() -> None:
    site = Site(folder="/srv/e", index="https://a:secret@index.test/simple", find_links=("/w",))
    said = "Looking\nERROR: https://a:secret@index.test/simple/x is away: '/w/a.whl', /srv/e/1\n\n"
    assert installing.reason(said, 1, site) == "the index is away: 'the folder of wheels/a.whl', …"
    assert installing.reason("", 2, site) == "pip ended with 2"
