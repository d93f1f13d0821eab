"""Content by its SHA-256: what versions, large results and artifacts are made of."""

import hashlib
import os
import secrets
import time
from collections.abc import Container
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages

from djsci.core.errors import SourceInvalid

from . import conf

FOLDER = "private_files/blobs"
KEPT_SECONDS = 3600.0


class BlobMissing(SourceInvalid):
    """Stored content of this file is gone; upload it again."""


class BlobChanged(SourceInvalid):
    """Stored content of this file was changed behind djsci's back; upload it again."""


def storage() -> Storage:
    """The storage that `DJSCI["STORAGE"]` names."""
    return storages[conf.get("STORAGE")]


def path(sha256: str) -> str:
    """The name of a blob in its storage."""
    return f"{FOLDER}/{sha256[:2]}/{sha256}"


def put(content: bytes) -> str:
    """Store `content` once; its SHA-256.

    A blob that is there already becomes young again, so that no purge takes it away before its
    new row is committed.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    store = storage()
    folder = _local_folder(store)
    if folder is not None:
        _put_file(folder / sha256[:2], sha256, content)
    elif not store.exists(path(sha256)):
        store.save(path(sha256), ContentFile(content))
    return sha256


def try_storage() -> None:
    """Write and remove something, where it is a folder; others are asked a question. Raises."""
    store = storage()
    folder = _local_folder(store)
    if folder is None:
        store.exists(path(hashlib.sha256().hexdigest()))
        return
    content = secrets.token_bytes(4096)  # whole blocks: a full disk takes empty files
    sha256 = hashlib.sha256(content).hexdigest()
    _put_file(folder / sha256[:2], sha256, content)
    (folder / sha256[:2] / sha256).unlink(missing_ok=True)


def get(sha256: str) -> bytes:
    """The content of a blob, compared with its name. Raises `BlobMissing`, `BlobChanged`."""
    with _open(sha256) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BlobChanged
    return content


def exists(sha256: str) -> bool:
    return storage().exists(path(sha256))


def size(sha256: str) -> int:
    """Bytes of a blob. Raises `BlobMissing`."""
    try:
        return storage().size(path(sha256))
    except FileNotFoundError as error:
        raise BlobMissing from error


def discard(sha256: str, *, before: datetime) -> bool:
    """Remove a blob that nobody has put again since `before`; whether it was removed."""
    return _remove(storage(), path(sha256), before.timestamp())


def purge(
    referenced: Container[str], *, older_than: float = KEPT_SECONDS, rehearses: bool = False
) -> int:
    """Remove the blobs that nothing refers to and that are older than `older_than` seconds.

    How many were removed, or would be. What an interrupted `put` or `discard` left goes as well.
    """
    store = storage()
    before = time.time() - older_than
    remove = _is_older if rehearses else _remove
    removed = 0
    with suppress(FileNotFoundError):
        for folder in store.listdir(FOLDER)[0]:
            for name in store.listdir(f"{FOLDER}/{folder}")[1]:
                if name not in referenced:
                    removed += remove(store, f"{FOLDER}/{folder}/{name}", before)
    return removed


def _local_folder(store: Storage) -> Path | None:
    """The blobs' folder on this disk; None where the storage keeps bytes in a way of its own."""
    kind: Any = type(store)
    plain: Any = FileSystemStorage
    is_plain = (
        isinstance(store, FileSystemStorage)
        and kind._save is plain._save
        and kind._open is plain._open
    )
    return Path(store.path(FOLDER)) if is_plain else None


def _put_file(folder: Path, sha256: str, content: bytes) -> None:
    target = folder / sha256
    with suppress(FileNotFoundError):
        if target.read_bytes() == content:
            young = time.time()  # finer than the clock that a plain utime() takes
            os.utime(target, (young, young))
            return
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    draft = folder / f".{sha256[:16]}.{secrets.token_hex(8)}"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _open(sha256: str) -> BinaryIO:
    try:
        return cast(BinaryIO, storage().open(path(sha256), "rb"))
    except FileNotFoundError as error:
        raise BlobMissing from error


def _is_older(store: Storage, name: str, before: float) -> bool:
    return store.get_modified_time(name).timestamp() <= before


def _remove(store: Storage, name: str, before: float) -> bool:
    folder = _local_folder(store)
    try:
        if not _is_older(store, name, before):
            return False
        if folder is None:
            store.delete(name)
            return True
        return _remove_file(Path(store.path(name)), before)
    except FileNotFoundError:
        return False


def _remove_file(target: Path, before: float) -> bool:
    # Moved aside first: a `put` at the same moment either misses it and writes its own, or made
    # it young before the move, and then it goes back.
    aside = target.with_name(f".{target.name[:16]}.{secrets.token_hex(8)}")
    os.rename(target, aside)
    if aside.stat().st_mtime > before:
        os.rename(aside, target)
        return False
    aside.unlink()
    return True
