"""Which engine runs a version, by its file's settings and by what holds here."""

import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from djsci import conf
from djsci.core.connections import MOST_HOSTS, OPEN, Host, parse_host
from djsci.core.errors import IsolationUnavailable, SourceInvalid
from djsci.core.sources import Source
from djsci.isolation import probe, python, users
from djsci.isolation.python import Python
from djsci.models import PrivateFile, Version

from . import environments, installing, libraries
from .elsewhere import ELSEWHERE
from .environments import Environment
from .kernel import KernelEngine

logger = logging.getLogger("djsci.engines")
WIDE = "This run has the server's own network: its file has the connection 'open'."
BARE = "There is no wall around this run: it has the rights of the server's account."


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a version runs. Each choice has an engine of its own."""

    engine: str
    isolation: str
    is_trusted: bool = False
    instance: str = "fresh"
    has_network: bool = False  # the server's own
    environment: str = ""  # a name in ENVIRONMENTS
    installs: Environment | None = None  # what its header asks for, in place of the server's

    @property
    def warning(self) -> str | None:
        """What each run is told where `auto` found no wall."""
        is_bare = self.isolation == "process" and not self.is_trusted
        if is_bare and conf.get("ISOLATION") == "auto":
            return BARE
        return WIDE if self.has_network else None


def choose(file: PrivateFile, version: Version, source: Source) -> Choice:
    """How a version of a file runs now.

    A version that a superuser trusts has the project's Django, in a process of its own at level
    `process`, or in a thread of the server where the file asks for that too. Raises
    `IsolationUnavailable`, and `SourceInvalid` for a kernel that is not installed.
    """
    wanted = file.settings.get("engine", "auto")
    granted = file.settings.get("connections") or []
    environment = file.settings.get("environment") or ""
    is_trusted = file.trusted_version_id == version.pk
    if wanted == "thread" and is_trusted and not source.is_script:  # `sys.argv` is the process's
        _require_reach(granted, "thread", "process")
        _require_environment(environment, "thread", is_trusted=True)
        _require_libraries(source, "", "a trusted version has the server's libraries")
        return Choice(engine="thread", isolation="process", is_trusted=True)
    if source.language != "python" and source.kernel not in KernelEngine.kernelspecs():
        raise SourceInvalid(f"The notebook's kernel {source.kernel!r} is not installed here.")
    name = wanted if wanted in ("fork", "kernel") else configured(source.kind)
    if source.needs_kernel or source.language != "python":
        name = "kernel"
    # Without a handler there is nothing to call, and nothing of a script to keep loaded.
    is_called = source.has_handler and not source.is_script
    wants_warm = file.settings.get("instance") == "warm" and not granted
    is_warm = name == "fork" and is_called and wants_warm
    instance = "warm" if is_warm else "fresh"
    if is_trusted and name == "fork":
        _require_reach(granted, name, "process")
        _require_environment(environment, name, is_trusted=True)
        _require_libraries(source, "", "a trusted version has the server's libraries")
        return Choice(engine="fork", isolation="process", is_trusted=True, instance=instance)
    if name == "kernel" and (provisioner := KernelEngine.provisioner(source)):
        _require_provisioner(provisioner, granted, file.settings.get("isolation", "auto"))
        return Choice(engine="kernel", isolation=ELSEWHERE)
    isolation = level(file.settings.get("isolation", "auto"))
    _require_reach(granted, name, isolation)
    _require_environment(environment, name)
    if isolation == "container":
        _require_container(name, has_libraries=bool(environment or source.requirements))
        instance = "fresh"  # a template forks calls, and a container's guest is sent for each run
    installs = _installs(source, environment, name)
    return Choice(
        engine=name,
        isolation=isolation,
        instance=instance,
        has_network=OPEN in granted and isolation != "process",
        environment=environment,
        installs=installs,
    )


def _require_container(engine: str, *, has_libraries: bool) -> None:
    """Whether a container can run it. Raises `IsolationUnavailable` that says why not."""
    if engine != "fork":
        raise IsolationUnavailable("A container has no kernels: its runs need the engine 'fork'.")
    if has_libraries:
        raise IsolationUnavailable(
            "At the level 'container' the image is the environment: no other, and no header."
        )


def _require_provisioner(name: str, granted: Sequence[str], wanted: str) -> None:
    """Whether a kernel may be started elsewhere. Raises `IsolationUnavailable` that says why not.

    No level of ours is around it: a site that names the provisioner says that it trusts that one.
    """
    if name not in conf.get("PROVISIONERS"):
        raise IsolationUnavailable(
            f"The notebook's kernel is started by {name!r}, which DJSCI['PROVISIONERS'] does not"
            " name."
        )
    if wanted not in ("auto", "process") or granted:
        raise IsolationUnavailable(f"A kernel of {name!r} has no level and no connections of ours.")


def _installs(source: Source, environment: str, engine: str) -> Environment | None:
    """What is installed for the file's header; None where what its runs have anyway will do."""
    asked, given = source.requirements, site()
    if asked is None:
        return None
    if environment:
        _require_libraries(source, environment, f"it has the environment {environment!r}")
    elif engine != "fork":
        _require_libraries(source, "", f"the engine {engine!r} has the server's libraries")
    elif given is None:
        _require_libraries(source, "", "PEP723 in the settings is off, so nothing is installed")
    elif asked.dependencies:
        try:
            return environments.wanted(asked, given, is_notebook=source.kind == "ipynb")
        except OSError as error:
            raise IsolationUnavailable(f"For its header, {error}.") from error
    else:
        _require_libraries(source, "", "it names no library, and so has the server's")
    return None


