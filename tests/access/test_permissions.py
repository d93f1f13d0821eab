"""Every role against every right; tokens narrow and never widen."""

from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend
from django.test import Client, override_settings
from django.utils import timezone

from djsci.access import permissions, tokens
from djsci.access.callers import Caller
from djsci.core.errors import Forbidden, NotAuthenticated, NotFound
from djsci.models import PrivateFile

from .conftest import World

RIGHTS = ("may_run", "may_see", "may_read", "may_change", "may_delete", "may_share")
EVERYTHING = {*RIGHTS, "may_upload"}
# What each role may do with a private file of another user.
MATRIX = {
    "anonymous": set(),
    "no grant": set(),
    "granted": {"may_run", "may_see"},
    "in a granted group": {"may_run", "may_see"},
    "owner": set(RIGHTS),
    "staff": set(),
    "staff with permissions": EVERYTHING - {"may_run"},
    "superuser": {*EVERYTHING, "may_set_trust"},
    "inactive superuser": set(),
}


def rights_of(caller: Caller, file: PrivateFile) -> set[str]:
    found = {name for name in RIGHTS if getattr(permissions, name)(caller, file)}
    if permissions.may_upload(caller):
        found.add("may_upload")
    if permissions.may_set_trust(caller):
        found.add("may_set_trust")
    return found


@pytest.mark.parametrize("role", MATRIX)
def test_each_role_has_its_rights_and_no_more(role: str, world: World):
    caller = world.caller(role)
    assert rights_of(caller, world.file) == MATRIX[role]
    listed = permissions.visible_files(caller).filter(pk=world.file.pk).exists()
    assert listed == ("may_see" in MATRIX[role])
    runnable = permissions.runnable_files(caller).filter(pk=world.file.pk).exists()
    assert runnable == ("may_run" in MATRIX[role])


@pytest.mark.parametrize("role", ["no grant", "staff", "granted"])
def test_authenticated_access_lets_whoever_is_signed_in_run_and_no_more(role: str, world: World):
    caller = world.caller(role)
    assert rights_of(caller, world.shared) == {"may_run", "may_see"}
    assert world.shared in permissions.visible_files(caller)


def test_authenticated_access_lets_nobody_else_run(world: World):
    for role in ("anonymous", "inactive superuser"):
        assert rights_of(world.caller(role), world.shared) == set()
        assert not permissions.visible_files(world.caller(role)).exists()


@pytest.mark.parametrize(
    ("role", "error"),
    [
        ("anonymous", NotAuthenticated),
        ("inactive superuser", NotAuthenticated),
        ("no grant", NotFound),
        ("staff", NotFound),
        ("granted", Forbidden),
    ],
)
def test_what_is_hidden_is_missing_and_what_is_seen_is_forbidden(
    role: str, error: type[Exception], world: World
):
    caller = world.caller(role)
    for require in (
        permissions.require_read,
        permissions.require_change,
        permissions.require_delete,
    ):
        with pytest.raises(error) as raised:
            require(caller, world.file)
        assert type(raised.value) is error
    if error is not Forbidden:
        with pytest.raises(error):
            permissions.require_run(caller, world.file)


def test_the_model_permission_to_run_is_asked_for_the_file_only(world: World):
    user = world.person("runner", "run_privatefile")
    assert not permissions.may_run(Caller.of_user(user), world.file)


