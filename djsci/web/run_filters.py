"""Which runs are asked for: `file, state, user, since`, in the API and in the history."""

from datetime import UTC, datetime

from django.db.models import Q

from djsci.core.errors import BadRequest
from djsci.core.events import FINAL, LIVE


def conditions(file: str | None, state: str | None, user: str | None, since: str | None) -> Q:
    """The filters as one condition. Raises `BadRequest`, which names the field."""
    if "\x00" in f"{file}{user}":
        raise BadRequest("Nothing is named with a NUL character.")
    found = Q()
    if file is not None:
        found &= Q(file__pk=file) | Q(file__name=file)
    if state is not None:
        found &= Q(state__in=states(state))
    if user is not None:
        found &= Q(user__username=user)
    if since is not None:
        found &= Q(created__gte=moment(since))
    return found


def states(text: str) -> list[str]:
    """States with commas between them."""
    named = text.split(",")
    unknown = sorted(set(named) - {*LIVE, *FINAL})
    if unknown:
        message = f"No such state. There are {', '.join((*LIVE, *FINAL))}."
        raise BadRequest(message, errors=[{"field": "state", "message": message}])
    return named


def moment(text: str) -> datetime:
    """ISO 8601; a `+` that the query made a blank is one again. Without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        message = "An ISO 8601 time is needed, such as 2027-01-31T12:00:00Z."
        raise BadRequest(message, errors=[{"field": "since", "message": message}]) from error