def _require_libraries(source: Source, environment: str, why: str) -> None:
    """Whether libraries that are there will do. Raises `IsolationUnavailable` that names them."""
    asked = source.requirements
    if asked is None:
        return
    there = python_of(environment)
    version = there.version if there else platform.python_version()
    missing = [] if asked.takes(version) else [f"Python {asked.python}"]
    missing += libraries.lacking(asked, version, there.packages if there else ())
    if missing:
        raise IsolationUnavailable(
            f"The file's header asks for {', '.join(missing)}, which is not here ({why})."
        )


def site() -> installing.Site | None:
    """How headers are installed for; None where they are not. Raises `ImproperlyConfigured`."""
    given = conf.get("PEP723")
    if given is None:
        return None
    try:
        read = installing.read_site(given, folder=environments.default_folder())
    except ValueError as error:
        raise ImproperlyConfigured(f"DJSCI['PEP723']: {error}.") from error
    return replace(read, uids=uid_range())


def _require_environment(name: str, engine: str, *, is_trusted: bool = False) -> None:
    """Whether a run can have its Python. Raises `IsolationUnavailable` that says why not."""
    if name and (engine != "fork" or is_trusted):
        what = "a trusted version" if is_trusted else f"the engine {engine!r}"
        raise IsolationUnavailable(f"An environment of its own cannot be had by {what}.")
    python_of(name)


def python_of(name: str) -> Python | None:
    if not name:
        return None
    try:
        return python.find(str(conf.get("ENVIRONMENTS")[name]))
    except KeyError:
        raise IsolationUnavailable(f"The environment {name!r} is not set up any more.") from None
    except OSError as error:
        logger.warning("environment %r: %s", name, error)
        raise IsolationUnavailable(f"The environment {name!r} cannot be used.") from error


def _require_reach(granted: Sequence[str], engine: str, isolation: str) -> None:
    """Whether a run can have its connections. Raises `IsolationUnavailable` that says why not."""
    hosts = granted_hosts(granted)
    if granted and engine != "fork":
        raise IsolationUnavailable(f"Connections need the engine 'fork'; this file has {engine!r}.")
    if hosts and isolation in ("landlock", "container") and OPEN not in granted:
        message = f"Connections with hosts need the level 'bwrap', not {isolation!r}."
        raise IsolationUnavailable(message)


def granted_hosts(granted: Sequence[str]) -> tuple[Host, ...]:
    """The hosts of these connections. Raises `IsolationUnavailable` for one that is not set up."""
    site = conf.get("CONNECTIONS")
    for name in granted:
        if name not in site and name != OPEN:
            raise IsolationUnavailable(f"The connection {name!r} is not set up any more.")
    found = [host for name in granted if name != OPEN for host in site[name].get("hosts", ())]
    hosts = tuple(dict.fromkeys(map(parse_host, found)))
    if len(hosts) > MOST_HOSTS:
        raise IsolationUnavailable(f"The file's connections name more than {MOST_HOSTS} hosts.")
    return hosts


def level(wanted: str = "auto") -> str:
    """The isolation level of this site, or the higher one that a file wants.

    A level that does not hold here is refused (`IsolationUnavailable`), never lowered. `auto` ends
    at `process` only where nobody but this machine is served, in debug mode.
    """
    site = conf.get("ISOLATION")
    if site == "auto":
        site = next((name for name in ("bwrap", "landlock") if not probe.probe(name)), "")
        if not site and settings.DEBUG and conf.serves_this_machine_only():
            site = "process"
    names = [name for name in probe.LEVELS if name in (site, wanted)]
    if site not in probe.LEVELS or wanted not in (*probe.LEVELS, "auto") or probe.probe(names[-1]):
        _log_refusal(site, wanted)
        raise IsolationUnavailable
    return names[-1]


def _log_refusal(site: str, wanted: str) -> None:
    """The reason is for the log and the doctor: who calls learns only that there is no wall."""
    levels = [name for name in (site, wanted) if name in probe.LEVELS] or ["bwrap", "landlock"]
    reasons = [reason for name in levels if (reason := probe.probe(name))]
    asked = f"{conf.get('ISOLATION')!r}, {wanted!r}"
    logger.error("No run starts at %s: %s", asked, " ".join(reasons) or "there is no such level")


def configured(kind: str) -> str:
    """The engine that the site runs this kind of file in; never `thread`, which a file asks for."""
    name = conf.get("ENGINES").get(kind, "kernel")
    return name if name in ("fork", "kernel") else "kernel"


def uid_range() -> tuple[int, int]:
    """The users of runs, the first and the last, where the server is root."""
    first, last = conf.get("UID_RANGE") or users.RANGE
    return first, last
