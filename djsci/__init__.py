"""djsci: a notebook or a Python file with a `djsci_handler(request)` becomes a live API.

Imported by the server and, inside a handler, by user code: nothing here imports Django.
"""

__version__ = "0.1.0"
