"""Who holds the lease writes; who lost it writes nothing; what vanished is swept once."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from djsci import conf
from djsci.models import Executor, LogRow, PrivateFile, Run
from djsci.runs import claims, log, retention, sweep

MakeFile = Callable[..., PrivateFile]


@pytest.fixture
def make_run(make_file: MakeFile, user: Any) -> Callable[..., Run]:
    """A run row as an executor that is not of this process would have left it."""

    def make(**columns: Any) -> Run:
        file = PrivateFile.objects.first() or make_file("def djsci_handler(request): return 1")
        defaults = {
            "trigger": "api",
            "timeout": 60,
            "memory": 1,
            "starts": 1,
            "created": timezone.now(),
        }
        run = Run.objects.create(
            file=file,
            version=file.version,
            user=user,
            queue="elsewhere",
            **(defaults | columns),
        )
        assert append(run, lease=run.lease, head=0)
        return run

    return make


def append(run: Run, *, lease: int, head: int, **columns: Any) -> bool:
    with transaction.atomic():
        line = log.numbered('{"type":"log"}', seq=head + 1, t=0.0)
        return log.append(
            log.Append(run_id=run.pk, lease=lease, head=head, lines=[line], columns=columns)
        )


def test_only_the_lease_and_the_right_head_append(make_run: Callable[..., Run]):
    run = make_run(state="running", lease=3)
    assert not append(run, lease=2, head=1)
    assert not append(run, lease=3, head=0)
    assert append(run, lease=3, head=1)
    assert LogRow.objects.filter(run=run).count() == 2


def test_a_final_run_takes_nothing_more(make_run: Callable[..., Run]):
    run = make_run(state="running", lease=1)
    assert append(run, lease=1, head=1, state="succeeded")
    assert not append(run, lease=1, head=2)
    assert not log.take_over(run.pk, lease=1, events=[], columns={})


def executor_row(*, pid: int, started: int, **columns: Any) -> Executor:
    defaults = {
        "host": claims.platform.node(),
        "boot": claims.boot_id(),
        "pid_namespace": claims.pid_namespace(),
        "slots": 1,
        "seen": timezone.now(),
    }
    return Executor.objects.create(
        id=uuid.uuid4(), pid=pid, process_started=started, **(defaults | columns)
    )


def test_runs_of_a_dead_neighbour_are_lost_at_once(make_run: Callable[..., Run]):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = claims.process_started(child.pid)
        row = executor_row(pid=child.pid, started=started)
        run = make_run(
            state="running", lease=1, executor=row, lease_until=timezone.now() + timedelta(hours=1)
        )
        sweep.reap_dead_neighbours()
        run.refresh_from_db()
        assert run.state == "running"
        child.communicate(b"\n", timeout=10)
    sweep.reap_dead_neighbours()
    run.refresh_from_db()
    assert (run.state, run.lease, run.head) == ("lost", 2, 2)
    assert not append(run, lease=1, head=1)


def test_a_recycled_pid_is_not_taken_for_the_executor(make_run: Callable[..., Run]):
    row = executor_row(pid=os.getpid(), started=claims.process_started(os.getpid()) - 1)
    run = make_run(state="running", lease=1, executor=row, lease_until=timezone.now())
    sweep.reap_dead_neighbours()
    run.refresh_from_db()
    assert run.state == "lost"


HIDDEN = """
import os
import signal
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "djsci"])
django.setup()
from djsci.isolation import process
from djsci.runs import claims

def become_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

asked, told = os.pipe()
child = os.fork()
if not child:
    become_nobody()
    process.hide()
    os.write(told, str(claims.process_started(os.getpid())).encode())
    signal.pause()
started = int(os.read(asked, 32))
looker = os.fork()
if not looker:
    become_nobody()
    print(claims.process_started(child), claims.is_alive(child, started), flush=True)
    os._exit(0)
