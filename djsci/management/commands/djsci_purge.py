"""`manage.py djsci_purge`: remove logs and runs past their retention, and bytes of neither."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from djsci.engines import folders
from djsci.runs import retention


class Command(BaseCommand):
    help = (
        "Remove logs and runs past DJSCI['RETENTION'], idempotency keys and tickets that ended, "
        "stored bytes that nothing names, this host's folders of servers that are gone, and its "
        "environments that no run uses. It may run beside a server, in batches. Audit rows stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and keep it")

    def handle(self, *args: Any, **options: Any) -> None:
        rehearses: bool = options["dry_run"]
        went = retention.rehearse() if rehearses else retention.purge()
        stored = retention.purge_blobs(rehearses=rehearses)
        left = folders.remove_abandoned(rehearses=rehearses)
        counts = {
            "logs": went.logs,
            "runs": went.runs,
            "idempotency keys": went.keys,
            "tickets": went.tickets,
            "stored contents": stored,
            "folders": left,
            "environments": retention.purge_environments(rehearses=rehearses),
        }
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        self.stdout.write(f"{said} {'would be' if rehearses else 'were'} removed")
