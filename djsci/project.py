"""What a fork server of trusted versions does first: the project's Django, without a connection."""

import django
from django.db import connections


def set_up() -> None:
    """Load the project's applications; each run opens connections of its own."""
    django.setup()
    connections.close_all()