os.waitpid(looker, 0)
os.kill(child, 9)
os.waitpid(child, 0)
print(claims.is_alive(child, started))
"""
HIDES = ("unshare", "-m", "sh", "-c", 'mount -t proc -o hidepid=invisible proc /proc && exec "$@"')


def test_a_neighbour_that_proc_hides_is_not_taken_for_dead():
    if subprocess.run([*HIDES, "sh", "true"], capture_output=True).returncode:
        pytest.skip("no /proc of its own can be mounted here")
    command = [*HIDES, "sh", sys.executable, "-c", HIDDEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("0 True\nFalse\n", 0), done.stderr


def test_an_expired_lease_is_reaped_only_after_two_looks(
    make_run: Callable[..., Run], settings: Any
):
    settings.DJSCI = {"LEASE": 3, "HEARTBEAT": 0}
    row = executor_row(pid=1, started=1, host="elsewhere")
    expired = timezone.now() - timedelta(seconds=60)
    dead = make_run(state="running", lease=1, executor=row, lease_until=expired)
    alive = make_run(state="running", lease=1, executor=row, lease_until=expired)
    looks = sweep.Looks()
    sweep.sweep(looks)
    assert Run.objects.filter(state="running").count() in (0, 2)
    Run.objects.filter(pk=alive.pk, state="running").update(lease_until=log.from_now(30))
    sweep.sweep(looks)
    dead.refresh_from_db()
    assert dead.state == "lost"


def test_a_renewed_lease_is_never_reaped(make_run: Callable[..., Run], settings: Any):
    settings.DJSCI = {"LEASE": 30, "HEARTBEAT": 5}
    row = executor_row(pid=1, started=1, host="elsewhere")
    expired = timezone.now() - timedelta(seconds=60)
    run = make_run(state="running", lease=1, executor=row, lease_until=expired)
    looks = sweep.Looks()
    sweep.sweep(looks)
    assert claims.renew(row.pk, [run.pk])[run.pk].lease == 1
    settings.DJSCI = {"LEASE": 30, "HEARTBEAT": 0}
    sweep.sweep(looks)
    sweep.sweep(looks)
    run.refresh_from_db()
    assert run.state == "running"


def test_a_lost_run_with_retries_is_queued_again_with_its_log(make_run: Callable[..., Run]):
    row = executor_row(pid=os.getpid(), started=1)
    run = make_run(state="running", lease=1, executor=row, starts=1, retries=1)
    sweep.reap_dead_neighbours()
    run.refresh_from_db()
    assert (run.state, run.head, run.executor) == ("queued", 3, None)


def test_a_run_far_past_its_deadline_is_ended(make_run: Callable[..., Run], settings: Any):
    settings.DJSCI = {"GRACE": 0, "LEASE": 0}
    run = make_run(
        state="running",
        lease=1,
        timeout=0,
        lease_until=timezone.now() + timedelta(seconds=30),
        deadline=timezone.now() - timedelta(hours=1),
    )
    watched = make_run(
        state="running",
        lease=1,
        timeout=60,
        lease_until=timezone.now() + timedelta(seconds=30),
        deadline=timezone.now() - timedelta(hours=1),
    )
    looks = sweep.Looks()
    sweep.sweep(looks)
    run.refresh_from_db()
    assert (run.state, run.abandoned) == ("timed_out", True)
    watched.refresh_from_db()
    assert watched.state == "running"
    looks.busy = {what: since - 60 for what, since in looks.busy.items()}
    sweep.sweep(looks)
    watched.refresh_from_db()
    assert watched.state == "timed_out"


def test_a_run_queued_for_a_day_is_cancelled(make_run: Callable[..., Run]):
    long_ago = timezone.now() - timedelta(seconds=conf.intervals.queued_for + 60)
    run = make_run(created=long_ago, starts=0)
    sweep.sweep(sweep.Looks())
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_an_old_run_that_is_queued_again_gets_its_day_too(make_run: Callable[..., Run]):
    day = timedelta(seconds=conf.intervals.queued_for)
    now = timezone.now()
    known = {"created": now - 2 * day, "lease": 1, "starts": 1, "retries": 3}
    waits = make_run(**known, deadline=now - day + timedelta(seconds=60))
    waited = make_run(**known, deadline=now - day - timedelta(seconds=60))
    sweep.sweep(sweep.Looks())
    waits.refresh_from_db()
    waited.refresh_from_db()
    assert (waits.state, waited.state) == ("queued", "cancelled")


def test_q2_the_user_with_the_fewest_running_goes_first(
    make_run: Callable[..., Run], django_user_model: Any
):
    bob = django_user_model.objects.create_user("bob")
    mine = [make_run().pk for _ in range(5)]
    Run.objects.filter(pk__in=mine).update(queue="fair")
    his = make_run()
    Run.objects.filter(pk=his.pk).update(queue="fair", user=bob)
    with override_settings(DJSCI={"RUNNING": 2}):
        taken = claims.claim(uuid.uuid4(), slots=2, queues=["fair"])
    assert [item.run_id for item in taken.claims] == [mine[0], his.pk]
    assert taken.are_left
    Run.objects.all().delete()


def test_a_run_that_was_queued_again_while_a_cancel_came_is_cancelled(make_run: Callable[..., Run]):
    run = make_run(lease=1, starts=1, retries=1, cancel="asked")
    sweep.sweep(sweep.Looks())
    run.refresh_from_db()
    assert (run.state, run.reason) == ("cancelled", "cancelled before it started again")


def test_what_takes_long_to_remove_does_not_hold_up_the_tick(
    tmp_path: Path, transactional_db: None, settings: Any
):
    program, gate = tmp_path / "podman", tmp_path / "gate"
    os.mkfifo(gate)
    program.write_text(f"#!/bin/sh\nread line < {gate}\n")
    program.chmod(0o755)
    settings.DJSCI = {"CONTAINER": {"command": str(program)}}
    looks = sweep.Looks(next_hour=float("inf"))
    sweep.sweep(looks)  # the program has not answered
    first = looks.aside
    assert first is not None
    assert first.is_alive()
    looks.next_minute = 0
    sweep.sweep(looks)
    assert looks.aside is first
    gate.write_text("go on\n")
    first.join(60)
    assert not first.is_alive()


def test_retention_does_not_hold_up_the_tick(make_run: Callable[..., Run], settings: Any):
    settings.DJSCI = {"RETENTION": {"logs": None, "runs": 1}}
    old = timezone.now() - timedelta(days=2)
    runs = [make_run(state="running", lease=1) for _ in range(3)]
    for run in runs:
        assert append(run, lease=1, head=1, state="succeeded", ended=old)
    assert retention.purge_some(most=2).runs == 2
    looks = sweep.Looks()
    sweep.sweep(looks)
    assert not Run.objects.exists()
    settings.DJSCI = {"RETENTION": {"logs": None, "runs": None}}
    sweep.sweep(looks)
    assert looks.next_hour > 0
