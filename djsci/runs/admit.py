"""Who, what, limits: a call becomes a queued run, or an error that says why not."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.utils import timezone

from djsci import blobs, conf, uploads, versions
from djsci.access import permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database_soon, in_files, require_asker, taking_turns
from djsci.core import attachments, requests, schema
from djsci.core.errors import Conflict, Draining, LimitReached, NotFound
from djsci.core.events import Status, dumps
from djsci.engines import registry
from djsci.guest.requests import HandlerRequest, UploadedFile, User
from djsci.models import PrivateFile, Run, Version

from . import claims, dispatch, executor, log, rings, tracing
from .gate import enter_gate

_REQUEST_INLINE = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An admitted run; `is_new` is False when an earlier call with the same key made it."""

    run_id: str
    is_new: bool


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who asks for which version, and how."""

    file: PrivateFile
    version: Version
    caller: Caller
    trigger: str
    key: str | None


@dataclass(frozen=True, kw_only=True)
class Call(Asked):
    """Everything that is asked for, checked and ready to become a row."""

    engine: str
    isolation: str
    parameters: dict[str, Any]
    request: str
    digest: str


async def start(
    file_id: str,
    *,
    caller: Caller,
    trigger: str,
    parameters: Mapping[str, Any] | None = None,
    text_parameters: Mapping[str, list[str]] | None = None,
    request: HandlerRequest | None = None,
    files: Sequence[tuple[str, UploadedFile]] = (),
    key: str | None = None,
) -> Started:
    """Admit a call of a file's present version.

    With `request` (classic URLs, `call/`) parameters are `text_parameters`, then the JSON object in
    its body, then `parameters`; unknown ones are ignored. Without, `parameters` alone make a POST
    whose JSON body they are, and unknown ones are refused; `files` go with them by the path of
    their parameter.
    Raises `NotFound`, `Forbidden`, `BadParameters`,
    `SourceInvalid`, `NoHandler`, `LimitReached`, `Conflict`, `Draining`, `IsolationUnavailable`.
    """
    headers = request.headers if request is not None else {}
    with tracing.of_admission(headers, trigger=trigger) as span:
        running = executor.current()
        if running is not None and running.is_draining:
            raise Draining
        file, version = await in_database_soon(_look_up, file_id, caller)
        span.note(file=file.pk)
        asked = Asked(file=file, version=version, caller=caller, trigger=trigger, key=key or None)
        path = f"/djsci/call/{file_id}/"
        call = await in_files(
            _prepare, asked, parameters or {}, text_parameters, request, path=path, files=files
        )
        started, bells = await in_database_soon(_admit, call)
        span.note(run=started.run_id)
        dispatch.current().ring(bells)
        return started


def _look_up(file_id: str, caller: Caller) -> tuple[PrivateFile, Version]:
    file = uploads.find(file_id)
    permissions.require_run(caller, file)
    return file, uploads.current_version(file)


def _prepare(
    asked: Asked,
    parameters: Mapping[str, Any],
    text: Mapping[str, list[str]] | None,
    request: HandlerRequest | None,
    *,
    path: str,
    files: Sequence[tuple[str, UploadedFile]],
) -> Call:
    """The call, in one thread: its parameters checked, its engine chosen, its request stored."""
    source = versions.source(asked.version)
    user = _user(asked.caller)
    is_strict = request is None
    sent = request or requests.build(files=files)
    values = schema.of_request(
        source.parameters, sent, text or {}, are_declared=source.takes_parameters
    )
    values = {**values, **parameters}
    values = attachments.attach(source.parameters, values, sent)
    checked = schema.validate(source.parameters, values, is_text=False, is_strict=is_strict)
    checked, more = attachments.detach(source.parameters, checked)
    if request is None:
        request = requests.from_parameters(checked, user=user, path=path)
    request = replace(
        request, parameters=checked, user=user, FILES=requests.with_files(sent.FILES, more)
    )
    choice = registry.choose(asked.file, asked.version, source)
    return Call(
        **vars(asked),
        engine=choice.engine,
        isolation=choice.isolation,
        parameters=checked,
        request=_stored(dumps(request.to_dict())),
        digest=_digest(request, checked, is_own=is_strict) if asked.key else "",
    )


def _user(caller: Caller) -> User:
    user = caller.user
    return User(
        id=user.pk if isinstance(user.pk, int | str) else str(user.pk),
        username=user.get_username(),
        is_authenticated=True,
        is_staff=bool(getattr(user, "is_staff", False)),
        is_superuser=bool(getattr(user, "is_superuser", False)),
    )


def _stored(text: str) -> str:
    return text if len(text) <= _REQUEST_INLINE else "blob:" + blobs.put(text.encode())


def _digest(request: HandlerRequest, parameters: Mapping[str, Any], *, is_own: bool) -> str:
    """What two calls with one key must have in common; `is_own`: we made the request ourselves."""
    path = "" if is_own else request.path_info  # ours says whether the id or the name was used
    parts = json.dumps(
        [request.method, path, dict(request.GET.lists()), dict(parameters)],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(parts.encode() + b"\0" + request.body).hexdigest()


def _admit(call: Call) -> tuple[Started, list[dispatch.Bell]]:
    try:
        with executor.admitting() as taker:
            return _insert(call, taker)
    except IntegrityError:
        earlier = _earlier(call)
        if earlier is not None:
            return earlier, []
        if not Version.objects.filter(pk=call.version.pk).exists():
            raise NotFound from None  # the file was deleted since it was looked up
        raise


@taking_turns()
def _insert(call: Call, taker: executor.Executor | None) -> tuple[Started, list[dispatch.Bell]]:
    """Quotas are counted and the run is written, with seq 1, under one lock.

    `taker` takes it at once where nothing else waits.
    """
    enter_gate()
    earlier = _earlier(call)
    if earlier is not None:
        return earlier, []
    has_company = _check_quotas(call)
    run = _new_run(call)
    claim = None
    if taker is not None and not has_company:
        claim = claims.claim_new(taker.id, run, slots=taker.slots, queues=taker.queues)
    log.begin(run, Status(state="queued"))
    require_asker()
    started = Started(run_id=run.pk, is_new=True)
    if taker is None or claim is None:
        return started, rings.admitted(run)
    transaction.on_commit(partial(taker.begin, claim))
    return started, []


def _new_run(call: Call) -> Run:
    settings = call.file.settings
    return Run(
        file=call.file,
        version=call.version,
        user=call.caller.user,
        token=call.caller.token,
        trigger=call.trigger,
        engine=call.engine,
        isolation=call.isolation,
        parameters=call.parameters,
        request=call.request,
        timeout=min(settings.get("timeout") or conf.get("TIMEOUT"), conf.get("TIMEOUT")),
        memory=min(settings.get("memory") or conf.get("MEMORY_LIMIT"), conf.get("MEMORY_LIMIT")),
        retries=settings.get("retries", conf.get("RETRIES")),
        queue=settings.get("queue") or "default",
        created=timezone.now(),
        format=claims.FORMAT,
        key=call.key,
        key_digest=call.digest,
    )


def _earlier(call: Call) -> Started | None:
    """The run that the same key made within its time; another body under it is a conflict."""
    if call.key is None:
        return None
    runs = Run.objects.filter(user=call.caller.user, file=call.file, key=call.key)
    run = runs.values("pk", "created", "key_digest").first()
    if run is None:
        return None
    if run["created"] < timezone.now() - timedelta(seconds=conf.intervals.kept_key):
        runs.update(key=None)
        return None
    if run["key_digest"] != call.digest:
        raise Conflict("This idempotency key was used with another body.")
    return Started(run_id=run["pk"], is_new=False)


def _check_quotas(call: Call) -> bool:
    """Whether other runs are waiting. Raises `LimitReached`."""
    mine = Count("pk", filter=Q(user=call.caller.user))
    queued = Run.objects.filter(state="queued").aggregate(mine=mine, all=Count("pk"))
    if queued["mine"] >= conf.get("QUEUE_PER_USER"):
        raise LimitReached("QUEUE_PER_USER: too many of your runs are waiting.", retry_after=5)
    if queued["all"] >= conf.get("QUEUE"):
        raise LimitReached("QUEUE: too many runs are waiting on this site.", retry_after=10)
    return bool(queued["all"])
