"""Names of files are free when they are written: no two may be the same in any case."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, connection

from djsci.core.errors import Conflict

from . import names
from .access.database import writing
from .models import PrivateFile

_LOCK = 0x646A73636E  # "djscn": the key of PostgreSQL's advisory lock for names


@contextmanager
def naming(file: PrivateFile) -> Iterator[None]:
    """A transaction that writes `file`; at its end no other file has its name, in any case."""
    try:
        with writing():
            if connection.vendor == "postgresql":  # SQLite has one writer at a time anyway
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            yield
            require_free_name(file)
    except IntegrityError as error:
        if file.name is None or not PrivateFile.objects.filter(name=file.name).exists():
            raise
        raise _taken() from error


def require_free_name(file: PrivateFile) -> None:
    """Raise `Conflict` when another file has the name of `file`, in whatever case."""
    if file.name is None:
        return
    others = PrivateFile.objects.exclude(pk=file.pk)
    if others.filter(pk=file.name).exists():
        raise names.refusal("name", "A name may not be the id of another file.")
    wanted = file.name.casefold()
    for other in others.exclude(name=None).values_list("name", flat=True).iterator():
        if unicodedata.normalize("NFC", str(other)).casefold() == wanted:
            raise _taken()


def _taken() -> Conflict:
    message = "Another file has this name, in this case or in another."
    return Conflict(message, errors=[{"field": "name", "message": message}])
