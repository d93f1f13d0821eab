"""The guest as a zip: what a kernel's Python gets of djsci, wherever it runs."""

import os
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def write_guest(path: Path) -> Path:
    """Write djsci's light `__init__`, the guest and the walls into the zip `path`; return it."""
    files = [path for part in ("guest", "isolation") for path in (PACKAGE / part).glob("*.py")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for file in [PACKAGE / "__init__.py", *sorted(files)]:
            bundle.write(file, file.relative_to(PACKAGE.parent))
    path.chmod(0o644)
    return path


def hidden() -> list[str]:
    """Folders that no run imports from, though the server does: the project's own."""
    folders = {str(PACKAGE.parent), os.getcwd()}
    return sorted(path for path in folders if not path.endswith(("site-packages", "dist-packages")))
