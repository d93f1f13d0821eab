"""The one setting, `DJSCI`: every key with its default, read when it is used."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from djsci.isolation.container import Settings

_LOOPBACK = re.compile(r"(?:[\w.-]*\.)?localhost|127(?:\.\d{1,3}){3}|\[::1\]")
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

DEFAULTS: dict[str, Any] = {
    "ENGINES": {"py": "fork", "ipynb": "fork"},  # which engine runs which kind of file
    "ISOLATION": "auto",  # the least that user code is walled by
    "CONTAINER": {},  # how containers are started: command, image, runtime, options
    "PROVISIONERS": [],  # Jupyter provisioners from elsewhere that may start kernels, by name
    "UID_RANGE": None,  # (first, last) uid of walled runs where the server is root; None: our own
    "CONNECTIONS": {},  # named hosts and secrets that a superuser may grant to a file
    "ENVIRONMENTS": {},  # named Python environments that a file may ask for
    "PEP723": None,  # how what a file's header asks for is installed; None: it is not
    "TIMEOUT": 300,  # seconds a run may take
    "GRACE": 2,  # seconds between the interrupt and the kill
    "OUTPUT_LIMIT": 10 * MIB,  # bytes of stdout and stderr kept of a run
    "RESULT_LIMIT": 6 * MIB,  # bytes of a result's JSON
    "ARTIFACT_LIMIT": 64 * MIB,  # bytes of all artifacts of a run; 0: none are kept
    "UPLOAD_LIMIT": 20 * MIB,  # bytes of an entry with its companions
    "MEMORY_LIMIT": 1 * GIB,  # bytes of memory of a run
    "PIDS_LIMIT": 64,  # processes and threads of a run
    "RUNNING": None,  # runs at once on a host; None: 4 per core, within 75 % of the memory
    "THREADS": 32,  # runs at once in the thread engine of a process
    "RUNNING_PER_USER": None,  # runs at once of a user
    "RUNNING_PER_FILE": None,  # runs at once of a file
    "QUEUE_PER_USER": 50,  # queued runs of a user
    "QUEUE": 1000,  # queued runs in all
    "POOL": {"size": 2, "preload": ["numpy", "pandas", "matplotlib.pyplot"], "recycle": 3600},
    "DISPATCHER": "local",  # who executes an admitted run: local, celery, or a dotted path
    "QUEUES": ["default"],  # the queues that this process's executor serves
    "DRAIN": 30,  # seconds that running runs get at shutdown
    "LEASE": 30,  # seconds after which a silent executor has lost its runs
    "HEARTBEAT": 5,  # seconds between two signs of life
    "RETRIES": 0,  # how often a lost or crashed run is started again
    "RETENTION": {"logs": 30, "runs": 365, "environments": 30},  # days; None: for ever
    "ALLOWED_ORIGINS": [],  # more origins whose pages may open sockets with a cookie
    "TRUSTED_PROXIES": [],  # addresses or networks whose X-Forwarded-For is believed
    "STORAGE": "default",  # the alias in STORAGES that holds versions, large results and artifacts
}


@dataclass(slots=True, kw_only=True)
class Intervals:
    """Every interval and window in seconds, every stream cap in bytes; tests shorten them."""

    window: float = 0.05
    company: float = 0.015  # that `running` waits for others to share its append
    next_claim: float = 0.02  # after an end, where no run was known to wait
    poll: float = 1.0
    poll_remote: float = 0.25
    hub_idle: float = 30.0
    head: float = 15.0
    recheck: float = 30.0
    send_blocked: float = 60.0
    start: float = 10.0
    drain_jitter: float = 2.0
    socket_bytes: int = 4 * MIB
    socket_age: float = 12 * 3600.0
    stream_age: float = 600.0
    frame_bytes: int = 256 * KIB
    frame_events: int = 256
    ring_budget: float = 2.0  # of each step at the broker
    ring_again: float = 15.0  # after which a bell may be lost
    database_answer: float = 5.0  # that a caller waits for the database
    leave: float = 10.0  # that Celery gets to take leave of its broker
    database_retry: float = 60.0
    unrenewed: float = 60.0  # after which a run without retries is stopped
    queued_for: float = 24 * 3600.0
    kept_key: float = 24 * 3600.0


intervals = Intervals()


def get(name: str) -> Any:
    """The value of one key of `DJSCI`, or its default."""
    configured: Mapping[str, Any] = getattr(settings, "DJSCI", {})
    if not isinstance(configured, Mapping):
        raise ImproperlyConfigured("DJSCI is not a dict.")
    if not configured.keys() <= DEFAULTS.keys():
        unknown = sorted(set(configured) - set(DEFAULTS))
        raise ImproperlyConfigured(f"DJSCI has no key {', '.join(map(repr, unknown))}.")
    value = configured.get(name, DEFAULTS[name])
    default = DEFAULTS[name]
    if isinstance(default, dict) and default and isinstance(value, Mapping):
        return {**default, **value}
    return value


def container() -> Settings:
    """How containers are started here. Raises `ValueError` for what the setting cannot be."""
    return Settings.read(get("CONTAINER"))


def serves_this_machine_only() -> bool:
    """Whether every host that the site answers to is this machine's loopback."""
    hosts = settings.ALLOWED_HOSTS or ["localhost"]
    return all(_LOOPBACK.fullmatch(host) for host in hosts)


def running_slots() -> int:
    """How many runs this host executes at once."""
    configured = get("RUNNING")
    if configured is not None:
        return int(configured)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    by_memory = int(memory * 0.75 // get("MEMORY_LIMIT"))
    return max(1, min(4 * (os.cpu_count() or 1), by_memory))
