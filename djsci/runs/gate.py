"""The one lock under which quotas are counted and runs claimed, to the transaction's end."""

from django.db import connection

from djsci.models import Run

_ADVISORY_LOCK = 0x646A736369  # "djsci"


def enter_gate() -> None:
    """Wait for the lock; must be the first statement of a transaction.

    PostgreSQL: a transaction-scoped advisory lock, a statement of its own. SQLite: an UPDATE takes
    the database's write lock whether or not it finds a row.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
    else:
        Run.objects.filter(pk="").update(head=0)
