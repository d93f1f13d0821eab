"""`runs/<id>/notebook/`: what ran, with what it said, as a notebook: the run's receipt."""

from django.http import HttpRequest, HttpResponse
from ninja import Router

from djsci import calling
from djsci.access import permissions
from djsci.access.database import in_database, in_files
from djsci.runs import receipts

from . import reading

router = Router(tags=["runs"])


@router.get("{run_id}/notebook/", summary="The executed notebook of a run that has ended")
async def read_notebook(request: HttpRequest, run_id: str) -> HttpResponse:
    caller = await calling.signed_in(request)

    def look_up() -> receipts.Gathered:
        run = reading.watched_run(caller, run_id)
        permissions.require_read(caller, run.file, scope="runs:read")
        return receipts.gather(run)

    gathered = await in_database(look_up)
    content = await in_files(receipts.notebook, gathered)
    answer = calling.attachment(content, gathered.filename)
    answer["Content-Type"] = "application/x-ipynb+json"
    return answer
