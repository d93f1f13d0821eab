"""The app as Django knows it."""

from django.apps import AppConfig


class DjsciConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "djsci"

    def ready(self) -> None:
        from . import checks, conf  # noqa: F401 - registers the system checks
        from .access import logs
        from .isolation import container

        logs.hide_tokens()
        container.current = conf.container
