"""People of every role, and a file of one of them."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from djsci.access import limits, tokens
from djsci.access.callers import NOBODY, Caller
from djsci.models import PrivateFile, Run, Token, Version

MODEL_PERMISSIONS = (
    "add_privatefile",
    "view_privatefile",
    "change_privatefile",
    "delete_privatefile",
    "view_run",
    "change_run",
)


@pytest.fixture(autouse=True)
def _forget_failures() -> None:
    cache.clear()
    limits._here.clear()


class World:
    """A private file of `owner`, one of everyone's, and callers by their role."""

    def __init__(self) -> None:
        self.owner = self.person("owner")
        self.file = PrivateFile.objects.create(name="private", owner=self.owner)
        self.shared = PrivateFile.objects.create(
            name="shared", owner=self.owner, access="authenticated"
        )

    def person(self, name: str, *permissions: str, **fields: Any) -> Any:
        user, _ = get_user_model().objects.get_or_create(username=name, defaults=fields)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        return user

    def caller(self, role: str) -> Caller:
        match role:
            case "anonymous":
                return NOBODY
            case "owner":
                return Caller.of_user(self.owner)
            case "granted":
                user = self.person("granted")
                self.file.granted_users.add(user)
            case "in a granted group":
                user = self.person("member")
                group, _ = Group.objects.get_or_create(name="group")
                user.groups.add(group)
                self.file.granted_groups.add(group)
            case "staff":
                user = self.person("staff", is_staff=True)
            case "staff with permissions":
                user = self.person("clerk", *MODEL_PERMISSIONS, is_staff=True)
            case "superuser":
                user = self.person("root", is_superuser=True)
            case "inactive superuser":
                user = self.person("gone", is_superuser=True, is_active=False)
            case _:
                user = self.person("stranger")
        return Caller.of_user(user)

    def run(self, user: Any, file: PrivateFile | None = None) -> Run:
        file = file or self.file
        version, _ = Version.objects.get_or_create(
            file=file,
            sha256="0" * 64,
            defaults={"manifest": {"entry": "a.py", "files": {}}, "kind": "py"},
        )
        return Run.objects.create(
            file=file,
            version=version,
            user=user,
            trigger="api",
            engine="kernel",
            isolation="process",
            timeout=1,
            memory=1,
            created=timezone.now(),
        )

    def token(self, user: Any, *scopes: str, **fields: Any) -> tuple[Token, str]:
        return tokens.make(user, "test", scopes or tokens.SCOPES, **fields)


def dump() -> dict[str, list[str]]:
    """Every row of the database, by table; but what executors write as they live."""
    rows: dict[str, list[str]] = {}
    with connection.cursor() as cursor:
        beating = {"djsci_executor", "djsci_tally"}
        for table in {*connection.introspection.table_names(cursor)} - beating:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            rows[table] = sorted(map(repr, cursor.fetchall()))
    return rows


@pytest.fixture
def world(db: None) -> World:
    return World()


@pytest.fixture
def nobody() -> AnonymousUser:
    return AnonymousUser()
