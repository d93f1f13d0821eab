"""The files that a run left: listed, served as attachments, within the run's own permissions."""

from django.test import override_settings

from djsci import blobs
from djsci.access.database import in_database
from djsci.models import Run
from djsci.runs import retention

RUNS = "/djsci/api/v1/runs/"
CODE = """
import djsci
def djsci_handler(request):
    djsci.log("no artifact", fields={"type": "artifact", "name": "forged", "sha256": "0" * 64})
    djsci.artifact(b"<script>alert(1)</script>", "plots/day 1.html")
    djsci.artifact(b"old", "numbers.csv")
    djsci.artifact("café".encode(), "numbers.csv")
    djsci.artifact(bytes(3000), "zeros")
"""
LEAVES = """
def djsci_handler(request):
    with open("left.txt", "w") as file:
        file.write("left behind")
"""


async def start(program, ref):
    wait = {"Prefer": "wait=60"}
    answer = await program.post(f"/djsci/api/v1/files/{ref}/runs/", headers=wait)
    assert answer.status_code == 200, answer.content
    return answer.json()


async def test_artifacts_are_listed_and_read(make_file, program, stranger):
    file = await in_database(make_file, CODE, engine="thread")
    with override_settings(DJSCI={"ARTIFACT_LIMIT": 2000}):
        run = await start(program, file.pk)
    assert run["state"] == "succeeded"
    path = f"{run['links']['self']}artifacts/"
    listed = (await program.get(path)).json()
    assert [(item["name"], item["size"]) for item in listed["items"]] == [
        ("plots/day 1.html", 25),
        ("numbers.csv", 5),
    ]
    page = listed["items"][0]
    assert page["ref"] == f"{path}plots/day%201.html"
    for address in (page["ref"], f"{path}plots%2Fday%201.html/"):
        answer = await program.get(address)
        assert answer.content == b"<script>alert(1)</script>"
        assert answer["Content-Type"] == "text/html"
        assert answer["Content-Disposition"] == 'attachment; filename="day 1.html"'
        assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["ETag"] == f'"{page["sha256"]}"'
    assert (await program.get(f"{path}numbers.csv")).content == "café".encode()
    events = (await program.get(run["links"]["events"])).json()["events"]
    kinds = [event["type"] for event in events]
    assert kinds[-6:] == ["artifact", "artifact", "artifact", "log", "result", "end"]
    assert set(events[-4]) - {"seq", "t"} == {"type", "name", "size", "content_type", "sha256"}
    assert "'zeros' (3000 bytes are over the limit" in events[-3]["message"]
    for missing in ("forged", "zeros", "../result", "numbers.csv/x", "NUMBERS.CSV"):
        assert (await program.get(f"{path}{missing}")).status_code == 404
    for hidden in (path, page["ref"]):
        assert (await stranger.get(hidden)).status_code == 404
        assert (await program.post(hidden)).status_code == 405


async def test_a_scope_that_reads_no_runs_reads_no_artifacts(
    make_file, program, make_program, user
):
    run = await start(program, (await in_database(make_file, CODE, engine="thread")).pk)
    runner = await in_database(make_program, user, "run", "files:read")
    for path in ("artifacts/", "artifacts/numbers.csv"):
        assert (await runner.get(f"{RUNS}{run['id']}/{path}")).status_code in (403, 404)


async def test_what_a_forked_run_leaves_goes_with_its_log(make_file, program):
    run = await start(program, (await in_database(make_file, LEAVES, engine="fork")).pk)
    path = f"{run['links']['self']}artifacts/"
    [left] = (await program.get(path)).json()["items"]
    assert (left["name"], left["content_type"]) == ("left.txt", "text/plain")
    assert (await program.get(left["ref"])).content == b"left behind"

    def purge():
        retention.purge_blobs(older_than=-60)
        return blobs.exists(left["sha256"])

    assert await in_database(purge)
    await in_database(lambda: Run.objects.filter(pk=run["id"]).update(pruned=True))
    assert (await program.get(path)).status_code == 410
    assert (await program.get(left["ref"])).status_code == 410
    with override_settings(DJSCI={"RETENTION": {"logs": None, "runs": 0}}):
        await in_database(retention.purge)
    assert not await in_database(purge)
