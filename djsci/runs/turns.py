"""Which queued runs may start and in which order: limits of users and files, fair shares."""

import platform
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import QuerySet

from djsci import conf
from djsci.models import Run


class Owed(NamedTuple):
    """Whose run it is: `concurrency` is the most that its file may have at once."""

    user: Any
    file: str
    concurrency: int | None


class Queued(NamedTuple):
    """What decides on a queued run, and what its claim begins with."""

    pk: str
    lease: int
    head: int
    queue: str
    timeout: float
    created: datetime
    user: Any
    file: str
    concurrency: int | None


def owed_by(run: Run) -> Owed:
    """The same of a run and its file."""
    return Owed(run.user_id, run.file_id, (run.file.settings or {}).get("concurrency"))


def in_order(runs: QuerySet[Run]) -> list[Queued]:
    """At most `QUEUE` of them, the oldest first: more cannot wait."""
    columns = (*Queued._fields[:-1], "file__settings__concurrency")
    rows = runs.order_by("created").values_list(*columns)[: conf.get("QUEUE")]
    return list(map(Queued._make, rows))


def in_turn(
    runs: Iterable[Queued],
    counts: "Counts",
    *,
    has_room: Callable[[Queued], bool] = lambda run: True,
) -> Iterator[Queued]:
    """Those that may start: of the user with the fewest running, then the oldest.

    Who takes one adds it to `counts`; what a limit, or the want of room, keeps back once, it keeps
    back to the end.
    """
    of_users: dict[object, deque[tuple[int, Queued]]] = defaultdict(deque)
    for place, run in enumerate(runs):
        of_users[run.user].append((place, run))
    while True:
        for waiting in of_users.values():
            while waiting and not (has_room(waiting[0][1]) and counts.allow(waiting[0][1])):
                waiting.popleft()
        first = [waiting for waiting in of_users.values() if waiting]
        if not first:
            return
        turn = min(first, key=lambda waiting: (counts.users[waiting[0][1].user], waiting[0][0]))
        yield turn.popleft()[1]


class Counts:
    """How many of some runs there are, of each user, of each file, on this host; their limits."""

    def __init__(self, runs: QuerySet[Run]) -> None:
        self.users: Counter[object] = Counter()
        self.files: Counter[object] = Counter()
        self.host = 0
        self._per_user: int | None = conf.get("RUNNING_PER_USER")
        self._per_file: int | None = conf.get("RUNNING_PER_FILE")
        here = platform.node()
        for user, file, host in runs.values_list("user", "file", "executor__host"):
            self.users[user] += 1
            self.files[file] += 1
            self.host += host == here

    def allow(self, run: Queued | Owed) -> bool:
        """Whether one more of the run's user and of its file may be executed now."""
        return (
            (self._per_user is None or self.users[run.user] < self._per_user)
            and (self._per_file is None or self.files[run.file] < self._per_file)
            and (run.concurrency is None or self.files[run.file] < run.concurrency)
        )

    def add(self, run: Queued) -> None:
        """One more, on this host."""
        self.users[run.user] += 1
        self.files[run.file] += 1
        self.host += 1


def is_limited(run: Owed) -> bool:
    """Whether there is a limit for the run's user or for its file."""
    limits = (conf.get("RUNNING_PER_USER"), conf.get("RUNNING_PER_FILE"), run.concurrency)
    return any(limit is not None for limit in limits)
