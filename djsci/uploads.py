"""Files and their versions: uploaded, found, replaced, renamed, removed. Nothing is executed."""

import dataclasses
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.db import transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from djsci.core import adapters, sources
from djsci.core.errors import (
    BadRequest,
    Changed,
    Conflict,
    DjsciError,
    Forbidden,
    NoHandler,
    NotFound,
    SourceInvalid,
    TooLarge,
)
from djsci.core.events import LIVE, dumps
from djsci.core.sources import Source

from . import blobs, conf, names, options, versions
from .access import audit, permissions
from .access.callers import Caller
from .access.database import writing
from .models import PrivateFile, Version
from .naming import naming

MOST_PARTS = 1000


def find(ref: str) -> PrivateFile:
    """The file with this id, else with this name. Raises `NotFound`."""
    if not ref or "/" in ref or not names.is_storable(ref):
        raise NotFound
    asked = {ref, unicodedata.normalize("NFC", ref)}
    found = PrivateFile.objects.filter(Q(pk=ref) | Q(name__in=asked))
    best = min(found, key=lambda file: (file.pk != ref, file.name != ref), default=None)
    if best is None:
        raise NotFound
    return best


def by_path(path: str) -> PrivateFile:
    """The file whose FileField holds `private_files/<path>`. Raises `NotFound`.

    Several files may hold the same blob: their content is read by `source/` only.
    """
    name = f"private_files/{path}"
    if not names.is_storable(path) or name.startswith(blobs.FOLDER + "/"):
        raise NotFound
    found = PrivateFile.objects.filter(file=name).first()
    if found is None:
        raise NotFound
    return found


def has_live_runs(file: PrivateFile) -> bool:
    """Whether a run of this file has not ended."""
    return file.runs.filter(state__in=LIVE).exists()


def current_version(file: PrivateFile) -> Version:
    """The version that a call runs now.

    What the FileField holds since the last look, put there by the first release or by the host's
    own code, becomes a version first. Raises `NotFound` without content, or what `read` raises.
    """
    held = file.file.name or ""
    if file.version is not None and file.read_from == held:
        return file.version
    if not held:
        raise NotFound("This file has no content yet.")
    content = held_content(file)
    entry = _entry_name(PurePosixPath(held).name)
    with writing():
        version = _keep(file, read(entry, {entry: content}), uploader=None)
        # Only if nobody put other content there meanwhile.
        PrivateFile.objects.filter(pk=file.pk, file=held).update(version=version, read_from=held)
    file.version, file.read_from = version, held
    return version


def held_content(file: PrivateFile) -> bytes:
    """What the FileField of a file holds. Raises `NotFound`, `TooLarge`."""
    limit = conf.get("UPLOAD_LIMIT")
    try:
        if file.file.size > limit:
            raise TooLarge(f"The file has more than {limit} bytes.")
        with file.file.storage.open(str(file.file.name), "rb") as held:
            return bytes(held.read())
    except (FileNotFoundError, IsADirectoryError, SuspiciousFileOperation) as error:
        raise NotFound("The content of this file is gone.") from error


def create(
    *,
    name: str | None,
    entry: str,
    files: Mapping[str, bytes],
    owner: Any,
    settings: Mapping[str, Any] | None = None,
    access: str = PrivateFile.Access.PRIVATE,
) -> PrivateFile:
    """A new file with its first version. Raises a `DjsciError` with `errors`."""
    source = read(entry, files)
    return create_from(source, name=name, owner=owner, settings=settings, access=access)


def create_from(
    source: Source,
    *,
    name: str | None,
    owner: Any,
    settings: Mapping[str, Any] | None = None,
    access: str = PrivateFile.Access.PRIVATE,
) -> PrivateFile:
    """The same for a source that was read before the transaction: reading may take seconds."""
    file = PrivateFile(name=names.file_name(name), owner=owner)
    is_superuser = bool(getattr(owner, "is_superuser", False))
    options.apply(file, {**(settings or {}), "access": access}, is_superuser=is_superuser)
    add(file, source, uploader=owner)
    return file


