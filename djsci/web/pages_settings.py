"""A file's name, access and settings; who was let in by name; its end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, QueryDict

from djsci import changes, conf, options, uploads
from djsci.access import audit, permissions
from djsci.access.callers import Caller
from djsci.access.database import writing
from djsci.core import adapters
from djsci.core.connections import OPEN
from djsci.core.errors import BadRequest, DjsciError
from djsci.models import PrivateFile, Run

from . import file_tabs
from .page import page, see_other
from .pages_upload import by_field

MIB = 1 << 20
NUMBERS = {"timeout": float, "memory": float, "retries": int, "concurrency": int}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting's field; without `choices` a number."""

    name: str
    value: str
    help: str
    choices: tuple[str, ...] = ()
    most: str = ""
    step: str = "1"
    error: str = ""


@page("GET", "POST")
def file_settings(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """The form of what the file's keepers decide."""
    file = uploads.find(name_id)
    if not permissions.may_delete(caller, file):
        permissions.require_change(caller, file)
    if request.method != "POST":
        return _form(request, caller, file, None, None)
    permissions.require_change(caller, file)
    try:
        _change(caller, file, request.POST)
    except DjsciError as error:
        file.refresh_from_db()
        return _form(request, caller, file, request.POST, error)
    response = see_other(request, "djsci_file_settings", file.pk)
    response["Location"] += "?saved=1"
    return response


def _change(caller: Caller, file: PrivateFile, typed: QueryDict) -> None:
    values: dict[str, Any] = {
        name: _read(name, str(typed[name])) for name in options.CHECKS if name in typed
    }
    if permissions.may_share(caller, file) and "access" in typed:
        values["access"] = typed["access"]
    with writing():
        try:
            changes.change_settings(file, values, caller)
        except DjsciError as error:
            raise _in_mebibytes(error) from error
        if typed.get("name", "") != _in_one_line(file.name):
            changes.rename(file, typed.get("name") or None)
        if permissions.may_share(caller, file) and "users" in typed:
            _grant(caller, file, typed)


def _in_one_line(name: str | None) -> str:
    """The name as an input gives it back: an odd one of an old row stays as long as it may."""
    return (name or "").replace("\r", "").replace("\n", "")


def _read(name: str, text: str) -> Any:
    """A setting's value; an empty one is the site's."""
    text = text.strip()
    if not text:
        return None
    if name not in NUMBERS:
        return text
    try:
        number = NUMBERS[name](text)
    except ValueError:
        return text
    return round(number * MIB) if name == "memory" else number


def _in_mebibytes(error: DjsciError) -> DjsciError:
    """The form asks for MiB, the setting is in bytes."""
    most = conf.get("MEMORY_LIMIT") // MIB
    message = f"A number over 0 and at most {most} MiB, the site's own limit."
    error.errors = [
        {**each, "message": message} if each.get("field") == "memory" else each
        for each in error.errors
    ]
    return error


def _grant(caller: Caller, file: PrivateFile, typed: QueryDict) -> None:
    users = get_user_model()
    wanted: dict[str, tuple[Any, str, Any]] = {
        "users": (users._default_manager, users.USERNAME_FIELD, file.granted_users),
        "groups": (Group.objects, "name", file.granted_groups),
    }
    before, errors = _granted(file), []
    for field, (manager, key, granted) in wanted.items():
        asked = {line.strip() for line in typed.get(field, "").splitlines() if line.strip()}
        found = list(manager.filter(**{f"{key}__in": asked}))
        missing = sorted(asked - {str(getattr(one, key)) for one in found})
        if missing:
            errors.append({"field": field, "message": f"There is no {', '.join(missing)}."})
        else:
            granted.set(found)
    if errors:
        raise BadRequest("; ".join(each["message"] for each in errors), errors=errors)
    after = _granted(file)
    if after != before:
        audit.record(caller, "grant", file, before=before, now=after)


def _granted(file: PrivateFile) -> dict[str, list[str]]:
    return {
        "users": sorted(str(user.pk) for user in file.granted_users.all()),
        "groups": sorted(str(group.pk) for group in file.granted_groups.all()),
    }


def _form(
    request: HttpRequest,
    caller: Caller,
    file: PrivateFile,
    typed: QueryDict | None,
    problem: DjsciError | None,
) -> HttpResponse:
    errors = by_field(problem)
    may_share = permissions.may_share(caller, file)
    context: dict[str, Any] = {
        "problem": problem,
        "errors": errors,
        "name": typed.get("name", "") if typed is not None else _in_one_line(file.name),
        "access": typed.get("access", file.access) if typed is not None else file.access,
        "accesses": PrivateFile.Access.choices,
        "settings": list(_settings(caller, file, typed, errors)),
        "may_change": permissions.may_change(caller, file),
        "may_delete": permissions.may_delete(caller, file),
        "may_share": may_share,
        "reach": _reach(file),
        "saved": "saved" in request.GET and problem is None,
    }
    if may_share:
        users = file.granted_users.order_by("pk")
        groups = file.granted_groups.order_by("name")
        given = typed if typed is not None else {}
        context["users"] = given.get("users", "\n".join(each.get_username() for each in users))
        context["groups"] = given.get("groups", "\n".join(each.name for each in groups))
    status = problem.status if problem else 200
    return file_tabs.render_tab(request, caller, file, "settings", context, status=status)


def _reach(file: PrivateFile) -> list[dict[str, str]]:
    """What its runs may reach, and the names of the variables that they have."""
    site, own = conf.get("CONNECTIONS"), "the server's own network"
    return [
        {
            "name": name,
            "hosts": own if name == OPEN else ", ".join(site.get(name, {}).get("hosts", ())),
            "variables": ", ".join(site.get(name, {}).get("env", {})),
        }
        for name in (file.settings or {}).get("connections") or []
    ]


def _settings(
    caller: Caller, file: PrivateFile, typed: QueryDict | None, errors: Mapping[str, str]
) -> Iterable[Setting]:
    present = file.settings or {}
    may_thread = permissions.may_set_trust(caller) or present.get("engine") == "thread"
    memory = conf.get("MEMORY_LIMIT") // MIB
    told: dict[str, tuple[str, tuple[str, ...], str, str]] = {
        "timeout": (
            f"Seconds; the site's: {conf.get('TIMEOUT'):g}",
            (),
            f"{conf.get('TIMEOUT'):g}",
            "any",
        ),
        "memory": (f"MiB; the site's: {memory}", (), str(memory), "any"),
        "adapter": ("Which format it is read as", tuple(adapters.names()), "", ""),
        "engine": (
            "What runs it: fork starts fastest, kernel is a stock Jupyter kernel",
            tuple(name for name in options.ENGINES if name != "thread" or may_thread),
            *("", ""),
        ),
        "environment": ("Whose libraries it has", tuple(conf.get("ENVIRONMENTS")), "", ""),
        "instance": (
            "warm loads the file once and forks each call from it",
            options.INSTANCES,
            "",
            "",
        ),
        "isolation": ("The least that it is walled by", options.LEVELS, "", ""),
        "output": ("interactive lets its plots run their scripts at once", options.OUTPUTS, "", ""),
        "retries": (
            "How often a lost or crashed run starts again",
            (),
            str(options.MOST_RETRIES),
            "1",
        ),
        "concurrency": ("Its runs at once", (), "", "1"),
    }
    if not conf.get("ENVIRONMENTS"):
        del told["environment"]
    for name, (help_text, choices, most, step) in told.items():
        value = present.get(name)
        if name == "memory" and isinstance(value, int):
            value = f"{value / MIB:g}"
        text = "" if value is None else str(value)
        yield Setting(
            name=name,
            value=typed.get(name, "") if typed is not None else text,
            help=help_text,
            choices=choices,
            most=most,
            step=step or "1",
            error=errors.get(name, ""),
        )


@page("GET", "POST")
def file_delete(request: HttpRequest, caller: Caller, name_id: str) -> HttpResponse:
    """A page that asks, and a button that deletes."""
    file = uploads.find(name_id)
    permissions.require_delete(caller, file)
    problem: DjsciError | None = None
    if request.method == "POST":
        try:
            _delete(caller, file)
        except DjsciError as error:
            problem = error
        else:
            return see_other(request, "djsci_console")
    context = {
        "problem": problem,
        "versions": file.versions.count(),
        "runs": Run.objects.filter(file=file).count(),
        "tab": "settings",
    }
    status = problem.status if problem else 200
    return file_tabs.render_tab(request, caller, file, "delete", context, status=status)


@writing()
def _delete(caller: Caller, file: PrivateFile) -> None:
    audit.record(caller, "delete", file)
    changes.delete(file)
