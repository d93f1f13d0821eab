"""Every route of the JSON API, taken from the URLs themselves: nobody gets in unasked."""

import re

from django.test import AsyncClient

from djsci.urls import djsci_urls

ROUTES = [
    re.sub(r"<(\w+:)?(\w+)>", lambda found: "7" if found[2] == "seq" else "x", route)
    for route in (str(pattern.pattern) for pattern in djsci_urls)
    if route.startswith("djsci/api/v1/")
]
OPEN_TO_LOGIN = ("djsci/api/v1/docs", "djsci/api/v1/docs/")


def test_each_route_is_there_with_and_without_its_slash():
    assert len(ROUTES) >= 20
    assert {route.rstrip("/") for route in ROUTES} == {
        route for route in ROUTES if not route.endswith("/")
    }
    assert {f"{route}/" for route in ROUTES if not route.endswith("/")} <= set(ROUTES)


async def test_nobody_gets_in_unasked(db):
    nobody = AsyncClient()
    for route in ROUTES:
        offered = await nobody.options(f"/{route}")
        methods = offered.get("Allow", "GET").replace(" ", "").split(",")
        for method in {*methods} - {"HEAD", "OPTIONS"}:
            answer = await getattr(nobody, method.lower())(f"/{route}")
            expected = 302 if route in OPEN_TO_LOGIN else 401
            assert answer.status_code == expected, (method, route, answer.content)
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert "frame-ancestors" in answer["Content-Security-Policy"]


async def test_a_token_that_does_not_hold_is_one_answer_everywhere(transactional_db):
    nobody = AsyncClient()
    for route in ("djsci/api/v1/files/", "djsci/call/x/", "djsci/sync_py/x/"):
        answer = await nobody.get(f"/{route}", headers={"Authorization": "Bearer djsci_no"})
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"].startswith("Bearer")
