"""Every error that djsci raises on purpose; the docstring is the default message."""

import errno
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class DjsciError(Exception):
    """djsci could not do what was asked."""

    code: ClassVar[str] = "bad_request"
    status: ClassVar[int] = 400

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after: int | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.errors = [dict(error) for error in errors]
        self.retry_after = retry_after
        super().__init__(self.detail)

    @property
    def title(self) -> str:
        """One sentence for every error of this kind."""
        return (type(self).__doc__ or "").strip()


class BadRequest(DjsciError):
    """The request cannot be understood."""


class NotAuthenticated(DjsciError):
    """Sign in, or send a token as `Authorization: Bearer djsci_…`."""

    code = "not_authenticated"
    status = 401


class Forbidden(DjsciError):
    """You may not do this."""

    code = "forbidden"
    status = 403


class NotFound(DjsciError):
    """There is nothing here that you may see."""

    code = "not_found"
    status = 404


class BadMethod(DjsciError):
    """This method is not served here."""

    code = "bad_method"
    status = 405


class Conflict(DjsciError):
    """This does not fit the present state."""

    code = "conflict"
    status = 409


class Pruned(DjsciError):
    """The log of this run is past its retention and was removed."""

    code = "pruned"
    status = 410


class Changed(DjsciError):
    """The file has changed since you read it."""

    code = "changed"
    status = 412


class TooLarge(DjsciError):
    """This is larger than the site allows."""

    code = "too_large"
    status = 413


class WrongKind(DjsciError):
    """Only notebooks and Python files are taken."""

    code = "wrong_kind"
    status = 415


class BadParameters(DjsciError):
    """The parameters do not fit the handler's signature."""

    code = "bad_parameters"
    status = 422


class BadBody(BadParameters):
    """The body does not fit what is asked for here."""


class SourceInvalid(DjsciError):
    """The file cannot be read as a notebook or as Python."""

    code = "bad_source"
    status = 422


class NoHandler(DjsciError):
    """The file defines no top-level `djsci_handler(request)`, and no adapter reads it."""

    code = "no_handler"
    status = 422


class LimitReached(DjsciError):
    """A limit is reached; try again later."""

    code = "limit"
    status = 429


class NoCapacity(DjsciError):
    """The server cannot take this now; try again."""

    code = "no_capacity"
    status = 503


class DiskFull(NoCapacity):
    """The server's disk is full; nothing was kept of this."""

    errnos = (errno.ENOSPC, errno.EDQUOT)

    def __init__(self) -> None:
        super().__init__(retry_after=60)


class Draining(DjsciError):
    """The server is shutting down; try again."""

    code = "draining"
    status = 503


class IsolationUnavailable(DjsciError):
    """The isolation that this file needs is not available here."""

    code = "isolation_unavailable"
    status = 503
