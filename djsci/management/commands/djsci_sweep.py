"""`manage.py djsci_sweep`: end what vanished executors left, for sites without a running one."""

import logging
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from djsci import conf
from djsci.runs import dispatch, sweep

logger = logging.getLogger("djsci.sweep")


class Command(BaseCommand):
    help = "End runs whose executor vanished; with --once, one round and out."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="look twice, then stop")

    def handle(self, *args: Any, **options: Any) -> None:
        looks = sweep.Looks()
        while not options["once"]:
            try:
                sweep.sweep(looks)
            except Exception as error:
                logger.warning("a sweep failed: %s: %s", type(error).__name__, error)
                connections.close_all()
            time.sleep(2 * conf.get("HEARTBEAT"))
        sweep.sweep(looks)
        time.sleep(2 * conf.get("HEARTBEAT"))
        sweep.sweep(looks)
        if looks.aside is not None:
            looks.aside.join()
        dispatch.current().close(10)
