"""`runs/<id>/artifacts/[<name>]`: the files that a run left, as a list and one by one."""

from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from ninja import Router

from djsci import blobs, calling
from djsci.access.database import in_database, in_files
from djsci.runs import artifacts

from . import documents, reading

router = Router(tags=["runs"])


@router.get("{run_id}/artifacts/", summary="List the files that a run left")
async def list_artifacts(request: HttpRequest, run_id: str) -> HttpResponse:
    caller = await calling.signed_in(request)

    def look_up() -> list[dict[str, Any]]:
        found = artifacts.of_run(reading.watched_run(caller, run_id))
        path = f"{documents.run_path(run_id)}artifacts/"
        return [{**item, "ref": f"{path}{quote(name)}"} for name, item in found.items()]

    return documents.answer({"items": await in_database(look_up), "next": None})


@router.get("{run_id}/artifacts/{path:name}", summary="One file that a run left")
async def read_artifact(request: HttpRequest, run_id: str, name: str) -> HttpResponse:
    caller = await calling.signed_in(request)

    def look_up() -> dict[str, Any]:
        run = reading.watched_run(caller, run_id)
        return artifacts.named(run, name.removesuffix("/"))

    found = await in_database(look_up)
    content = await in_files(blobs.get, found["sha256"])
    answer = calling.attachment(content, found["name"].rpartition("/")[2])
    answer["Content-Type"] = found["content_type"]
    answer["ETag"] = f'"{found["sha256"]}"'
    return answer
