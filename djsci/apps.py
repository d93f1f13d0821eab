"""The app as Django knows it."""

from django.apps import AppConfig


class DjsciConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "djsci"

    def ready(self) -> None:
        from . import checks  # noqa: F401 - registers the system checks
        from .access import logs

        logs.hide_tokens()
