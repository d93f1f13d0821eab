"""Tokens, and the API's own description."""

import json
from typing import Any

import pytest
from django.test import AsyncClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from djsci.access.database import in_database
from djsci.models import Audit, Token, Version
from tests.conftest import MakeFile, notebook

from .conftest import MakeClient, problem_of

TOKENS = "/djsci/api/v1/tokens/"
JSON = "application/json"
ADAPTED = [
    "def main(name: str, times: int = 1):\n    return name\n\nmain('x')\n",
    "def lambda_handler(event, context):\n    return event['name']\n",
    "import functions_framework\n\n@functions_framework.http\ndef hello(request):\n    return ''\n",
    """
import argparse

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=1)
    print(parser.parse_args().times)

if __name__ == "__main__":
    main()
""",
]
ODD_NAMES = ["{ref}", "a b+c é?x#y%", "~1 \"'<b>", "日本", "$ref", "x" * 255]
CODE = "def djsci_handler(request, ticker: str, days: int = 30):\n    return ticker\n"


async def post(client: AsyncClient, body: Any) -> Any:
    client.cookies["csrftoken"] = "c" * 32
    headers = {"X-CSRFToken": "c" * 32}
    return await client.post(TOKENS, body, content_type=JSON, headers=headers)


async def test_a_token_is_made_used_listed_and_revoked(browser, make_file: MakeFile):
    file = await in_database(make_file, CODE, name="one", engine="thread")
    made = await post(browser, {"name": "mine", "scopes": ["run"], "files": ["one"]})
    assert made.status_code == 201, made.content
    token = made.json()
    assert (token["scopes"], token["files"]) == (["run"], [file.pk])
    secret = token.pop("secret")
    headers = {"Authorization": f"Bearer {secret}"}
    assert (await AsyncClient().get("/djsci/call/one/?ticker=a", headers=headers)).json() == "a"
    listed = await browser.get(TOKENS)
    assert listed.json()["items"][0]["id"] == token["id"]
    assert secret not in listed.content.decode()
    assert problem_of(await AsyncClient().get(TOKENS, headers=headers))["type"] == "forbidden"
    gone = await browser.delete(f"{TOKENS}{token['id']}/", headers={"X-CSRFToken": "c" * 32})
    assert gone.status_code == 204
    assert (
        await AsyncClient().get("/djsci/call/one/?ticker=a", headers=headers)
    ).status_code == 401
    actions = [row.action async for row in Audit.objects.order_by("pk")]
    assert actions == ["token", "token revoked"]
    assert secret not in json.dumps([row async for row in Audit.objects.values("detail")])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "", "scopes": ["run"]},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["all"]},
        {"name": "a", "scopes": "run"},
        {"name": "a", "scopes": ["run"], "files": ["nothing"]},
        {"name": "a", "scopes": ["run"], "expires": "soon"},
        {"name": "a", "scopes": ["run"], "expires": "2001-01-01T00:00:00Z"},
        {"name": "a", "scopes": ["run"], "user": 1},
    ],
    ids=str,
)
async def test_a_token_is_not_made_of(browser, body):
    assert problem_of(await post(browser, body))["status"] in (400, 422)
    assert not await Token.objects.aexists()


async def test_another_persons_token_is_not_there(browser, make_program: MakeClient, grace):
    await in_database(make_program, grace)
    token = await Token.objects.aget()
    browser.cookies["csrftoken"] = "c" * 32
    answer = await browser.delete(f"{TOKENS}{token.pk}/", headers={"X-CSRFToken": "c" * 32})
    assert answer.status_code == 404
    assert (await browser.get(TOKENS)).json()["items"] == []


async def test_answers_are_as_the_document_says(make_file: MakeFile, program):
    await in_database(make_file, CODE, name="stocks", engine="thread")
    document = (await program.get("/djsci/api/v1/openapi.json")).json()

    def check(path: str, value: Any) -> None:
        answers = document["paths"][f"/djsci/api/v1/{path}"]["get"]["responses"]["200"]
        schema = answers["content"][JSON]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(value)

    started = await program.post(
        "/djsci/api/v1/files/stocks/runs/",
        {"parameters": {"ticker": "a"}},
        content_type=JSON,
        headers={"Prefer": "wait=20"},
    )
    run = started.json()
    for path, address in (
        ("files/", "files/"),
        ("files/{ref}/", "files/stocks/"),
        ("files/{ref}/versions/", "files/stocks/versions/"),
        ("runs/", "runs/"),
        ("runs/{run_id}/", f"runs/{run['id']}/"),
        ("runs/{run_id}/events/", f"runs/{run['id']}/events/"),
    ):
        check(path, (await program.get(f"/djsci/api/v1/{address}")).json())


async def test_the_document_is_valid_and_holds_only_what_the_caller_may_run(
    make_file: MakeFile, program, stranger
):
    file = await in_database(make_file, CODE, name="stocks")
    answer = await program.get("/djsci/api/v1/openapi.json")
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    operation = document["paths"][f"/djsci/call/{file.pk}/"]["post"]
    schema = operation["requestBody"]["content"][JSON]["schema"]
    assert schema["required"] == ["ticker"]
    started = document["paths"]["/djsci/api/v1/files/{ref}/runs/"]["post"]
    refusals = {"400", "401", "403", "404", "409", "413", "415", "422", "429", "503"}
    assert {"200", "202", *refusals} == set(started["responses"])
    assert "Idempotency-Key" in [item["name"] for item in started["parameters"]]
    assert file.pk not in (await stranger.get("/djsci/api/v1/openapi.json")).content.decode()
    assert (await AsyncClient().get("/djsci/api/v1/openapi.json")).status_code == 401
    assert (await AsyncClient().get("/djsci/api/v1/docs")).status_code == 302
    page = await program.get("/djsci/api/v1/docs")
    assert f"/djsci/call/{file.pk}/" in page.content.decode()


async def test_the_document_is_valid_whatever_the_files_are(make_file: MakeFile, program):
    def upload() -> list[str]:
        adapted = [("tool.py", code) for code in ADAPTED]
        adapted.append(("gateway.ipynb", notebook("x = 1", "# GET /sum/:id\nprint(x)")))
        named = [make_file(CODE, name=name).pk for name in ODD_NAMES]
        made = [make_file(code, entry=entry, engine="fork") for entry, code in adapted]
        nested = make_file(CODE, name="nested")
        part = {"$defs": {"Part": {"type": "integer"}}, "items": {"$ref": "#/$defs/Part"}}
        Version.objects.filter(file__in=[nested, made[0]]).update(
            parameters={"type": "object", "properties": {"parts": part}, **part}
        )
        return [*named, *(file.pk for file in made), nested.pk]

    made = await in_database(upload)
    document = (await program.get("/djsci/api/v1/openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    assert {f"/djsci/call/{pk}/" for pk in made} <= set(document["paths"])
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    changed = document["components"]["responses"]["412"]["content"]["application/problem+json"]
    assert changed["schema"]["allOf"][1]["properties"]["type"] == {"enum": ["changed"]}
