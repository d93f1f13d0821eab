"""Whose run starts next: the quick way to see it takes the same runs as a plain look at all."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Any

import pytest

from djsci.models import Run
from djsci.runs import turns
from djsci.runs.turns import Counts, Queued

NOW = datetime(2030, 6, 1, tzinfo=UTC)
CONCURRENCY = {"free": None, "two": 2, "one": 1}


def queued(pk: int, *, user: int, file: str) -> Queued:
    return Queued(str(pk), 0, 1, "default", 60, NOW, user, file, CONCURRENCY[file])


def plainly(runs: list[Queued], counts: Counts) -> Iterator[Queued]:
    """All that are left are looked at again for each that is taken."""
    left = list(runs)
    while left := [run for run in left if counts.allow(run)]:
        run = min(left, key=lambda run: counts.users[run.user])
        left.remove(run)
        yield run


@pytest.mark.parametrize("per_user", [None, 3])
@pytest.mark.parametrize("per_file", [None, 4])
@pytest.mark.parametrize("seed", range(10))
def test_the_same_runs_are_taken_in_the_same_order(
    db: None, settings: Any, seed: int, per_user: int | None, per_file: int | None
):
    settings.DJSCI = {"RUNNING_PER_USER": per_user, "RUNNING_PER_FILE": per_file}
    random = Random(seed)
    runs = [
        queued(place, user=random.randrange(5), file=random.choice(list(CONCURRENCY)))
        for place in range(60)
    ]

    def taken(turn: Any) -> list[str]:
        counts, order = Counts(Run.objects.none()), []
        counts.users = Counter({user: user % 3 for user in range(5)})
        for run in turn(runs, counts):
            counts.add(run)
            order.append(run.pk)
        return order

    assert taken(turns.in_turn) == taken(plainly)
    assert taken(turns.in_turn)


def test_a_queue_without_room_is_passed_over(db: None):
    runs = [
        queued(place, user=place % 2, file="free")._replace(queue=f"q{place % 3}")
        for place in range(9)
    ]
    left = Counter({"q0": 1, "q2": 2})
    counts = Counts(Run.objects.none())
    order = []
    for run in turns.in_turn(runs, counts, has_room=lambda run: left[run.queue] > 0):
        left[run.queue] -= 1
        counts.add(run)
        order.append(run.pk)
    assert order == ["0", "5", "2"]


def test_nobody_waits_behind_anothers_backlog(db: None):
    runs = [queued(place, user=1, file="free") for place in range(1000)]
    runs.append(queued(1000, user=2, file="free"))
    counts = Counts(Run.objects.none())
    order = []
    for run in islice(turns.in_turn(runs, counts), 3):
        counts.add(run)
        order.append(run.pk)
    assert order == ["0", "1000", "1"]
