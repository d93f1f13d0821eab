"""Who may do what with which file and run: every surface asks here, and nowhere else.

A token narrows what its user may do now: by its scopes, and by its list of files. What a caller
may not even see is `NotFound`, what they see but may not do is `Forbidden`.
"""

from typing import Any

from django.contrib.auth import get_backends
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.db.models import Q, QuerySet

from djsci.core.errors import Forbidden, NotAuthenticated, NotFound
from djsci.models import PrivateFile, Run

from .callers import Caller

RUN = "djsci.run_privatefile"
ADD = "djsci.add_privatefile"
VIEW = "djsci.view_privatefile"
CHANGE = "djsci.change_privatefile"
DELETE = "djsci.delete_privatefile"
VIEW_RUN = "djsci.view_run"
CHANGE_RUN = "djsci.change_run"


def may_run(caller: Caller, file: PrivateFile) -> bool:
    """Start a run of the file."""
    return _may(caller, "run", file) and _has_run(caller.user, file)


def may_see(caller: Caller, file: PrivateFile) -> bool:
    """Know that the file exists: its name, parameters and settings, without its source."""
    return _may(caller, "files:read", file) and _sees(caller.user, file)


def may_read(caller: Caller, file: PrivateFile, *, scope: str = "files:read") -> bool:
    """Read the source, and what would tell it: tracebacks, executed notebooks."""
    return _may(caller, scope, file) and _owns_or_has(caller.user, file, VIEW)


def may_upload(caller: Caller) -> bool:
    """Make a new file: it is code execution."""
    is_free = caller.token is None or not caller.token.is_limited_to_files
    return _holds(caller, "files:write") and is_free and bool(caller.user.has_perm(ADD))


def may_change(caller: Caller, file: PrivateFile) -> bool:
    """Give the file new content, another name, other settings."""
    return _may(caller, "files:write", file) and _owns_or_has(caller.user, file, CHANGE)


def may_delete(caller: Caller, file: PrivateFile) -> bool:
    """Remove the file with its versions and runs."""
    return _may(caller, "files:write", file) and _owns_or_has(caller.user, file, DELETE)


def may_share(caller: Caller, file: PrivateFile) -> bool:
    """Set `access` and grants: a person's doing, never a token's."""
    return caller.token is None and may_change(caller, file)


def may_set_trust(caller: Caller) -> bool:
    """Set trust, connections, owner and the engine `thread`: superusers, never a token."""
    return caller.token is None and caller.is_authenticated and _is_superuser(caller.user)


def may_watch(caller: Caller, run: Run, *, scope: str | None = "runs:read") -> bool:
    """See a run, its events, result and artifacts: one's own, and all runs of one's files."""
    return _may(caller, scope, run.file) and _is_own_or_has(caller.user, run, VIEW_RUN)


def may_follow(caller: Caller, run: Run, *, scope: str | None = "runs:read") -> bool:
    """Stay on a run's live stream: as `may_watch`, but one's own only while one may still run."""
    if not may_watch(caller, run, scope=scope):
        return False
    user = caller.user
    return user.has_perm(VIEW_RUN) or _has_run(user, run.file)


def may_cancel(caller: Caller, run: Run) -> bool:
    """Ask a run to end."""
    return _may(caller, "runs:cancel", run.file) and _is_own_or_has(caller.user, run, CHANGE_RUN)


def require_authenticated(caller: Caller) -> None:
    """Raise `NotAuthenticated` for nobody."""
    if not caller.is_authenticated:
        raise NotAuthenticated


def require_scope(caller: Caller, scope: str) -> None:
    """Raise `NotAuthenticated`, or `Forbidden` for a token without `scope`."""
    require_authenticated(caller)
    if not caller.has_scope(scope):
        raise Forbidden(f"This token was not given the scope {scope}.")


def require_session(caller: Caller) -> None:
    """Raise `Forbidden` for a token: it can neither make, see nor end tokens, nor share."""
    require_authenticated(caller)
    if caller.token is not None:
        raise Forbidden("A token may not do this; sign in.")


def require_see(caller: Caller, file: PrivateFile) -> None:
    """Raise unless `may_see`."""
    _require(may_see(caller, file), caller, file, "files:read")


def require_run(caller: Caller, file: PrivateFile) -> None:
    """Raise unless `may_run`."""
    _require(may_run(caller, file), caller, file, "run")


def require_read(caller: Caller, file: PrivateFile, *, scope: str = "files:read") -> None:
    """Raise unless `may_read`."""
    _require(may_read(caller, file, scope=scope), caller, file, scope)


def require_change(caller: Caller, file: PrivateFile) -> None:
    """Raise unless `may_change`."""
    _require(may_change(caller, file), caller, file, "files:write")


def require_delete(caller: Caller, file: PrivateFile) -> None:
    """Raise unless `may_delete`."""
    _require(may_delete(caller, file), caller, file, "files:write")


def require_upload(caller: Caller) -> None:
    """Raise unless `may_upload`."""
    require_scope(caller, "files:write")
    if not may_upload(caller):
        raise Forbidden("You may not add files.")


