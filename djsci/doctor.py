"""What works here and what does not: every line is tried, none is guessed."""

import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from jupyter_client.kernelspec import KernelSpecManager

from . import __version__, conf, ways
from .core.errors import IsolationUnavailable
from .engines import registry
from .engines.kernel import KernelEngine
from .isolation import container, evidence, probe, python
from .runs import dispatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried."""

    subject: str
    text: str
    is_good: bool = True


def examine() -> Iterator[Finding]:
    """Try everything that a run needs, a finding for each line of what is said of it."""
    for subject, look in (
        ("python", _python),
        ("database", _database),
        ("storage", _storage),
        ("kernels", _kernels),
        ("layer", _layer),
        ("dispatcher", _dispatcher),
        ("isolation", _isolation),
        ("container", _container),
        ("limits", _limits),
        ("environments", _environments),
        ("headers", _headers),
    ):
        try:
            text = look()
        except Exception as error:
            text = " ".join(str(error).split()) or "no details"
            yield Finding(
                subject=subject, text=f"{type(error).__name__}: {text}"[:2000], is_good=False
            )
        else:
            for line in text.splitlines():
                yield Finding(subject=subject, text=line)


def _python() -> str:
    return (
        f"{platform.python_version()} ({sys.executable}), djsci {__version__}, "
        f"Django {version('django')}, settings {os.environ.get('DJANGO_SETTINGS_MODULE')}"
    )


def _database() -> str:
    connection.ensure_connection()
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        raise RuntimeError(f"{len(plan)} migrations are not applied: run `migrate`")
    if connection.vendor != "sqlite":
        numbers = ".".join(map(str, connection.get_database_version()))
        return f"{connection.display_name} {numbers}, migrated"
    with connection.cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    options = connection.settings_dict["OPTIONS"]
    transactions = options.get("transaction_mode") or "deferred"
    advice = "" if mode == "wal" and transactions == "IMMEDIATE" else " (advised: WAL, IMMEDIATE)"
    return f"SQLite, journal {mode}, transactions {transactions}, migrated{advice}"


def _storage() -> str:
    alias = conf.get("STORAGE")
    storage = storages[alias]
    name = storage.save("djsci-doctor", ContentFile(b"a sign of life"))
    try:
        with storage.open(name) as file:
            if file.read() != b"a sign of life":
                raise RuntimeError("what was written is not what was read")
    finally:
        storage.delete(name)
    where = getattr(storage, "location", type(storage).__name__)
    return f"{alias!r} at {where}, written and read"


def _kernels() -> str:
    found = KernelSpecManager().find_kernel_specs()
    if "python3" not in found:
        raise RuntimeError("no kernelspec python3: install ipykernel")
    reason = asyncio.run(_start_a_kernel())
    if reason:
        raise RuntimeError(reason)
    return f"{', '.join(sorted(found))}; one was started and answered"


async def _start_a_kernel() -> str | None:
    engine = KernelEngine(size=0)
    try:
        return await engine.check()
    finally:
        await engine.close()


def _layer() -> str:
    configured = getattr(settings, "CHANNEL_LAYERS", {}).get("default")
    if not configured:
        return "none: readers in other processes hear of news by polling"
    backend = str(configured["BACKEND"])
    if not backend.startswith("channels_redis."):
        return f"{backend.rpartition('.')[2]}: one process; Redis would join several"
    import redis

    hosts = configured.get("CONFIG", {}).get("hosts") or []
    for host in hosts:
        redis.Redis.from_url(str(host), socket_timeout=2, socket_connect_timeout=2).ping()
    shown = ", ".join(
        f"{urlsplit(str(host)).hostname}:{urlsplit(str(host)).port}" for host in hosts
    )
    return f"{backend.rpartition('.')[2]} at {shown}, answers"


def _dispatcher() -> str:
    dispatch.current().reach()
    broker = "" if dispatch.current().is_local else ", its broker answers"
    return f"{conf.get('DISPATCHER')}{broker}"


def _isolation() -> str:
    """Each level's canaries are run, in a real wall."""
    found = {name: probe.probe(name, seconds=0) for name in ("bwrap", evidence.NESTED, "landlock")}
    nested = found.pop(evidence.NESTED)
    if not found["bwrap"] and nested:
        found["bwrap"] = f"holds, but runs are spawned, not forked: {nested}"
    lines = "; ".join(f"{name}: {reason or 'holds'}" for name, reason in found.items())
    try:
        return f"runs are walled by {registry.level()!r} ({lines})"
    except IsolationUnavailable as error:
        raise RuntimeError(
            f"every run is refused at {conf.get('ISOLATION')!r} ({lines})"
        ) from error


def _limits() -> str:
    """Each limit of a run with what holds it to that on this machine, a line each."""
    return "\n".join(f"{name:<11} {way}" for name, way in ways.of_limits(registry.level()).items())


def _container() -> str:
    """Wrong only where the site wants containers: no other site needs them."""
    reason = probe.probe("container", seconds=0)
    is_wanted = bool(conf.get("CONTAINER")) or conf.get("ISOLATION") == "container"
    if reason and is_wanted:
        raise RuntimeError(reason)
    chosen = conf.container()
    return reason or f"holds, with {container.find(chosen)} and the image {chosen.image!r}"


def _environments() -> str:
    places = conf.get("ENVIRONMENTS")
    found = [f"{name}: {python.find(str(place)).program}" for name, place in places.items()]
    return "; ".join(found) or "none: every run has the server's own libraries"


def _headers() -> str:
    """Who installs for PEP 723 headers is asked only whether it starts."""
    site = registry.site()
    if site is None:
        return (
            "PEP723 is off: a file's PEP 723 header is met by libraries that are here, or refused"
        )
    argv = [sys.executable, "-I", "-m", "pip", "--version"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    if said.returncode != 0:
        raise RuntimeError("pip, which installs, is not in the server's Python")
    where = "an index" if site.index else "folders of wheels"
    return f"installed by {' '.join(said.stdout.split()[:2])} from {where}, kept in {site.folder}"
