"""System checks: what is set wrongly, and the one thing to change."""

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from djsci.access import addresses, origins
from djsci.core.connections import MOST_HOSTS, OPEN, parse_host
from djsci.engines import registry
from djsci.isolation import probe, python

from . import brokers, conf, options, served, setting_values, walled
from .setting_values import is_texts

PEP723 = '{"index": "https://pypi.org/simple"} or {"find_links": ["/srv/wheels"]}'
_IN_MEMORY = "channels.layers.InMemoryChannelLayer"


@register("djsci")
def check(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Everything but what concerns a deployment; values that cannot be read come alone."""
    for look in (setting_values.keys, setting_values.kinds):
        if messages := list(look()):
            return messages
    return [message for look in _CHECKS for message in look()]


@register("djsci", Tags.security, deploy=True)
def check_hosts(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Of a deployment only: an error would keep a project that has lived with it from migrating."""
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    text = "ALLOWED_HOSTS takes every host: origins of sockets and links cannot be told apart."
    return [Error(text, hint="Name the site's hosts.", id="djsci.E009")]


@register("djsci", Tags.security, deploy=True)
def check_walls(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Of a deployment only: canaries are run, which takes seconds."""
    level = conf.get("ISOLATION")
    levels = ("bwrap", "landlock") if level == "auto" else (level,)
    reasons = [reason for name in levels if (reason := probe.probe(name))]
    if len(reasons) < len(levels):
        return []
    text = f"DJSCI['ISOLATION'] is {level!r}, which does not hold here; every run is refused."
    return [Error(text, hint=" ".join(reasons), id="djsci.E014")]


def _proxies() -> Iterator[CheckMessage]:
    try:
        addresses.trusted_proxies()
    except ValueError as error:
        hint = "List addresses and networks, as 10.0.0.0/8."
        yield Error(f"DJSCI['TRUSTED_PROXIES']: {error}.", hint=hint, id="djsci.E003")


def _origins() -> Iterator[CheckMessage]:
    for entry in conf.get("ALLOWED_ORIGINS"):
        if origins.parse(entry) is None:
            text = f"DJSCI['ALLOWED_ORIGINS']: {entry!r} is not an origin."
            hint = "Scheme, host and port, no path and no star: https://app.example.org"
            yield Error(text, hint=hint, id="djsci.E004")


def _engines() -> Iterator[CheckMessage]:
    for kind, engine in conf.get("ENGINES").items():
        if engine == "thread":
            text = f"DJSCI['ENGINES'][{kind!r}]: 'thread' runs code in the server's own process."
            hint = "A superuser chooses it for one trusted version of a file."
            yield Error(text, hint=hint, id="djsci.E005")
        elif engine not in options.ENGINES:
            text = f"DJSCI['ENGINES'][{kind!r}]: there is no engine {engine!r}."
            hint = f"One of {', '.join(options.ENGINES)}, but thread."
            yield Error(text, hint=hint, id="djsci.E006")


def _container() -> Iterator[CheckMessage]:
    try:
        conf.container()
    except ValueError as error:
        hint = '{"command": "podman", "image": "djsci-guest", "runtime": "runsc", "options": []}'
        yield Error(f"DJSCI['CONTAINER']: {error}.", hint=hint, id="djsci.E024")


def _isolation() -> Iterator[CheckMessage]:
    """What can be seen at once; whether a level really holds is tried by `--deploy` and doctor."""
    level = conf.get("ISOLATION")
    if level not in options.LEVELS:
        text = f"DJSCI['ISOLATION']: {level!r} is not available; every run is refused."
        yield Error(text, hint=f"One of {', '.join(options.LEVELS)}.", id="djsci.E007")
    elif level != "auto" and not list(_container()) and (reason := probe.missing(level)):
        text = f"DJSCI['ISOLATION'] is {level!r}, which cannot be had here; every run is refused."
        yield Error(text, hint=reason, id="djsci.E013")
    elif level == "process" and not conf.serves_this_machine_only():
        text = "DJSCI['ISOLATION'] is 'process': there is no wall against hostile code."
        hint = "Let only people upload whom you would let log in to the server, or choose 'auto'."
        yield Warning(text, hint=hint, id="djsci.W001")
    elif level == "auto" and (reason := probe.missing("bwrap")):
        text = "DJSCI['ISOLATION'] is 'auto', and 'bwrap' cannot be had here."
        yield Warning(text, hint=reason, id="djsci.W007")


def _connections() -> Iterator[CheckMessage]:
    for name, connection in conf.get("CONNECTIONS").items():
        where = f"DJSCI['CONNECTIONS'][{name!r}]"
        if name == OPEN:
            yield Error(f"{where}: this name is the server's own network.", id="djsci.E020")
        elif not isinstance(connection, Mapping) or set(connection) - {"hosts", "env"}:
            hint = '{"hosts": ["db.internal:5432"], "env": {"WAREHOUSE_URL": "…"}}'
            yield Error(f"{where} is not a dict of hosts and env.", hint=hint, id="djsci.E020")
        else:
            yield from _connection(where, connection)


def _connection(where: str, connection: Mapping[str, Any]) -> Iterator[CheckMessage]:
    hosts, values = connection.get("hosts", []), connection.get("env", {})
    if not is_texts(hosts) or len(hosts) > MOST_HOSTS:
        yield Error(f"{where}: hosts is not a list of host:port.", id="djsci.E020")
        return
    try:
        _ = [parse_host(host) for host in hosts]
    except ValueError as error:
        yield Error(f"{where}: {error}.", id="djsci.E020")
    if not (isinstance(values, Mapping) and all(map(_is_variable, values.items()))):
        hint = "Names of environment variables, with texts, or what returns one when it is called."
        yield Error(f"{where}: env is not a dict of texts.", hint=hint, id="djsci.E020")
    elif hosts and conf.get("ISOLATION") in ("process", "landlock", "container"):
        text = (
            f"{where} names hosts, which the level {conf.get('ISOLATION')!r} cannot hold runs to."
        )
        hint = "At 'process' its runs reach everything, at the others they are refused."
        yield Warning(text, hint=hint, id="djsci.W010")


def _is_variable(item: tuple[Any, Any]) -> bool:
    name, value = item
    is_name = isinstance(name, str) and bool(name) and not {"=", "\0"} & set(name)
    return is_name and (isinstance(value, str) or callable(value))


def _environments() -> Iterator[CheckMessage]:
    for name, place in conf.get("ENVIRONMENTS").items():
        try:
            python.find(str(place))
        except OSError as error:
            text = f"DJSCI['ENVIRONMENTS'][{name!r}]: {error}."
            yield Error(text, id="djsci.E021")


def _headers() -> Iterator[CheckMessage]:
    try:
        site = registry.site()
        for place in site.pythons if site else ():
            python.find(place)
        if site and not find_spec("pip"):
            raise OSError("DJSCI['PEP723']: pip, which installs, is not in the server's Python.")
    except (ImproperlyConfigured, OSError) as error:
        yield Error(str(error), hint=PEP723, id="djsci.E023")
        return
    roots = [settings.MEDIA_ROOT, settings.STATIC_ROOT] if site else []
    for root in filter(None, roots):
        if site and Path(site.folder).resolve().is_relative_to(Path(root).resolve()):
            text = f"DJSCI['PEP723']: its folder is below {root}, which others may read or serve."
            yield Error(text, hint="Name a folder of its own.", id="djsci.E023")


def _leases() -> Iterator[CheckMessage]:
    if conf.get("LEASE") < 3 * conf.get("HEARTBEAT"):
        text = "DJSCI['LEASE'] is less than 3 times DJSCI['HEARTBEAT']: living runs may be lost."
        yield Error(text, hint="Raise LEASE.", id="djsci.E008")


def _names() -> Iterator[CheckMessage]:
    alias = conf.get("STORAGE")
    if alias not in settings.STORAGES:
        text = f"DJSCI['STORAGE']: STORAGES has no alias {alias!r}."
        yield Error(text, id="djsci.E011")


def _databases() -> Iterator[CheckMessage]:
    for alias, database in settings.DATABASES.items():
        if getattr(settings, "ASGI_APPLICATION", None) and database.get("CONN_MAX_AGE", 0) != 0:
            text = f"DATABASES[{alias!r}] keeps connections (CONN_MAX_AGE) under ASGI."
            hint = "Set CONN_MAX_AGE to 0; PostgreSQL has OPTIONS['pool'] for speed."
            yield Error(text, hint=hint, id="djsci.E012")
        if database.get("ENGINE", "").endswith(".sqlite3"):
            yield from _sqlite(alias, database.get("OPTIONS") or {})


def _sqlite(alias: str, chosen: Mapping[str, Any]) -> Iterator[CheckMessage]:
    where = f"DATABASES[{alias!r}]['OPTIONS']"
    if str(chosen.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        text = f"{where}: SQLite begins its transactions deferred; writers may find it locked."
        yield Warning(text, hint='"transaction_mode": "IMMEDIATE"', id="djsci.W002")
    if not re.search(r"journal_mode\s*=\s*['\"]?wal", str(chosen.get("init_command")), re.I):
        text = f"{where}: SQLite without a write-ahead log; readers and writers wait."
        hint = '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"'
        yield Warning(text, hint=hint, id="djsci.W003")


def _layer() -> Iterator[CheckMessage]:
    layer = (getattr(settings, "CHANNEL_LAYERS", None) or {}).get("default", {})
    engine = settings.DATABASES.get("default", {}).get("ENGINE", "")
    is_local = conf.get("DISPATCHER") == "local"
    is_one_process = is_local and (settings.DEBUG or engine.endswith(".sqlite3"))
    if layer.get("BACKEND") == _IN_MEMORY and not is_one_process:
        text = "The in-memory channel layer reaches one process; others hear of news by polling."
        hint = "channels_redis.pubsub.RedisPubSubChannelLayer reaches them all."
        yield Warning(text, hint=hint, id="djsci.W004")


def _time_zone() -> Iterator[CheckMessage]:
    if not settings.USE_TZ:
        text = "USE_TZ is off: times of runs may be off by the zone, and so may their limits."
        yield Warning(text, hint="USE_TZ = True, Django's default.", id="djsci.W006")


_CHECKS: tuple[Callable[[], Iterator[CheckMessage]], ...] = (
    _proxies,
    _origins,
    _engines,
    _container,
    _isolation,
    _connections,
    _environments,
    _headers,
    walled.users_of_runs,
    _leases,
    setting_values.default_queue,
    _names,
    _databases,
    brokers.dispatcher,
    _layer,
    served.stored_content,
    served.static_files,
    _time_zone,
)
