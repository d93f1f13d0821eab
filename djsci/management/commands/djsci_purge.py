"""`manage.py djsci_purge`: remove logs and runs that are past their retention."""

from typing import Any

from django.core.management.base import BaseCommand

from djsci.runs import retention


class Command(BaseCommand):
    help = "Remove logs and runs that are past DJSCI['RETENTION']."

    def handle(self, *args: Any, **options: Any) -> None:
        logs, runs = retention.purge()
        self.stdout.write(f"{logs} logs and {runs} runs removed")
