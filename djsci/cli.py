"""The command `djsci`: runs of local files, the stand-alone server, tokens, what works here."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from .core import tokentext
from .local import command as run_command

DEFAULT_SETTINGS = "asgi_project.settings"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(
            stream, "reconfigure"
        ):  # a terminal that cannot show a name is no reason to fail
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    if not getattr(options, "needs_django", True):
        return int(options.command(options))
    _set_up_django()
    from django.core.exceptions import ImproperlyConfigured

    from .core.errors import DjsciError

    try:
        return int(options.command(options))
    except (ImproperlyConfigured, LookupError, DjsciError) as error:
        print(f"djsci: {error.args[0]}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="djsci", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run_command.add_to(commands)
    up = commands.add_parser("up", help="serve the project; SIGTERM and Ctrl-C drain it")
    up.add_argument("--server", choices=("daphne", "uvicorn"), default="daphne")
    up.add_argument("--host", default="127.0.0.1")
    up.add_argument("--port", type=int, default=8000, help="0: a free one")
    up.add_argument(
        "--lame-duck",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="how long it still takes calls after SIGTERM, while health/ready says 503: the time "
        "that a proxy needs to notice; default: 0",
    )
    up.set_defaults(command=_up)
    token = commands.add_parser("token", help="make, list, revoke and check tokens")
    _add_token_commands(token.add_subparsers(required=True, metavar="COMMAND"))
    doctor = commands.add_parser("doctor", help="say what works here, and why not")
    doctor.set_defaults(command=_doctor)
    image = commands.add_parser("image", help="make the image of runs at the level 'container'")
    source = image.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from-environment",
        nargs="*",
        metavar="PACKAGE",
        help="out of this Python and its libraries, or of these packages and what they need",
    )
    source.add_argument("--containerfile", help="as this file says, FROM an image that is here")
    image.set_defaults(command=_image)
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 3600:
        raise argparse.ArgumentTypeError("between 0 and 3600 seconds")
    return seconds


def _add_token_commands(commands: Any) -> None:
    make = commands.add_parser("make", help="make a token; its secret is shown once")
    make.add_argument("--user", required=True, help="the user for whom it stands")
    make.add_argument("--name", default="command line")
    make.add_argument("--scope", action="append", help="may be repeated; default: all")
    make.add_argument("--file", action="append", help="a file's id or name; default: all files")
    make.add_argument("--days", type=float, help="when it expires; default: never")
    make.set_defaults(command=_make_token)
    listing = commands.add_parser("list", help="list tokens, never their secrets")
    listing.add_argument("--user", help="of this user only")
    listing.set_defaults(command=_list_tokens)
    revoke = commands.add_parser("revoke", help="end a token at once")
    revoke.add_argument("id")
    revoke.set_defaults(command=_revoke_token)
    check = commands.add_parser("check", help="whether stdin is written as a token is; asks nobody")
    check.set_defaults(command=_check_token, needs_django=False)


def _set_up_django() -> None:
    sys.path.insert(0, os.getcwd())  # a console script does not look where it is called
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", DEFAULT_SETTINGS)
    import django

    try:
        django.setup()
    except ModuleNotFoundError as error:
        if error.name != os.environ["DJANGO_SETTINGS_MODULE"].partition(".")[0]:
            raise
        sys.exit(
            f"djsci: there is no settings module {os.environ['DJANGO_SETTINGS_MODULE']!r} here. "
            "Call djsci in the project's folder, or set DJANGO_SETTINGS_MODULE."
        )


def _up(options: argparse.Namespace) -> int:
    from . import server

    if errors := _found_errors():
        print(*errors, sep="\n", file=sys.stderr)
        return 1
    return server.serve(
        server=options.server,
        host=options.host,
        port=options.port,
        lame_duck=options.lame_duck,
    )


def _found_errors() -> list[str]:
    """What the system checks find that keeps a project from being served; warnings are logged."""
    from django.core.checks import ERROR, run_checks

    found = [message for message in run_checks() if not message.is_silenced()]
    for message in found:
        if message.level < ERROR:
            logging.getLogger("djsci.checks").warning("%s", message)
    return [f"djsci: {message}" for message in found if message.level >= ERROR]


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor

    findings = list(doctor.examine())
    for finding in findings:
        print(f"{'ok  ' if finding.is_good else 'BAD '} {finding.subject:<10} {finding.text}")
    return 0 if all(finding.is_good for finding in findings) else 1


def _image(options: argparse.Namespace) -> int:
    from . import conf
    from .isolation import image, probe

    chosen = conf.container()
    try:
        if options.containerfile:
            said = image.from_containerfile(chosen, Path(options.containerfile).absolute())
        else:
            said = image.from_environment(chosen, options.from_environment)
    except OSError as error:
        print(f"djsci: {error}", file=sys.stderr)
        return 1
    print(said)
    reason = probe.probe("container", seconds=0)
    print(reason or f"The level container holds, with the image {chosen.image!r}.")
    return 1 if reason else 0


def _user(name: str) -> Any:
    from django.contrib.auth import get_user_model

    users = get_user_model()
    found = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first()
    if found is None:
        raise LookupError(f"there is no user {name!r}")
    return found


def _make_token(options: argparse.Namespace) -> int:
    from django.db import transaction
    from django.utils import timezone

    from . import uploads
    from .access import audit, tokens

    user = _user(options.user)
    scopes = options.scope or list(tokens.SCOPES)
    files = [uploads.find(ref) for ref in options.file] if options.file else None
    expires = timezone.now() + timedelta(days=options.days) if options.days is not None else None
    with transaction.atomic():
        token, secret = tokens.make(user, options.name, scopes, files=files, expires=expires)
        audit.record(None, "token", token)
    print(f"{token.pk}  {token.name}: {' '.join(token.scopes)}", file=sys.stderr)
    print(secret)
    return 0


def _list_tokens(options: argparse.Namespace) -> int:
    from .models import Token

    listed = Token.objects.select_related("user").order_by("created")
    if options.user:
        listed = listed.filter(user=_user(options.user))
    for token in listed:
        state = (
            "revoked"
            if token.revoked
            else f"until {token.expires:%Y-%m-%d}"
            if token.expires
            else "valid"
        )
        used = f"{token.last_used:%Y-%m-%d}" if token.last_used else "never"
        scopes = " ".join(token.scopes)
        print(f"{token.pk}  {token.user}  {token.name!r}  {state}  used {used}  {scopes}")
    return 0


def _revoke_token(options: argparse.Namespace) -> int:
    from django.db import transaction

    from .access import audit, tokens
    from .models import Token

    token = Token.objects.filter(pk=options.id).first()
    if token is None:
        raise LookupError(f"there is no token {options.id!r}")
    with transaction.atomic():
        if tokens.revoke(token):
            audit.record(None, "token revoked", token)
    print(f"{token.pk} is revoked")
    return 0


def _check_token(options: argparse.Namespace) -> int:
    # From stdin: an argument would stay in the shell's history and show in the list of processes.
    is_token = tokentext.check(sys.stdin.read().strip())
    print("a token of djsci, by its checksum" if is_token else "no token of djsci")
    return 0 if is_token else 1


if __name__ == "__main__":
    sys.exit(main())