class OddFiles(BaseBackend):
    """Grants the running, and nothing else, of files named `odd…` to everyone."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return (
            perm == permissions.RUN
            and isinstance(obj, PrivateFile)
            and (obj.name or "").startswith("odd")
        )


@override_settings(
    AUTHENTICATION_BACKENDS=[
        "django.contrib.auth.backends.ModelBackend",
        f"{__name__}.OddFiles",
    ]
)
def test_an_object_permission_backend_grants_running_and_listing(world: World):
    odd = PrivateFile.objects.create(name="odd one", owner=world.owner)
    stranger = world.caller("no grant")
    assert rights_of(stranger, odd) == {"may_run", "may_see"}
    assert set(permissions.visible_files(stranger)) == {odd, world.shared}
    assert set(permissions.runnable_files(stranger)) == {odd, world.shared}
    assert not permissions.may_run(world.caller("anonymous"), odd)


class Rows:
    """Object permissions as django-guardian has them: a back-end of no known base, with rows."""

    granted: ClassVar[set[tuple[str, str, str]]] = set()

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None

    def get_user(self, key: Any) -> None:
        return None

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return obj is not None and (user_obj.username, perm, obj.pk) in self.granted

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return {
            perm
            for who, perm, pk in self.granted
            if obj and (who, pk) == (user_obj.username, obj.pk)
        }


@pytest.mark.parametrize(
    ("permission", "rights"),
    [
        (permissions.RUN, {"may_run", "may_see"}),
        (permissions.VIEW, {"may_see", "may_read"}),
        (permissions.CHANGE, {"may_see", "may_change", "may_share"}),
        (permissions.DELETE, {"may_see", "may_delete"}),
    ],
)
def test_each_permission_may_be_granted_for_one_file_by_a_backend_like_guardian(
    permission: str, rights: set[str], world: World, settings: Any, client: Client
):
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, f"{__name__}.Rows"]
    other = PrivateFile.objects.create(name="other", owner=world.owner)
    user = world.person("guarded")
    Rows.granted = {("guarded", permission, world.file.pk)}
    caller = Caller.of_user(user)
    assert rights_of(caller, world.file) == rights
    assert rights_of(caller, other) == set()
    assert set(permissions.visible_files(caller)) == {world.file, world.shared}
    assert (world.file in permissions.runnable_files(caller)) == ("may_run" in rights)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(f"/djsci/console/files/{world.file.pk}/").status_code == 200
    assert client.get(f"/djsci/console/files/{other.pk}/").status_code == 404


def test_a_run_is_seen_by_who_asked_for_it_and_by_the_owner_of_the_file(world: World):
    granted = world.caller("granted")
    run = world.run(granted.user)
    seen_by = {
        role
        for role in MATRIX
        if permissions.may_watch(world.caller(role), run)
        and run in permissions.visible_runs(world.caller(role))
    }
    assert seen_by == {"granted", "owner", "staff with permissions", "superuser"}
    assert {role for role in MATRIX if permissions.may_cancel(world.caller(role), run)} == seen_by


def test_whoever_may_only_see_runs_cannot_cancel_them(world: World):
    run = world.run(world.owner)
    viewer = Caller.of_user(world.person("viewer", "view_run"))
    assert permissions.may_watch(viewer, run)
    with pytest.raises(Forbidden):
        permissions.require_cancel(viewer, run)
    with pytest.raises(NotFound):
        permissions.require_cancel(world.caller("no grant"), run)
    with pytest.raises(NotAuthenticated):
        permissions.require_watch(world.caller("anonymous"), run)


def test_a_removed_grant_leaves_the_history_and_ends_the_live_stream(world: World):
    granted = world.caller("granted")
    run = world.run(granted.user)
    assert permissions.may_follow(granted, run)
    world.file.granted_users.clear()
    assert permissions.may_watch(granted, run)
    assert not permissions.may_follow(granted, run)
    assert permissions.may_follow(world.caller("owner"), run)


@pytest.mark.parametrize(
    ("scope", "rights"),
    [
        ("run", {"may_run"}),
        ("files:read", {"may_see", "may_read"}),
        ("files:write", {"may_change", "may_delete"}),
        ("runs:read", set()),
        ("runs:cancel", set()),
    ],
)
def test_a_scope_gives_its_rights_and_no_more(scope: str, rights: set[str], world: World):
    caller = Caller.of_token(world.token(world.owner, scope)[0])
    assert rights_of(caller, world.file) == rights
    run = world.run(world.owner)
    assert permissions.may_watch(caller, run) == (scope == "runs:read")
    assert permissions.may_cancel(caller, run) == (scope == "runs:cancel")
    assert permissions.visible_files(caller).exists() == (scope == "files:read")
    assert permissions.visible_runs(caller).exists() == (scope == "runs:read")


def test_a_token_without_the_scope_is_forbidden_what_its_user_sees(world: World):
    caller = Caller.of_token(world.token(world.owner, "runs:read")[0])
    with pytest.raises(Forbidden, match="scope run"):
        permissions.require_run(caller, world.file)
    with pytest.raises(Forbidden, match="scope runs:cancel"):
        permissions.require_cancel(caller, world.run(world.owner))


def test_a_token_for_some_files_hides_the_others(world: World):
    token, _ = world.token(world.owner, files=[world.shared])
    caller = Caller.of_token(token)
    assert permissions.may_read(caller, world.shared)
    assert rights_of(caller, world.file) == set()
    assert list(permissions.visible_files(caller)) == [world.shared]
    assert not permissions.may_watch(caller, world.run(world.owner))
    assert not permissions.visible_runs(caller).exists()
    assert not permissions.may_upload(caller)
    with pytest.raises(NotFound):
        permissions.require_run(caller, world.file)


def test_a_token_for_no_file_opens_none(world: World):
    caller = Caller.of_token(world.token(world.owner, files=[])[0])
    assert not permissions.may_run(caller, world.shared)
    assert not permissions.visible_files(caller).exists()


def test_the_token_of_a_superuser_neither_trusts_nor_shares(world: World):
    root = world.person("root", is_superuser=True)
    caller = Caller.of_token(world.token(root)[0])
    assert rights_of(caller, world.file) == EVERYTHING - {"may_share"}
    with pytest.raises(Forbidden):
        permissions.require_session(caller)


@pytest.mark.parametrize("how", ["revoked", "expired", "user inactive"])
def test_a_token_that_no_longer_holds_may_nothing(how: str, world: World):
    token, _ = world.token(world.owner)
    match how:
        case "revoked":
            assert tokens.revoke(token)
            assert not tokens.revoke(token)
        case "expired":
            token.expires = timezone.now() - timedelta(seconds=1)
        case _:
            get_user_model().objects.filter(pk=world.owner.pk).update(is_active=False)
            token.user.refresh_from_db()
    caller = Caller.of_token(token)
    assert rights_of(caller, world.file) == set()
    with pytest.raises(NotAuthenticated):
        permissions.require_run(caller, world.file)


def test_a_queued_run_is_asked_for_by_its_user_or_by_its_token(world: World):
    run = world.run(world.owner)
    assert permissions.may_run(Caller.of_run(run), run.file)
    run.token = world.token(world.owner, "runs:read")[0]
    assert not permissions.may_run(Caller.of_run(run), run.file)
    run.token, run.user = None, None
    assert not permissions.may_run(Caller.of_run(run), run.file)