def add(file: PrivateFile, source: Source, *, uploader: Any) -> None:
    """Store a file that is not stored yet, with `source` as its first version."""
    with naming(file):
        file.save(force_insert=True)
        _put_forward(file, _keep(file, source, uploader=uploader))


def read(entry: str, files: Mapping[str, bytes]) -> Source:
    """The source of an upload, its names and sizes checked. Raises a `DjsciError` with `errors`."""
    entry, files = names.part_names(entry, files)
    if len(files) > MOST_PARTS:
        raise TooLarge(f"A file has at most {MOST_PARTS} parts.")
    limit = conf.get("UPLOAD_LIMIT")
    if versions.size_of(files) > limit:
        message = f"The files together have more than {limit:,} bytes."
        raise TooLarge(message, errors=[{"field": "file", "message": message}])
    return dataclasses.replace(sources.read(entry, files, limits=versions.limits()), files=files)


def replace(
    file: PrivateFile,
    *,
    entry: str,
    files: Mapping[str, bytes],
    uploader: Any,
    if_match: str | None = None,
) -> Version:
    """New content; whoever brings it, it is not trusted. Raises `Changed` when `if_match` is old.

    The same content as a former version's is that version again.
    """
    return bring(file, read(entry, files), uploader=uploader, if_match=if_match)


def bring(
    file: PrivateFile, source: Source, *, uploader: Any, if_match: str | None = None
) -> Version:
    """Make `source` the present version of a stored file."""
    with writing():
        locked = PrivateFile.objects.select_for_update(of=("self",)).get(pk=file.pk)
        _require_match(locked, if_match)
        version = _keep(locked, source, uploader=uploader)
        _put_forward(locked, version)
    file.version, file.read_from, file.changed = version, locked.read_from, locked.changed
    file.file = locked.file.name
    return version


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
        if locked.access != file.access and not permissions.may_share(caller, file):
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
        source = read(version.entry, versions.contents(version))
        return _keep(file, source, uploader=version.uploader)
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


def _keep(file: PrivateFile, source: Source, *, uploader: Any) -> Version:
    wanted = (file.settings or {}).get("adapter", adapters.AUTO)
    if wanted not in (adapters.AUTO, source.adapter):
        source = sources.read(
            source.name, source.files, limits=versions.limits(), adapter=str(wanted)
        )
    manifest: dict[str, Any] = {
        "entry": source.name,
        "files": {name: blobs.put(content) for name, content in source.files.items()},
    }
    if source.shim:  # else `has_handler` says it; how a file is read is no part of its id
        manifest["adapter"] = source.adapter
    read_as = {
        "manifest": manifest,
        "kind": source.kind,
        # A default in the schema may hold what a database refuses, such as NUL.
        "parameters": json.loads(dumps(dict(source.parameters))),
        "has_handler": source.has_handler,
    }
    version, is_new = Version.objects.get_or_create(
        file=file,
        sha256=versions.manifest_id(manifest),
        defaults={**read_as, "uploader": uploader},
    )
    if not is_new and version.adapter != source.adapter:
        for name, value in read_as.items():
            setattr(version, name, value)
        version.save(update_fields=list(read_as))
    return version


def _put_forward(file: PrivateFile, version: Version) -> None:
    """Make `version` the present one; code of the first release reads it from the FileField."""
    file.version = version
    if conf.get("STORAGE") == "default":
        file.file = blobs.path(version.files[version.entry])
    file.read_from = file.file.name or ""
    file.save(update_fields=["version", "file", "read_from", "changed"])


def _entry_name(name: str) -> str:
    try:
        return names.part_name(name)
    except BadRequest:
        return "entry"


def _require_match(file: PrivateFile, if_match: str | None) -> None:
    if if_match is None:
        return
    try:
        present = current_version(file).sha256
    except (NotFound, SourceInvalid):
        raise Changed from None
    asked = {tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")}
    if not asked & {present, "*"}:
        raise Changed


def _discard(last_use: Mapping[str, Any]) -> None:
    manifests = Version.objects.annotate(text=Cast("manifest", TextField()))
    for sha256, used in last_use.items():
        if not manifests.filter(text__contains=sha256).exists():
            blobs.discard(sha256, before=used)
