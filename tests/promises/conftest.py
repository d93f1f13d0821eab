"""Real servers at two corners: Daphne on SQLite alone, uvicorn on PostgreSQL with Valkey."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import live, servers

# Both corners by `make faults`; each commit tries the one that has more to go wrong.
ONE_CORNER = pytest.mark.parametrize(
    "site",
    [pytest.param("daphne-sqlite", marks=pytest.mark.faults), "uvicorn-postgres-valkey"],
    indirect=True,
    scope="package",
)
OPTIONS = {"DJSCI": {"QUEUE_PER_USER": 500, "TIMEOUT": 60, "GRACE": 0.5}}


@pytest.fixture(scope="package", params=["daphne-sqlite", "uvicorn-postgres-valkey"])
def site(request: pytest.FixtureRequest) -> Iterator[live.Site]:
    with ExitStack() as stack:
        if request.param == "daphne-sqlite":
            yield stack.enter_context(live.server("daphne", settings=OPTIONS))
        else:
            valkey = stack.enter_context(servers.valkey_url())
            postgres = servers.postgres_url()
            yield stack.enter_context(
                live.server("uvicorn", database=postgres, redis=valkey, settings=OPTIONS)
            )


@pytest.fixture
def ada() -> dict[str, object]:
    """A superuser to seed with."""
    return {"name": "ada", "superuser": True}
