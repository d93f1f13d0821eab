"""`manage.py djsci_restored`: after a backup was put back, and before a server starts."""

from typing import Any

from django.core.management.base import BaseCommand

from djsci import blobs
from djsci.core.errors import SourceInvalid
from djsci.runs import retention, sweep

REASON = "it was open in the backup that was restored"


class Command(BaseCommand):
    help = (
        "End the runs that were open in a restored backup as lost: they may have ended since, and "
        "a queued one would start again. Then read all stored content that rows name; the exit "
        "status is 1 when some is missing or changed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        lost = sweep.lose_open(REASON)
        named = set(retention.referenced())
        broken = [sha256 for sha256 in sorted(named) if not self._is_whole(sha256)]
        said = f"{lost} open runs are lost; {len(named)} stored contents are named"
        self.stdout.write(f"{said}, {len(broken)} of them missing or changed")
        if broken:
            raise SystemExit(1)

    def _is_whole(self, sha256: str) -> bool:
        try:
            blobs.get(sha256)
        except SourceInvalid as error:
            self.stderr.write(f"{sha256}: {error}")
            return False
        return True
