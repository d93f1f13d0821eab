"""`manage.py djsci_sweep`: end what vanished executors left, for sites without a running one."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from djsci import conf
from djsci.runs import dispatch, sweep


class Command(BaseCommand):
    help = "End runs whose executor vanished; with --once, one round and out."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="look twice, then stop")

    def handle(self, *args: Any, **options: Any) -> None:
        looks = sweep.Looks()
        sweep.sweep(looks)
        while True:
            time.sleep(2 * conf.get("HEARTBEAT"))
            sweep.sweep(looks)
            if options["once"]:
                if looks.aside is not None:
                    looks.aside.join()
                dispatch.current().close(10)
                return
