"""Make users, tokens, sessions and files in a project, for as long as it is asked to.

A line of JSON on stdin, a line with what was made on stdout. `code` is executed: its `answer`.

    {"code"?: "answer = 1",
     "users": [{"name", "password"?, "superuser"?, "staff"?, "scopes"?: […], "permissions"?: […]}],
     "files": [{"name", "owner", "entry", "files": {name: text or {"base64": …}}, "access"?,
                "settings"?, "trusted"?: bool, "granted"?: [user]}]}

Each user gets a token (all scopes unless named) and a session.
"""

import base64
import contextlib
import json
import sys
from typing import Any

import django


def main() -> None:
    """Read, make, answer, until nobody asks any more."""
    django.setup()
    from django.db import connections

    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            answer = answer_to(json.loads(line))
            connections.close_all()
        print(json.dumps(answer), flush=True)


def answer_to(wanted: dict[str, Any]) -> Any:
    """What was made, or what the code has as its `answer`."""
    if "code" in wanted:
        names: dict[str, Any] = {"answer": None}
        exec(wanted["code"], names)  # noqa: S102 - a test wants it
        return names["answer"]
    made: dict[str, dict[str, str]] = {"tokens": {}, "sessions": {}, "files": {}}
    users = {item["name"]: make_user(item, made) for item in wanted.get("users", ())}
    for item in wanted.get("files", ()):
        made["files"][item["name"]] = make_file(item, users)
    return made


def make_user(item: dict[str, Any], made: dict[str, dict[str, str]]) -> Any:
    """The user, with a token and a session; one that is there is taken."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Permission

    from djsci.access import tokens

    user, _ = get_user_model().objects.get_or_create(
        username=item["name"],
        defaults={
            "is_superuser": item.get("superuser", False),
            "is_staff": item.get("staff", item.get("superuser", False)),
        },
    )
    user.set_password(item.get("password", item["name"]))
    user.save()
    user.user_permissions.add(*Permission.objects.filter(codename__in=item.get("permissions", ())))
    scopes = item.get("scopes", list(tokens.SCOPES))
    made["tokens"][item["name"]] = tokens.make(user, "seeded", scopes)[1]
    made["sessions"][item["name"]] = session_of(user)
    return user


def session_of(user: Any) -> str:
    """The key of a session in which this user is signed in."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    assert session.session_key
    return session.session_key


def make_file(item: dict[str, Any], users: dict[str, Any]) -> str:
    """Upload one file; its id."""
    from django.contrib.auth import get_user_model

    from djsci import uploads

    def user(name: str) -> Any:
        return users.get(name) or get_user_model().objects.get(username=name)

    content = {
        name: base64.b64decode(body["base64"]) if isinstance(body, dict) else body.encode()
        for name, body in item["files"].items()
    }
    entry = item.get("entry") or next(iter(content))
    file = uploads.create(
        name=item["name"],
        entry=entry,
        files=content,
        owner=user(item["owner"]),
        access=item.get("access", "private"),
    )
    file.settings = {**file.settings, **item.get("settings", {})}
    file.trusted_version = file.version if item.get("trusted") else None
    file.save()
    file.granted_users.add(*(user(name) for name in item.get("granted", ())))
    return str(file.pk)


if __name__ == "__main__":
    main()
