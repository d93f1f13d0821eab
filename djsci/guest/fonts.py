"""matplotlib's list of fonts, copied to where it is looked for: to make one takes seconds."""

import contextlib
import os
import shutil


def take() -> None:
    """Copy the list that the wall lets us read, if there is one. Before matplotlib is imported."""
    offered, folder = os.environ.pop("DJSCI_FONTS", None), os.environ.get("MPLCONFIGDIR")
    if offered and folder:
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)
            shutil.copy(offered, folder)
