"""`manage.py djsci_run`: claim one queued run and execute it here, as a Kubernetes Job does."""

import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from djsci.runs import executor

EXITS = {"ended": 0, "queued": 75, "refused": 75, "lost": 70}  # EX_TEMPFAIL, EX_SOFTWARE


class Command(BaseCommand):
    help = (
        "Claim one queued run and execute it in the foreground. Exit status 0: its end was"
        " written, whatever its state; 75: the claim was refused, or the run is queued again;"
        " 70: its lease was lost."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", help="the run's id")

    def handle(self, *args: Any, **options: Any) -> None:
        mine = executor.start(executor.Role(executes=True, slots=1, queues=()))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: executor.drain_soon())
        try:
            outcome = mine.execute(options["run"])
        finally:
            executor.stop()
        self.stdout.write(f"{options['run']}: {outcome}")
        sys.exit(EXITS[outcome])
