"""One run, from its lease to its `end`: the only place where an engine's events become log rows."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Literal

from django.db.models.functions import Now

from djsci import blobs, conf, versions
from djsci.access import logs, permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database, in_files
from djsci.core.errors import DjsciError
from djsci.core.events import LIVE, End, Event, Log, Status
from djsci.core.sources import Source
from djsci.engines import registry
from djsci.engines.base import Limits, Stop
from djsci.engines.opening import Engines
from djsci.engines.registry import Choice
from djsci.guest.requests import HandlerRequest
from djsci.models import Run

from . import installation, tracing
from .claims import Claim
from .grants import grant
from .log import from_now
from .masking import Masker
from .recorder import LeaseLost, Recorder
from .writer import DatabaseAway, Writer

logger = logging.getLogger("djsci.runs")

# What became of a run that this process was told to execute; `queued`: again, for another one.
Outcome = Literal["ended", "queued", "refused", "lost"]


@dataclass(slots=True, kw_only=True)
class Execution:
    """A run that is executed here, as the executor sees it."""

    claim: Claim
    stop: Stop = field(default_factory=Stop)
    task: "asyncio.Task[Outcome] | None" = None
    was_cancelled: bool = False
    reason: str = ""
    renewed: float = field(default_factory=time.monotonic)
    has_retries: bool = False
    is_lost: bool = False

    @property
    def is_unrenewed(self) -> bool:
        """Whether the lease has run out, or without retries, when nobody starts it anew, long."""
        patience = float(conf.get("LEASE"))
        if not self.has_retries:
            patience = max(conf.intervals.unrenewed, patience)
        return time.monotonic() - self.renewed > patience

    def lose(self) -> None:
        """The lease is gone: kill the run, write nothing more."""
        self.is_lost = True
        self.stop.force()


async def execute(execution: Execution, *, engines: Engines, writer: Writer) -> Outcome:
    """Run it to its end. Never raises: what goes wrong is the run's state, or in the log file."""
    claim = execution.claim
    with logs.about(run=claim.run_id, lease=claim.lease):
        try:
            return await _execute(execution, engines, writer)
        except (LeaseLost, DatabaseAway) as error:
            reason = type(error).__name__
            logger.warning("run %s: %s; its lease is given up", claim.run_id, reason)
        except Exception:
            logger.exception("run %s could not be executed", claim.run_id)
    return "lost"


async def _execute(execution: Execution, engines: Engines, writer: Writer) -> Outcome:
    run, refusal = await in_database(_load, execution.claim)
    headers = await in_files(tracing.headers_of, run.request) if tracing.is_on() else {}
    execution.has_retries = run.starts <= run.retries
    recorder = _recorder(run, execution, writer)
    with tracing.of_run(headers, run=run.pk, file=run.file_id) as span:
        try:
            await recorder.add(Status(state="starting"))
            end = await _run(run, refusal, execution, engines, recorder)
            span.note(engine=run.engine, isolation=run.isolation)
            span.end(end.state)
            if execution.is_lost:
                raise LeaseLost(run.pk)
            if _may_start_again(run, execution, end):
                await recorder.hand_back(f"{end.state}: {end.reason}; it is started again")
                return "queued"
            await recorder.end(end)
            logger.info("run %s: %s after %.3f s", run.pk, end.state, end.elapsed or 0.0)
            return "ended"
        finally:
            await recorder.abort()


def _recorder(run: Run, execution: Execution, writer: Writer) -> Recorder:
    async def store(content: bytes) -> str:
        return await in_files(blobs.put, content)

    return Recorder(
        run_id=run.pk,
        lease=execution.claim.lease,
        head=execution.claim.head,
        write=writer.append,
        store=store,
        output_limit=conf.get("OUTPUT_LIMIT"),
        running_columns={"started": Now(), "deadline": from_now(run.timeout)},
        on_failure=execution.lose,
    )


