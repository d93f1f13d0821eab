"""`manage.py djsci_purge`: remove logs and runs past their retention, and bytes of neither."""

from typing import Any

from django.core.management.base import BaseCommand

from djsci.runs import retention


class Command(BaseCommand):
    help = "Remove logs and runs past DJSCI['RETENTION'], then what nothing needs any more."

    def handle(self, *args: Any, **options: Any) -> None:
        logs, runs = retention.purge()
        stored = retention.purge_blobs()
        made = retention.purge_environments()
        self.stdout.write(f"{logs} logs, {runs} runs and {stored} stored contents removed")
        if made:
            self.stdout.write(f"{made} environments removed")
