"""Pages of the log: how much of it is looked at for one, whatever the size of its rows."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from djsci.models import LogRow, Run
from djsci.runs import log
from tests.conftest import MakeFile

Logged = Callable[..., str]


@pytest.fixture
def logged(make_file: MakeFile, user: Any) -> Logged:
    """A run with so many rows of so many lines, each about `size` bytes long."""

    def make(*, rows: int, lines: int, size: int) -> str:
        file = make_file("def djsci_handler(request): return 1")
        run = Run(
            file=file,
            version=file.version,
            user=user,
            trigger="api",
            engine="fork",
            isolation="process",
            timeout=60,
            memory=1,
            created=file.created,
            head=rows * lines,
        )
        run.save(force_insert=True)
        text = "x" * size
        for row in range(rows):
            first = row * lines + 1
            said = [
                log.numbered(f'{{"type":"stream","text":"{text}"}}', seq=first + place, t=0.0)
                for place in range(lines)
            ]
            LogRow.objects.create(
                run=run,
                first=first,
                last=first + lines - 1,
                created=file.created,
                bytes=sum(map(len, said)),
                data="\n".join(said),
            )
        return str(run.pk)

    return make


def of_the_log(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in queries if 'FROM "djsci_logrow"' in query["sql"]]


def test_a_page_of_large_rows_looks_at_two(logged: Logged):
    run = logged(rows=20, lines=1, size=200_000)
    with CaptureQueriesContext(connection) as queries:
        page = log.read(run, after=3)
    assert (page.first, page.last) == (4, 4)
    [look] = of_the_log(queries)
    assert "LIMIT 2" in look


@pytest.mark.parametrize(("rows", "lines", "size"), [(90, 1, 50), (9, 100, 50), (20, 3, 90_000)])
def test_pages_hold_every_line_once(logged: Logged, rows: int, lines: int, size: int):
    run = logged(rows=rows, lines=lines, size=size)
    found: list[str] = []
    while len(found) < rows * lines:
        page = log.read(run, after=len(found), events=37)
        assert page.first == len(found) + 1
        assert 0 < len(page.lines) <= 37
        found += page.lines
    assert [int(line.split(":")[1].split(",")[0]) for line in found] == list(
        range(1, rows * lines + 1)
    )


def test_a_log_that_has_not_grown_is_not_looked_at(logged: Logged):
    run = logged(rows=2, lines=1, size=5)
    with CaptureQueriesContext(connection) as queries:
        assert log.read(run, after=2).lines == ()
    assert of_the_log(queries) == []


def test_a_page_ends_where_rows_are_missing(logged: Logged):
    run = logged(rows=4, lines=2, size=5)
    LogRow.objects.filter(run=run, first=3).delete()
    assert log.read(run, after=0).last == 2
