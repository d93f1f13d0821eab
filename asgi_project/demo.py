"""Seed the demo (a user, a token, the examples), collect the static files, print what to do."""

import argparse
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import django

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = {
    "heyo_multiverse_ipynb": ("heyo_multiverse.ipynb",),
    "heyo_multiverse_py": ("heyo_multiverse.py",),
    "sales_report": ("sales_report.ipynb", "sales.csv"),
    "progress_bars": ("progress_bars.ipynb",),
    "typed_quote": ("typed_quote.py",),
    "countdown_stream": ("countdown_stream.py",),
    "slow_walk": ("slow_walk.py",),
    "fails_in_cell_three": ("fails_in_cell_three.ipynb",),
}
USER = "demo"
SAID = """
  console   {url}/djsci/console/
  admin     {url}/admin/
  sign in   {user} / {password}

  curl -H '{header}' {url}/djsci/sync_ipynb/heyo_multiverse_ipynb/
  curl -H '{header}' {url}/djsci/sync_py/heyo_multiverse_py/
  curl -H '{header}' -H 'Content-Type: application/json' -H 'Prefer: wait=30' \\
    -d '{{"parameters": {{"items": ["desk", "lamp"], "shipping": "express"}}}}' \\
    {url}/djsci/api/v1/files/typed_quote/runs/
"""


def main() -> None:
    """Seed, then print. A second time changes nothing and prints the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asgi_project.settings")
    django.setup()
    from django.conf import settings

    data = Path(settings.DATA)
    user, password = demo_user(data / "demo_password")
    token = demo_token(data / "demo_token", user)
    load_examples(user)
    collect()
    host = f"[{options.host}]" if ":" in options.host else options.host
    sys.stdout.write(
        SAID.format(
            url=f"http://{host}:{options.port}",
            user=USER,
            password=password,
            header=f"Authorization: Bearer {token}",
        )
    )


def demo_user(kept: Path) -> tuple[Any, str]:
    """The user and a password: the kept one, unless somebody has chosen another since."""
    from django.contrib.auth import get_user_model

    users = get_user_model()
    user = users._default_manager.filter(username=USER).first()
    if user is not None and kept.exists():
        password = kept.read_text(encoding="utf-8").strip()
        return user, password if user.check_password(password) else "(the password that you chose)"
    password = secrets.token_urlsafe(12)
    if user is None:
        user = users(username=USER, is_staff=True, is_superuser=True)
    user.set_password(password)
    user.save()
    write_private(kept, password)
    return user, password


def demo_token(kept: Path, user: Any) -> str:
    """A token with every scope: the kept one while it is valid."""
    from djsci.access import tokens

    if kept.exists():
        secret = kept.read_text(encoding="utf-8").strip()
        found = tokens.find(secret)
        if found is not None and found.user_id == user.pk:
            return secret
    secret = tokens.make(user, "demo", list(tokens.SCOPES))[1]
    write_private(kept, secret)
    return secret


def load_examples(user: Any) -> None:
    """Upload the examples whose names are not taken; what is there is never changed."""
    from djsci import uploads
    from djsci.models import PrivateFile

    taken = set(PrivateFile.objects.filter(name__in=FILES).values_list("name", flat=True))
    for name, (entry, *companions) in FILES.items():
        if name not in taken:
            content = {item: (EXAMPLES / item).read_bytes() for item in (entry, *companions)}
            uploads.create(
                name=name, entry=entry, files=content, owner=user, access="authenticated"
            )


def collect() -> None:
    """Give static files their hashed names, unless those of the installed packages have them."""
    from django.conf import settings
    from django.contrib.staticfiles.storage import staticfiles_storage
    from django.core.management import call_command

    if not settings.DEBUG and not getattr(staticfiles_storage, "hashed_files", True):
        call_command("collectstatic", interactive=False, verbosity=0)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    draft.replace(path)


if __name__ == "__main__":
    main()
