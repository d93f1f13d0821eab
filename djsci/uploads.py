"""Files and their versions: uploaded, found, replaced. Nothing is executed."""

import dataclasses
import json
import unicodedata
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from django.core.exceptions import SuspiciousFileOperation
from django.db.models import Q

from djsci.core import adapters, sources
from djsci.core.errors import (
    BadRequest,
    Changed,
    NotFound,
    SourceInvalid,
    TooLarge,
)
from djsci.core.events import dumps
from djsci.core.sources import Source

from . import blobs, conf, names, options, versions
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
        version = keep(file, read(entry, {entry: content}), uploader=None)
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
        _put_forward(file, keep(file, source, uploader=uploader))


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
        version = keep(locked, source, uploader=uploader)
        _put_forward(locked, version)
    file.version, file.read_from, file.changed = version, locked.read_from, locked.changed
    file.file = locked.file.name
    return version


def keep(file: PrivateFile, source: Source, *, uploader: Any) -> Version:
    """The version of this content, read as `source` reads it; a new one where there is none."""
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
