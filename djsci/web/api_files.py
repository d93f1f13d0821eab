"""`api/v1/files/`: list, upload, show, replace, change, delete; source and versions."""

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from djsci import blobs, calling, changes, uploads, versions
from djsci.access import audit, permissions
from djsci.access.callers import Caller
from djsci.access.database import in_database, in_files, writing
from djsci.core.errors import BadBody, NotFound
from djsci.core.sources import Source
from djsci.models import PrivateFile, Version

from . import bodies, documents

router = Router(tags=["files"])
Limit = Annotated[int, Query(ge=1, description="At most 100 items come.")]


@router.get("", summary="List the files that you may see")
async def list_files(
    request: HttpRequest, cursor: str | None = None, limit: Limit = 50
) -> HttpResponse:
    caller = await calling.signed_in(request)

    def look_up() -> dict[str, Any]:
        permissions.require_scope(caller, "files:read")
        rows = permissions.visible_files(caller).select_related("version", "owner")
        return documents.page(rows, documents.file_document, cursor=cursor, limit=limit)

    return documents.answer(await in_database(look_up))


@router.post("", summary="Upload a file with its companions")
async def create_file(request: HttpRequest) -> HttpResponse:
    caller = await calling.signed_in(request, is_unsafe=True)
    await in_database(permissions.require_upload, caller)
    content = await bodies.upload(request)
    source = await in_files(uploads.read, content.entry, content.files)

    @writing()
    def create() -> PrivateFile:
        name = content.fields.get("name") or content.entry
        file = uploads.create_from(source, name=name, owner=caller.user)
        if "access" in content.fields:
            changes.change_settings(file, {"access": content.fields["access"]}, caller)
        audit.record(caller, "upload", file)
        return file

    return await _shown(await in_database(create), status=201)


@router.get("{ref}/", summary="Show a file and the JSON Schema of its parameters")
async def show_file(request: HttpRequest, ref: str) -> HttpResponse:
    caller = await calling.signed_in(request)
    return await _shown(await in_database(_seen, caller, ref))


@router.put("{ref}/", summary="Replace a file's content")
async def replace_file(request: HttpRequest, ref: str) -> HttpResponse:
    caller = await calling.signed_in(request, is_unsafe=True)

    def look_up() -> tuple[PrivateFile, Version | None]:
        file = uploads.find(ref)
        permissions.require_change(caller, file)
        return file, documents.present_version(file)

    file, present = await in_database(look_up)
    content = await bodies.upload(request, present=present)

    def read() -> Source:
        kept = versions.contents(present) if content.is_entry_only and present else {}
        return uploads.read(content.entry, {**kept, **content.files})

    source = await in_files(read)

    @writing()
    def replace() -> None:
        if_match = request.headers.get("If-Match")
        uploads.bring(file, source, uploader=caller.user, if_match=if_match)
        if "access" in content.fields:
            changes.change_settings(file, {"access": content.fields["access"]}, caller)
        if content.fields.get("name"):
            changes.rename(file, content.fields["name"])
        audit.record(caller, "upload", file)

    await in_database(replace)
    return await _shown(file)


@router.patch("{ref}/", summary="Change a file's name and settings")
async def change_file(request: HttpRequest, ref: str) -> HttpResponse:
    caller = await calling.signed_in(request, is_unsafe=True)
    wanted = await bodies.json_object(request, known=("name", "access", "settings"))
    settings = wanted.get("settings", {})
    if not isinstance(settings, dict):
        raise _refused("settings", "An object is needed.")
    if not isinstance(wanted.get("name"), str | None):
        raise _refused("name", "A text is needed, or null.")

    @writing()
    def change() -> PrivateFile:
        file = uploads.find(ref)
        permissions.require_change(caller, file)
        values = {**settings, **({"access": wanted["access"]} if "access" in wanted else {})}
        if values:
            changes.change_settings(file, values, caller)
        if "name" in wanted:
            changes.rename(file, wanted["name"])
        return file

    return await _shown(await in_database(change))


@router.delete("{ref}/", summary="Delete a file with its versions and runs")
async def delete_file(request: HttpRequest, ref: str) -> HttpResponse:
    caller = await calling.signed_in(request, is_unsafe=True)

    @writing()
    def delete() -> None:
        file = uploads.find(ref)
        permissions.require_delete(caller, file)
        audit.record(caller, "delete", file)
        changes.delete(file)

    await in_database(delete)
    return HttpResponse(status=204)


@router.get("{ref}/source/", summary="Download the entry")
async def entry_source(request: HttpRequest, ref: str, version: str | None = None) -> HttpResponse:
    return await _source(request, ref, None, version)


@router.get("{ref}/source/{name}", summary="Download one part of a version")
async def part_source(
    request: HttpRequest, ref: str, name: str, version: str | None = None
) -> HttpResponse:
    return await _source(request, ref, name, version)


@router.get("{ref}/versions/", summary="List a file's versions, newest first")
async def list_versions(
    request: HttpRequest, ref: str, cursor: str | None = None, limit: Limit = 50
) -> HttpResponse:
    caller = await calling.signed_in(request)

    def look_up() -> dict[str, Any]:
        file = uploads.find(ref)
        permissions.require_read(caller, file)
        documents.present_version(file)
        rows = file.versions.select_related("uploader")
        return documents.page(rows, documents.version_document, cursor=cursor, limit=limit)

    return documents.answer(await in_database(look_up))


def _seen(caller: Caller, ref: str) -> PrivateFile:
    file = uploads.find(ref)
    permissions.require_see(caller, file)
    return file


async def _shown(file: PrivateFile, *, status: int = 200) -> HttpResponse:
    document, version = await in_database(
        lambda: (documents.file_document(file), documents.present_version(file))
    )
    if version and (asked := await in_files(documents.requirements_document, version)):
        document["requirements"] = asked
    answer = documents.answer(document, status=status)
    if document["version"]:
        answer["ETag"] = f'"{document["version"]}"'
    if status == 201:
        answer["Location"] = documents.file_path(file.pk)
    return answer


async def _source(
    request: HttpRequest, ref: str, name: str | None, version: str | None
) -> HttpResponse:
    caller = await calling.signed_in(request)

    def look_up() -> tuple[str, str]:
        file = uploads.find(ref)
        permissions.require_read(caller, file)
        asked = _version(file, version) if version else uploads.current_version(file)
        if asked is None or (name or asked.entry) not in asked.files:
            raise NotFound
        return name or asked.entry, asked.files[name or asked.entry]

    part, sha256 = await in_database(look_up)
    return calling.attachment(await in_files(blobs.get, sha256), part)


def _version(file: PrivateFile, sha256: str) -> Version | None:
    return None if "\x00" in sha256 else file.versions.filter(sha256=sha256).first()


def _refused(field: str, message: str) -> BadBody:
    return BadBody(f"{field}: {message}", errors=[{"field": field, "message": message}])
