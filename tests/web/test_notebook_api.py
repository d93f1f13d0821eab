"""The executed notebook: the receipt of a run, for those who may read its source."""

import nbformat
import pytest

from djsci import runs
from djsci.access.database import in_database
from djsci.models import Run
from tests.conftest import notebook

CELLS = ["print('loaded')", "import djsci\n2 + 2"]
HANDLER = """
import djsci
def djsci_handler(request, days: int = 1):
    print("called")
    djsci.artifact(b"x", "x.bin")
    if days > 9:
        raise ValueError("too many")
    yield days
"""


async def start(program, ref, **parameters):
    answer = await program.post(
        f"/djsci/api/v1/files/{ref}/runs/",
        {"parameters": parameters},
        content_type="application/json",
        headers={"Prefer": "wait=60"},
    )
    assert answer.status_code == 200, answer.content
    return answer.json()


async def read(program, run):
    answer = await program.get(f"{run['links']['self']}notebook/")
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "application/x-ipynb+json"
    assert answer["Content-Disposition"].startswith('attachment; filename="')
    assert answer["Content-Security-Policy"].startswith("sandbox")
    document = nbformat.reads(answer.content.decode(), as_version=nbformat.NO_CONVERT)
    nbformat.validate(document)
    return document


@pytest.mark.parametrize("engine", ["fork", "thread", "kernel"])
async def test_a_notebook_without_a_handler_is_given_back_executed(make_file, program, engine):
    file = await in_database(make_file, notebook(*CELLS), entry="daily.ipynb", engine=engine)
    run = await start(program, file.pk)
    document = await read(program, run)
    codes = [cell for cell in document.cells if cell.cell_type == "code"]
    assert [cell.source for cell in codes] == CELLS
    assert [cell.execution_count for cell in codes] == [1, 2]
    assert codes[0].outputs[0].text == "loaded\n"
    assert codes[1].outputs[0].data["text/plain"] == "4"
    about = document.metadata.djsci
    assert (about.run, about.state, about.version) == (run["id"], "succeeded", run["version"])
    assert (about.result, about.engine) == (4, engine)


async def test_a_python_file_has_a_cell_for_its_call(make_file, program):
    file = await in_database(make_file, HANDLER)
    document = await read(program, await start(program, file.pk, days=3))
    loaded, parameters, call = document.cells
    assert loaded.source == HANDLER
    assert parameters.source == "# Parameters\ndays = 3"
    assert call.source.endswith("djsci_handler(djsci.request(), days=days)")
    assert [output.output_type for output in call.outputs] == ["stream", "execute_result"]
    assert call.outputs[1].data["application/json"] == [3]
    assert [item.name for item in document.metadata.djsci.artifacts] == ["x.bin"]
    failed = await read(program, await start(program, file.pk, days=10))
    assert failed.metadata.djsci.state == "failed"
    assert failed.cells[-1].outputs[-1].evalue == "too many"


async def test_only_who_may_read_the_source_may_read_it(make_file, program, make_program, grace):
    stranger = await in_database(make_program, grace)
    file = await in_database(make_file, HANDLER, access="authenticated")
    hers = await start(stranger, file.pk)
    path = f"{hers['links']['self']}notebook/"
    assert (await stranger.get(path)).status_code == 403
    assert (await stranger.get(f"{hers['links']['self']}artifacts/x.bin")).content == b"x"
    assert (await program.get(path)).status_code == 200
    mine = await start(program, file.pk)
    assert (await stranger.get(f"{mine['links']['self']}notebook/")).status_code == 404


async def test_it_is_there_when_the_run_has_ended_and_its_log_is_kept(make_file, program):
    code = "def djsci_handler(request):\n    import djsci\n    while not djsci.cancelled(): pass\n"
    file = await in_database(make_file, code)
    run = (await program.post(f"/djsci/api/v1/files/{file.pk}/runs/")).json()
    early = await program.get(f"{run['links']['self']}notebook/")
    assert (early.status_code, early.json()["type"]) == (409, "conflict")
    await program.post(run["links"]["cancel"])
    assert await runs.finish(run["id"], wait=30)
    assert (await read(program, run)).metadata.djsci.state == "cancelled"
    await in_database(lambda: Run.objects.filter(pk=run["id"]).update(pruned=True))
    assert (await program.get(f"{run['links']['self']}notebook/")).status_code == 410