async def _run(
    run: Run, refusal: str | None, execution: Execution, engines: Engines, recorder: Recorder
) -> End:
    """Everything between the claim and the end; returns the `End` that is to be written."""
    began = time.monotonic()
    try:
        if refusal is None:
            refusal = await in_database(_refusal, run)
        if refusal:
            return End(state="denied", elapsed=0.0, reason=refusal)
        source, request, choice = await in_files(_prepare, run)
        await _note(run, choice, recorder)
        limits = await _limits(run)
        async with installation.ready(run, choice, recorder, stop=execution.stop) as failure:
            if failure is not None:
                end = failure
            else:
                async with engines.used(choice) as engine:
                    end = await _pump(
                        engine.execute(source, request, limits=limits, stop=execution.stop),
                        recorder,
                        Masker(limits.grant.values.values()),
                    )
    except (LeaseLost, DatabaseAway):
        raise
    except DjsciError as error:
        end = End(state="crashed", reason=error.detail)
    except Exception as error:
        logger.exception("run %s: the engine failed", run.pk)
        end = End(state="crashed", reason=f"the engine failed: {type(error).__name__}")
    elapsed = end.elapsed if end.elapsed is not None else time.monotonic() - began
    reason = execution.reason if end.state == "cancelled" and execution.reason else end.reason
    return End(state=end.state, elapsed=round(elapsed, 6), reason=reason, abandoned=end.abandoned)


async def _limits(run: Run) -> Limits:
    return Limits(
        timeout=run.timeout,
        grace=conf.get("GRACE"),
        memory=run.memory,
        pids=conf.get("PIDS_LIMIT"),
        result=conf.get("RESULT_LIMIT"),
        artifacts=conf.get("ARTIFACT_LIMIT"),
        grant=await in_files(grant, run.file),
    )


def _prepare(run: Run) -> tuple[Source, HandlerRequest, Choice]:
    """What runs, with what, and how by what holds now: trust may have been given or withdrawn."""
    source = replace(
        versions.source(run.version),
        file=str(run.file_id),
        version=str(run.version_id),
        run=str(run.pk),
    )
    return source, stored_request(run), registry.choose(run.file, run.version, source)


async def _note(run: Run, choice: Choice, recorder: Recorder) -> None:
    if (choice.engine, choice.isolation) != (run.engine, run.isolation):
        await in_database(_note_choice, run.pk, choice)
        run.engine, run.isolation = choice.engine, choice.isolation
    if choice.warning:
        await recorder.add(Log(level="warning", message=choice.warning))


def _note_choice(run_id: str, choice: Choice) -> None:
    Run.objects.filter(pk=run_id).update(engine=choice.engine, isolation=choice.isolation)


def _may_start_again(run: Run, execution: Execution, end: End) -> bool:
    """Whether a crash or a shutdown, and nobody's wish, stopped a run that has retries left."""
    was_shut_down = end.state == "cancelled" and execution.reason == "shutdown"
    is_unwanted = was_shut_down or end.state == "crashed"
    return is_unwanted and not execution.was_cancelled and run.starts <= run.retries


async def _pump(events: AsyncGenerator[Event, None], recorder: Recorder, masker: Masker) -> End:
    async with aclosing(events):
        async for said in events:
            for event in masker.take(said):
                if isinstance(event, End):
                    return event
                await recorder.add(event)
    return End(state="crashed", reason="the engine ended without saying how")


def _load(claim: Claim) -> tuple[Run, str | None]:
    """The run and its refusal; None when that must be asked again, where an error ends the run.

    Raises `LeaseLost` before anything of it has started.
    """
    run = Run.objects.select_related("file", "version", "user", "token__user").get(pk=claim.run_id)
    if run.lease != claim.lease or run.state not in LIVE or run.state == "queued":
        raise LeaseLost(run.pk)
    try:
        return run, _refusal(run)
    except Exception as error:
        logger.warning("run %s: asking its rights failed: %s", run.pk, type(error).__name__)
        return run, None


def _refusal(run: Run) -> str:
    """Why the run may not start after all: rights are asked again when it is claimed."""
    if run.user is None:
        return "its user no longer exists"
    caller = Caller.of_run(run)
    return "" if permissions.may_run(caller, run.file) else "the right to run it was withdrawn"


def stored_request(run: Run) -> HandlerRequest:
    """What the handler is, or was, called with."""
    text = run.request
    if text.startswith("blob:"):
        text = blobs.get(text.removeprefix("blob:")).decode()
    return HandlerRequest.from_dict(json.loads(text))
