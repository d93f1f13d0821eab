"""The same project with this djsci: go `forward`, `use` it, `call` it, go `back` to 0001."""

import sys

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.files.base import ContentFile  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402
from site_dump import files, say, table  # noqa: E402

from djsci import uploads, versions  # noqa: E402
from djsci.core.errors import DjsciError  # noqa: E402
from djsci.models import PrivateFile  # noqa: E402
from djsci.runs import executor  # noqa: E402

CODE = b"def djsci_handler(request):\n    return 'new'\n"
CALLS = (("py", "heyo"), ("ipynb", "notebook"), ("py", "notebook"), ("py", "own id"))


def text(answer: HttpResponse) -> str:
    return answer.content.decode() if answer.status_code == 200 else ""


def look_up(ref: str) -> str:
    """The code that a call of `ref` would run, or why there is none."""
    try:
        version = uploads.current_version(uploads.find(ref))
        return versions.source(version).cells[0].text
    except DjsciError as error:
        return error.code


for task in sys.argv[1:]:
    match task:
        case "forward":
            call_command("migrate", verbosity=0)
            call_command("makemigrations", "djsci", "--check", verbosity=0)
            say({**table(), "files": files()})
        case "use":
            rows = list(PrivateFile.objects.all())
            found = {f"name {row.name}": look_up(row.name) for row in rows if row.name is not None}
            found |= {f"id of {row.name}": look_up(row.pk) for row in rows}
            uploads.create(name="brought", entry="new.py", files={"new.py": CODE}, owner=None)
            PrivateFile.objects.create(
                name="brought by the host", file=ContentFile(CODE, "host.py")
            )
            uploads.current_version(uploads.find("brought by the host"))
            brought = PrivateFile.objects.filter(name__startswith="brought")
            say({"found": found, "access": sorted({row.access for row in brought})})
            say({**table(), "files": files()})
        case "call":
            user = get_user_model().objects.create_user("somebody")
            client = Client(headers={"host": "localhost"})
            addresses = [reverse(f"sync_{kind}", args=(ref,)) for kind, ref in CALLS]
            addresses += ["/private_files/heyo.py"]
            strangers = [client.get(address).status_code for address in addresses]
            client.force_login(user)
            answers = [client.get(address) for address in addresses]
            say({"strangers": strangers, "answers": [[a.status_code, text(a)] for a in answers]})
            executor.stop()
        case "back":
            call_command("migrate", "djsci", "0001", verbosity=0)
            say({**table(), "files": files()})
