"""A stored file changed or removed: its name, its settings, what it may do."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import TextField
from django.db.models.functions import Cast

from djsci.core.errors import Conflict, DjsciError, Forbidden, NoHandler, NotFound
from djsci.core.events import LIVE

from . import blobs, names, options, uploads, versions
from .access import audit, permissions
from .access.callers import Caller
from .access.database import writing
from .models import PrivateFile, Version
from .naming import naming


def has_live_runs(file: PrivateFile) -> bool:
    """Whether a run of this file has not ended."""
    return file.runs.filter(state__in=LIVE).exists()


def rename(file: PrivateFile, name: str | None) -> None:
    """Another name, or none; an odd one of an old row may stay. Raises `BadRequest`, `Conflict`."""
    if name == file.name:
        return
    former, file.name = file.name, names.file_name(name)
    try:
        save(file, fields=("name", "changed"))
    except DjsciError:
        file.name = former
        raise


def save(file: PrivateFile, *, fields: Sequence[str]) -> None:
    """Write these fields of a stored file; a new name must be free. Raises `Conflict`."""
    if PrivateFile.objects.filter(pk=file.pk, name=file.name).exists():
        file.save(update_fields=fields)
        return
    with naming(file):
        file.save(update_fields=fields)


def change_settings(file: PrivateFile, values: Mapping[str, Any], caller: Caller) -> None:
    """Change the settings that `values` names; None sets one back to the site's.

    `access` and `trusted` are settings too. Raises `BadRequest` with each refused field,
    `Forbidden` for what only superusers set.
    """
    with writing():
        locked = PrivateFile.objects.select_for_update(of=("self",)).get(pk=file.pk)
        before = options.privileges(locked)
        before_adapter = (locked.settings or {}).get("adapter")
        try:
            options.apply(locked, values, is_superuser=permissions.may_set_trust(caller))
        except Forbidden as error:
            if permissions.may_set_trust(Caller.of_user(caller.user)):
                raise _for_people(error) from error
            raise
        if locked.access != before["access"] and not permissions.may_share(caller, file):
            is_token = permissions.may_share(Caller.of_user(caller.user), file)
            who = "A token may not share this file; sign in." if is_token else None
            raise Forbidden(who or "You may not share this file.")
        locked.save(update_fields=["settings", "access", "trusted_version", "changed"])
        if before_adapter != locked.settings.get("adapter") and locked.version is not None:
            file.version = _read_anew(locked, locked.version)
        record_privileges(caller, locked, before)
    file.settings, file.access = locked.settings, locked.access
    file.trusted_version, file.changed = locked.trusted_version, locked.changed


def _for_people(error: Forbidden) -> Forbidden:
    """The same refusal, told to a token whose owner could do it."""
    message = "A token may not set this; sign in."
    errors = [{**each, "message": message} for each in error.errors]
    fields = ", ".join(str(each["field"]) for each in errors)
    return Forbidden(f"{fields}: {message}", errors=errors)


def _read_anew(file: PrivateFile, version: Version) -> Version:
    """The present version as the file's adapter reads it. Raises `BadRequest`."""
    try:
        source = uploads.read(version.entry, versions.contents(version))
        return uploads.keep(file, source, uploader=version.uploader)
    except NoHandler as error:
        raise names.refusal("adapter", error.detail) from error


def record_privileges(caller: Caller, file: PrivateFile, before: Mapping[str, Any]) -> None:
    """Note each privilege of `file` that is not what `options.privileges` said before."""
    for name, value in options.privileges(file).items():
        if value != before[name]:
            audit.record(caller, name, file, before=before[name], now=value)


def delete(file: PrivateFile) -> None:
    """Remove a file, its versions and its runs. Raises `Conflict` while a run is live.

    After the commit go the blobs that no other version has; younger ones wait for the purge.
    """
    with writing():
        locked = PrivateFile.objects.select_for_update(of=("self",)).filter(pk=file.pk).first()
        if locked is None:
            raise NotFound
        if has_live_runs(locked):
            raise Conflict("A run of this file is live: cancel it, or wait for its end.")
        last_use: dict[str, Any] = {}
        for version in locked.versions.order_by("pk"):
            last_use |= dict.fromkeys(version.files.values(), version.created)
        locked.delete()
        transaction.on_commit(lambda: _discard(last_use))


def _discard(last_use: Mapping[str, Any]) -> None:
    manifests = Version.objects.annotate(text=Cast("manifest", TextField()))
    for sha256, used in last_use.items():
        if not manifests.filter(text__contains=sha256).exists():
            blobs.discard(sha256, before=used)
