"""The user of a session, read and never written.

Django's own `get_user` stores a rotated key's hash, Channels' drops the session over it.
"""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.utils.crypto import constant_time_compare


def user_of(session_key: str | None) -> Any:
    """Who is signed in under this session key, as stored now; `AnonymousUser` for nobody.

    The hash of the password is checked, with each of SECRET_KEY_FALLBACKS too.
    """
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    path = session.get(BACKEND_SESSION_KEY)
    if not session_key or path not in settings.AUTHENTICATION_BACKENDS:
        return AnonymousUser()
    try:
        key = get_user_model()._meta.pk.to_python(session[SESSION_KEY])
    except (KeyError, ValidationError):
        return AnonymousUser()
    user = load_backend(path).get_user(key)
    if user is None or not _fits(str(session.get(HASH_SESSION_KEY) or ""), user):
        return AnonymousUser()
    return user


def _fits(found: str, user: Any) -> bool:
    if not hasattr(user, "get_session_auth_hash"):
        return True
    expected = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return bool(found) and any(constant_time_compare(found, known) for known in expected)
