"""System checks: what is set wrongly, and the one thing to change."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from . import conf


@register("djsci")
def check_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Every key of `DJSCI` is one that djsci knows."""
    unknown = sorted(set(getattr(settings, "DJSCI", {})) - set(conf.DEFAULTS))
    return [
        Error(
            f"DJSCI has no key {key!r}.",
            hint="Known keys: " + ", ".join(conf.DEFAULTS),
            id="djsci.E001",
        )
        for key in unknown
    ]
