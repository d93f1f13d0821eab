"""pip as a program of its own: given to the environment's Python with -c, before the folder that
holds pip and pip's arguments.

pip builds what a wheel's metadata name by an address, whatever it is told about wheels: so no
address is taken from there, and no program is started.
"""

import importlib.util
import sys
from typing import Any

STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}
MUSL = "/lib/ld-musl-"  # which says the version of the C library


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which nothing can take away again."""
    if event in STARTS and not str(arguments[0] if arguments else "").startswith(MUSL):
        raise PermissionError("what installs starts no program")


def main() -> None:
    folder = sys.argv.pop(1)
    spec = importlib.util.spec_from_file_location("pip", f"{folder}/__init__.py")
    assert spec is not None  # noqa: S101 - for mypy
    assert spec.loader is not None  # noqa: S101
    sys.modules["pip"] = pip = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pip)
    from pip._vendor.packaging.requirements import InvalidRequirement, Requirement

    read = Requirement.__init__

    def read_name(self: Requirement, requirement_string: str) -> None:
        read(self, requirement_string)
        if self.url:
            raise InvalidRequirement("an address is asked for, not a name with versions")

    Requirement.__init__ = read_name  # type: ignore[method-assign]
    sys.addaudithook(refuse)
    from pip._internal.cli.main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
