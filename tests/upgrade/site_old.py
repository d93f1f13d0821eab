"""What a project did with the first release: `make` it (`make-stray`), `read` its files."""

import sys

import django

django.setup()

from django.core.files.base import ContentFile  # noqa: E402
from django.core.management import call_command  # noqa: E402
from site_dump import files, say, table  # noqa: E402

from djsci.models import PrivateFile  # noqa: E402

CODE = b"def djsci_handler(request):\n    return 'old python'\n"
NOTEBOOK = (
    b'{"cells": [{"cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [],'
    b' "source": ["def djsci_handler(request):\\n", "    return \'old notebook\'"]}],'
    b' "metadata": {}, "nbformat": 4, "nbformat_minor": 2}'
)


def content(name: str, body: bytes = CODE) -> ContentFile:
    return ContentFile(body, name=name)


def make_rows() -> None:
    create = PrivateFile.objects.create
    python = create(name="heyo", file=content("heyo.py"), filetype="py", notes="a\nb")
    create(name="notebook", file=content("heyo.ipynb", NOTEBOOK), metadata={"a": [1, None]})
    create(name="", file=content("empty name.py"))
    create(name="two\nlines\r\n", file=content("lines.py"))
    create(name="x" * 300, file=content("long.py"))
    create(name=python.pk, file=content("impostor.py", CODE.replace(b"old", b"wrong")))
    create(name=None, file=content("nameless.py"))
    create(name="a/b", file=content("slash.py"))
    create(name="ünï ☃", file=content("ünï.py"))
    create(name="no file")
    create(name="twice", file=content("heyo.py"))
    create(name="lost", file="private_files/lost.py")
    create(name="not python", file=content("broken.py", b"def djsci_handler(request:\n"))
    create(id="chosen", name="own id", file=content("chosen.py"))


match sys.argv[1]:
    case "make" | "make-stray":
        if sys.argv[1] == "make-stray":
            call_command("makemigrations", "djsci", verbosity=0)
        call_command("migrate", verbosity=0)
        make_rows()
        say({**table(), "files": files()})
    case "read":
        rows = PrivateFile.objects.filter(name__startswith="brought")
        say({row.name: row.file.open().read().decode() for row in rows})
