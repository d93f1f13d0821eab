"""System checks of what runs are dispatched through: the dispatcher and Celery's settings."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages
from django.utils.module_loading import import_string

from . import conf
from .engines import registry
from .runs import dispatch

_MOST_UNACKED = 25 * 60  # seconds; RabbitMQ closes the channel of a message unacked for 30 min
_PLAIN = (FileSystemStorage,)  # exactly: a class of one's own may well be shared


def dispatcher() -> Iterator[CheckMessage]:
    """Whether there is one of that name, and what it needs."""
    path = dispatch.path()
    is_celery = path == dispatch.ALIASES["celery"]
    if is_celery and importlib.util.find_spec("celery") is None:
        text = "DJSCI['DISPATCHER'] is 'celery', which is not installed."
        yield Error(text, hint="pip install 'djsci[celery]'", id="djsci.E030")
        return
    try:
        is_dispatcher = issubclass(import_string(path), dispatch.Dispatcher)
    except (ImportError, TypeError):
        is_dispatcher = False
    if not is_dispatcher:
        text = f"DJSCI['DISPATCHER']: there is no dispatcher {conf.get('DISPATCHER')!r}."
        hint = f"One of {', '.join(dispatch.ALIASES)}, or a dotted path."
        yield Error(text, hint=hint, id="djsci.E010")
    elif is_celery:
        yield from _machines()
        yield from _celery()


def _machines() -> Iterator[CheckMessage]:
    """What workers on other machines could not reach."""
    if any(one.get("ENGINE", "").endswith(".sqlite3") for one in settings.DATABASES.values()):
        text = "Celery workers beside SQLite: they must be on this host, with its local disk."
        yield Warning(text, hint="PostgreSQL serves several machines.", id="djsci.W031")
    alias = conf.get("STORAGE")
    try:
        is_plain = alias in settings.STORAGES and type(storages[alias]) in _PLAIN
    except InvalidStorageError:
        return
    if is_plain:
        text = f"STORAGES[{alias!r}] is a folder: workers on other machines must share it."
        hint = "A shared folder or S3. If it is shared, silence this check."
        yield Warning(text, hint=hint, id="djsci.W032")


def _celery() -> Iterator[CheckMessage]:
    """Celery's own settings, as the project's application has them."""
    from celery import current_app

    if current_app.main == "default":
        text = "There is no Celery application in this process: bells go to a broker by default."
        hint = "Import it in the project's __init__.py, as Celery's documents for Django say."
        yield Warning(text, hint=hint, id="djsci.W033")
        return
    chosen: Any = current_app.conf
    for name, wanted, why, is_good in _WANTED:
        if not is_good(chosen[name]):
            text = f"Celery's {name} is {chosen[name]!r}: {why}."
            yield Warning(text, hint=f"{name} = {wanted}", id="djsci.W034")
    scheme = str(chosen.broker_url or "amqp").partition(":")[0]
    if scheme in ("amqp", "amqps", "pyamqp") and _longest() > _MOST_UNACKED:
        text = "DJSCI['TIMEOUT'], and the time for installing in PEP723, are over 25 minutes:"
        text += " RabbitMQ closes a channel whose message is unacked for 30, and its worker stops."
        hint = "Raise RabbitMQ's consumer_timeout above their sum, then silence this check."
        yield Warning(text, hint=hint, id="djsci.W035")


def _longest() -> float:
    """Seconds that a bell may be unacked: a run, and before it what is installed for it."""
    try:
        site = registry.site()
    except ImproperlyConfigured:  # which has a check of its own
        site = None
    return float(conf.get("TIMEOUT")) + (site.timeout if site else 0.0)


_WANTED: tuple[tuple[str, str, str, Callable[[Any], bool]], ...] = (
    (
        "worker_prefetch_multiplier",
        "1",
        "a busy worker takes bells that an idle one could answer",
        lambda value: value == 1,
    ),
    (
        "accept_content",
        '["json"]',
        "anything but JSON from a broker may be code",
        lambda value: set(value) <= {"json", "application/json"},
    ),
    (
        "task_time_limit",
        "None",
        "it kills workers in the middle of runs, which have limits of their own",
        lambda value: value is None,
    ),
    (
        "worker_cancel_long_running_tasks_on_connection_loss",
        "False",
        "runs stop when the broker blinks",
        lambda value: not value,
    ),
    (
        "task_reject_on_worker_lost",
        "False",
        "bells of dead workers come back for ever; the sweep rings again",
        lambda value: not value,
    ),
)