def require_watch(caller: Caller, run: Run) -> None:
    """Raise unless `may_watch`."""
    require_authenticated(caller)
    if not may_watch(caller, run, scope=None):
        raise NotFound
    require_scope(caller, "runs:read")


def require_cancel(caller: Caller, run: Run) -> None:
    """Raise unless `may_cancel`."""
    require_authenticated(caller)
    if may_cancel(caller, run):
        return
    if not may_watch(caller, run, scope=None):
        raise NotFound
    require_scope(caller, "runs:cancel")
    raise Forbidden


def runnable_files(caller: Caller) -> "QuerySet[PrivateFile]":
    """The files that `may_run` allows."""
    if not _holds(caller, "run"):
        return PrivateFile.objects.none()
    return _listed(caller).filter(_runnable(caller.user))


def visible_files(caller: Caller) -> "QuerySet[PrivateFile]":
    """The files that `may_see` allows."""
    if not _holds(caller, "files:read"):
        return PrivateFile.objects.none()
    if any(caller.user.has_perm(name) for name in (VIEW, CHANGE, DELETE)):
        return _listed(caller)
    return _listed(caller).filter(_runnable(caller.user, VIEW, CHANGE, DELETE))


def visible_runs(caller: Caller) -> "QuerySet[Run]":
    """The runs that `may_watch` allows."""
    runs = Run.objects.all()
    if not _holds(caller, "runs:read"):
        return runs.none()
    if caller.token is not None and caller.token.is_limited_to_files:
        runs = runs.filter(file__in=caller.token.files.all())
    if caller.user.has_perm(VIEW_RUN):
        return runs
    return runs.filter(Q(user=caller.user) | Q(file__owner=caller.user))


def _require(is_allowed: bool, caller: Caller, file: PrivateFile, scope: str) -> None:
    if is_allowed:
        return
    require_authenticated(caller)
    if not _may(caller, None, file) or not _sees(caller.user, file):
        raise NotFound
    require_scope(caller, scope)
    raise Forbidden


def _holds(caller: Caller, scope: str | None) -> bool:
    return caller.is_authenticated and (scope is None or caller.has_scope(scope))


def _may(caller: Caller, scope: str | None, file: PrivateFile) -> bool:
    """Whether scope and list of files let this caller near `file` at all."""
    if not _holds(caller, scope):
        return False
    token = caller.token
    is_limited = token is not None and token.is_limited_to_files
    return not is_limited or (token is not None and token.files.filter(pk=file.pk).exists())


def _is_superuser(user: Any) -> bool:
    return bool(getattr(user, "is_superuser", False))


def _has_run(user: Any, file: PrivateFile) -> bool:
    if _is_superuser(user) or file.owner_id == user.pk:
        return True
    if file.access == PrivateFile.Access.AUTHENTICATED or user.has_perm(RUN, file):
        return True
    granted = PrivateFile.objects.filter(_granted(user), pk=file.pk)
    return granted.exists()


def _sees(user: Any, file: PrivateFile) -> bool:
    return _has_run(user, file) or any(_has(user, name, file) for name in (VIEW, CHANGE, DELETE))


def _owns_or_has(user: Any, file: PrivateFile, permission: str) -> bool:
    return file.owner_id == user.pk or _has(user, permission, file)


def _is_own_or_has(user: Any, run: Run, permission: str) -> bool:
    is_own = user.pk in (run.user_id, run.file.owner_id)
    return is_own or bool(user.has_perm(permission))


def _has(user: Any, permission: str, file: PrivateFile) -> bool:
    """Whether a user holds a permission for every file, or for this one."""
    return bool(user.has_perm(permission) or user.has_perm(permission, file))


def _listed(caller: Caller) -> "QuerySet[PrivateFile]":
    files = PrivateFile.objects.all()
    if caller.token is not None and caller.token.is_limited_to_files:
        return files.filter(pk__in=caller.token.files.values("pk"))
    return files


def _granted(user: Any) -> Q:
    by_user = PrivateFile.granted_users.through.objects.filter(user=user)
    by_group = PrivateFile.granted_groups.through.objects.filter(group__in=user.groups.all())
    return Q(pk__in=by_user.values("privatefile")) | Q(pk__in=by_group.values("privatefile"))


def _runnable(user: Any, *permissions: str) -> Q:
    """The files that a user may run, or holds one of these permissions for."""
    if _is_superuser(user):
        return ~Q(pk__in=())
    rule = Q(owner=user) | Q(access=PrivateFile.Access.AUTHENTICATED) | _granted(user)
    if not any(_asks_about_objects(backend) for backend in get_backends()):
        return rule
    names = (RUN, *permissions)
    others = PrivateFile.objects.exclude(rule).only("pk")
    named = [file.pk for file in others if any(user.has_perm(name, file) for name in names)]
    return rule | Q(pk__in=named)


def _asks_about_objects(backend: Any) -> bool:
    """Whether a back-end may grant single files, which no query of ours can know."""
    names = ("has_perm", "get_all_permissions", "get_user_permissions", "get_group_permissions")
    kind = type(backend)
    return hasattr(kind, "has_perm") and not any(
        all(getattr(kind, name, None) is getattr(known, name) for name in names)
        for known in (BaseBackend, ModelBackend)
    )
