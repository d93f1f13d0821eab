"""The stand-alone project: djsci with a login, an admin and a database of its own."""

from .environment import BROKER

if BROKER:  # web processes ring workers by the broker, and need the application that names it
    from .celery import app as celery_app

    __all__ = ["celery_app"]
