"""The magics that ipykernel adds to IPython's, as far as they make sense without a kernel."""

import os

from IPython.core.display import Javascript
from IPython.core.display_functions import display
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.page import page


@magics_class
class KernelMagics(Magics):  # type: ignore[misc]
    """Notebooks that were written in Jupyter may hold them."""

    @line_magic  # type: ignore[untyped-decorator]
    def autosave(self, line: str) -> None:
        """Say how often a front end saves; nothing is saved here."""
        try:
            seconds = int(line)
        except ValueError as error:
            raise UsageError(f"%autosave requires an integer, got {line!r}") from error
        script = Javascript(f"IPython.notebook.set_autosave_interval({1000 * seconds})")
        display(script, include=["application/javascript"])
        print(f"Autosaving every {seconds} seconds" if seconds else "Autosave disabled")  # noqa: T201

    @line_magic  # type: ignore[untyped-decorator]
    def less(self, line: str) -> None:
        """Show a file in the pager."""
        if not line:
            raise UsageError("Missing filename.")
        with open(line, encoding="utf-8") as file:
            page(file.read())

    @line_magic  # type: ignore[untyped-decorator]
    def more(self, line: str) -> None:
        """The same as `%less`."""
        self.less(line)

    @line_magic  # type: ignore[untyped-decorator]
    def man(self, line: str) -> None:
        """Show a page of the manual in the pager."""
        page(self.shell.getoutput(f"man {line} | col -b", split=False))

    @line_magic  # type: ignore[untyped-decorator]
    def clear(self, line: str) -> None:
        """Clear a terminal."""
        self.shell.system("clear" if os.name == "posix" else "cls")
