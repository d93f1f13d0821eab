"""pip, kept short: wheels only, into a folder, with an environment that holds nothing of ours."""

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from djsci.isolation import landlock, probe, users
from djsci.isolation.limits import Limits
from djsci.isolation.python import Python

ALONE = Path(__file__).with_name("pip_alone.py")
KEPT = 64 << 10  # bytes of what a program said
LEAST = 16 << 10  # bytes that a file counts as: many small ones take a disk's nodes, and our time
LOOK = 1.0  # seconds between two looks at the folder's size
MOST_SAID = 400  # characters of a reason
PASSED = (  # how the server's machine reaches an index
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)
READ = ("/etc",)  # which distribution this is, and whom it believes


class InstallFailed(Exception):
    """What is told to whoever runs the file: no path and no password is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the site allows. Times in seconds, sizes in bytes."""

    folder: str
    index: str | None = None
    find_links: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()  # beside the server's own
    timeout: float = 600.0
    size: int = 4 << 30  # of one environment
    total: int = 32 << 30  # of all
    uids: tuple[int, int] = users.RANGE  # of pip, where the server is root


def read_site(given: object, *, folder: str) -> Site:
    """The setting as it is to be; `folder` is where nothing else is said. Raises `ValueError`."""
    if not isinstance(given, Mapping):
        raise ValueError("it is neither None nor a dict")
    known = [field.name for field in fields(Site) if field.name != "uids"]
    if unknown := sorted(set(map(str, given)) - set(known)):
        raise ValueError(f"there is no key {unknown[0]!r}; there are {', '.join(known)}")
    values = {"folder": folder, **given}
    for name in ("find_links", "pythons"):
        listed = values.get(name, [])
        if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
            raise ValueError(f"{name} is not a list of texts")
        values[name] = tuple(listed)
    for name in ("timeout", "size", "total"):
        number = values.get(name, 1)
        if not isinstance(number, int | float) or isinstance(number, bool) or number <= 0:
            raise ValueError(f"{name} is not a number over 0")
    if not isinstance(values["folder"], str) or not os.path.isabs(values["folder"]):
        raise ValueError("folder is not named in full")
    if not isinstance(values.get("index"), str | None):
        raise ValueError("index is neither an address nor None")
    if not values.get("index") and not values["find_links"]:
        raise ValueError("neither index nor find_links says where wheels come from")
    site = Site(**values)
    if site.size > site.total:
        raise ValueError("size is larger than total")
    return site


async def install(
    packages: Sequence[str], folder: Path, base: Python, site: Site, *, lock: int
) -> None:
    """Make an environment of `base` in `folder`, which is empty, and put `packages` into it.

    `lock` stays held while a program of ours is at work, even if we are killed. Raises
    `InstallFailed`, `OSError`; whoever cancels it ends the programs.
    """
    work = folder / ".work"
    work.mkdir(mode=0o700)
    make = [base.program, "-I", "-m", "venv", "--without-pip", str(folder)]
    is_walled = await asyncio.to_thread(probe.probe, "landlock") is None
    try:
        with users.lease(site.uids) if is_walled else contextlib.nullcontext() as uid:
            put = [*_pip(folder, site), *packages]
            async with asyncio.timeout(site.timeout):
                await _do(make, work, site, lock)
                if is_walled:
                    give(folder, uid)
                    put = _walled(put, folder, base, site, uid=uid, lock=lock)
                await _do(put, work, site, lock)
            if uid is not None:
                await asyncio.to_thread(users.end_all, uid)
                await asyncio.to_thread(give, folder, os.geteuid())
    except TimeoutError:
        raise InstallFailed(f"installing took longer than {site.timeout:g} s") from None
    shutil.rmtree(work, ignore_errors=True)


def _walled(
    argv: Sequence[str], folder: Path, base: Python, site: Site, *, uid: int | None, lock: int
) -> list[str]:
    """pip reads the index and writes into the folder, whatever a wheel's names say; no more."""
    certificates = [os.environ[name] for name in PASSED if name in os.environ]
    return landlock.command(
        argv,
        limits=Limits(file_size=int(site.size), bounds_address_space=True),
        folder=str(folder / ".work"),
        writable=[str(folder)],
        readable=[*base.paths, *site.find_links, *READ, *certificates],
        uid=uid,
        keep=[lock],
        has_network=True,
    )


def give(folder: Path, uid: int | None) -> None:
    """All that is in the folder belongs to this user now."""
    if uid is None:
        return
    os.lchown(folder, uid, -1)
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            os.lchown(os.path.join(where, name), uid, -1)


def _pip(folder: Path, site: Site) -> list[str]:
    """It runs as the environment's Python, which starts before a `.pth` file of a wheel is there;
    no other code of a wheel is executed either, nor any of what its metadata name.
    """
    found = importlib.util.find_spec("pip")
    where = os.path.dirname(found.origin or "") if found else "pip"
    return [
        *(str(folder / "bin" / "python"), "-I", "-c", ALONE.read_text(), where),
        *("install", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off"),
        *("--no-warn-script-location", "--keyring-provider=disabled"),
        *("--root-user-action=ignore", "--disable-pip-version-check", "--no-input"),
        *(["--no-index"] if site.index is None else []),
        *(f"--find-links={place}" for place in site.find_links),
    ]


async def _do(argv: Sequence[str], work: Path, site: Site, lock: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=work,
        env=_variables(work, site),
        start_new_session=True,
        pass_fds=[lock],
        umask=0o022,
    )
    watching = asyncio.create_task(_watch(work.parent, site.size, process.pid))
    said = b""
    try:
        while process.stdout and (data := await process.stdout.read(1 << 16)):
            said = (said + data)[-KEPT:]
        code = await process.wait()
    finally:
        if process.returncode is None:
            _kill(process.pid)
            await process.wait()
        watching.cancel()
    if await asyncio.to_thread(size_of, work.parent) > site.size:
        raise InstallFailed(f"the environment is larger than {site.size >> 20} MiB")
    if code != 0:
        raise InstallFailed(reason(said.decode("utf-8", "replace"), code, site))


async def _watch(folder: Path, most: int, process: int) -> None:
    while await asyncio.to_thread(size_of, folder) <= most:  # noqa: ASYNC110
        await asyncio.sleep(LOOK)
    _kill(process)


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def size_of(folder: Path) -> int:
    found = 0
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                found += max(LEAST, os.lstat(os.path.join(where, name)).st_size)
    return found


def _variables(work: Path, site: Site) -> Mapping[str, str]:
    """Neither the server's secrets, nor what it, its user or its machine tells pip."""
    found = {name: os.environ[name] for name in PASSED if name in os.environ}
    found |= {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(work), "TMPDIR": str(work)}
    found["PIP_CONFIG_FILE"] = os.devnull
    if site.index is not None:
        found["PIP_INDEX_URL"] = site.index  # not among the arguments, which every user can read
    return found


def reason(said: str, code: int, site: Site) -> str:
    """The last error that pip tells, without addresses, passwords and paths of this machine."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    if errors[-1:] == ["Exception:"]:  # with a traceback, whose last line tells
        errors = []
    text = (errors or lines or [f"pip ended with {code}"])[-1]
    for place in site.find_links:
        text = text.replace(place, "the folder of wheels")
    text = re.sub(r"\w+://\S+", "the index", text)
    text = re.sub(r"(?<![\w.])/[^\s'\",;:()]+", "…", text)
    return text[:MOST_SAID]
