"""The handler's request: Django's names, and nothing to act as the caller with."""

import json

from djsci.core.requests import HandlerRequest, UploadedFile, User, build, from_parameters


def make() -> HandlerRequest:
    return build(
        method="post",
        path="/djsci/call/x/a/b",
        path_info="/a/b",
        query=b"a=1&a=2&b=&c=%C3%A9",
        headers={
            "Authorization": "Bearer djsci_x",
            "Cookie": "sessionid=1",
            "Sec-WebSocket-Protocol": "djsci.ticket.x",
            "X-CSRFToken": "x",
            "X-Auth-Key": "x",
            "Accept": "text/html",
            "Content-Type": "text/plain; charset=utf-8",
        },
        cookies={"flash": "1", "sessionid": "2", "__Host-a": "3", "my_jwt": "4", "theme": "dark"},
        dropped_cookies=["flash"],
        body=b"hi\xff",
        content_type="text/plain; charset=utf-8",
        post=[("x", "1"), ("x", "2")],
        files=[("f", UploadedFile(name="a.txt", content_type="text/plain", content=b"abc"))],
        meta={"DATABASE_URL": "secret", "REMOTE_ADDR": "10.0.0.1", "HTTP_COOKIE": "sessionid=1"},
        user=User(id=1, username="ada", is_authenticated=True),
    )


def test_a_request_has_djangos_names() -> None:
    request = make()
    assert (request.method, request.path, request.path_info) == (
        "POST",
        "/djsci/call/x/a/b",
        "/a/b",
    )
    assert request.GET.getlist("a") == ["1", "2"]
    assert (request.GET["a"], request.GET["b"], request.GET["c"]) == ("2", "", "é")
    assert request.POST["x"] == "2"
    assert request.headers["accept"] == "text/html"
    assert request.content_type == "text/plain"
    assert request.META["HTTP_ACCEPT"] == "text/html"
    assert request.META["CONTENT_TYPE"] == "text/plain; charset=utf-8"
    file = request.FILES["f"]
    assert (file.name, file.size, file.content_type, file.read()) == (
        "a.txt",
        3,
        "text/plain",
        b"abc",
    )


def test_credentials_are_not_passed_on() -> None:
    request = make()
    assert set(request.headers) == {"Accept", "Content-Type"}
    assert request.COOKIES == {"theme": "dark"}
    assert set(request.META) == {
        "REMOTE_ADDR",
        "HTTP_ACCEPT",
        "CONTENT_TYPE",
        "REQUEST_METHOD",
        "QUERY_STRING",
    }


def test_a_request_crosses_as_json() -> None:
    request = make()
    values = json.loads(json.dumps(request.to_dict()))
    again = HandlerRequest.from_dict(values)
    assert again.to_dict() == request.to_dict()
    assert (again.body, again.user, again.FILES["f"].read()) == (b"hi\xff", request.user, b"abc")


def test_parameters_alone_are_a_post_whose_body_they_are() -> None:
    request = from_parameters({"a": [1, "é"]}, path="/x")
    assert (request.path, request.path_info) == ("/x", "/")
    assert (request.method, request.content_type) == ("POST", "application/json")
    assert request.json() == request.parameters == {"a": [1, "é"]}
