"""What the service asks of the searches: which runs and which log entries, newest first.

A search finds candidates in its own file; the rows shown are those that the lists show, so what a
list leaves out (a deleted workflow's runs, another tenant's) is in no answer. Candidates are taken
in portions, and a search ends after a bounded number of them with a place to go on from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ..journal.journal import LATEST
from .apart import Apart
from .log_views import LISTED, ListedLogRow
from .projection import SqlValue
from .search_projections import ERRORS, LOGS, PAYLOADS
from .search_text import scope_of, scope_of_workflow
from .view_rows import EXISTED, RUN_COLUMNS, RunRow, as_of, run_row
from .views import Views

PORTION: Final = 500
"""How many candidates are looked at together."""
PORTIONS_MAX: Final = 10
"""How many portions one search looks at."""
TERMS_MAX: Final = 16
"""How many words and phrases one search may have."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched for."""

    tenant: str
    words: str = ""
    """A query of `match_of`, "" where no words are searched for."""
    fields: Mapping[str, str] = {}
    """The values that payloads have at paths."""
    workflow: str | None = None
    level: str | None = None
    before: int = LATEST
    """Only what is older than this position."""
    at_position: int = LATEST
    hidden_until: int = 0
    """Leaves out the runs that had ended by this position, as lists do."""


class Found(msgspec.Struct, frozen=True):
    """A page of a search."""

    rows: Sequence[Any]
    more_before: int
    """Where the search goes on, 0 where it is at its end."""


_Candidate = tuple[int, int]
"""The place of a candidate in the order of a search, and the position that its row is found by."""

_MATCHED: Final = (
    "SELECT rowid, {} FROM {} WHERE {} MATCH ? AND rowid < ? AND rowid <= ? "
    "ORDER BY rowid DESC LIMIT ?"
)
_ERRORS: Final = _MATCHED.format("requested_position", "error_text_{g}", "error_text_{g}")
_LOGS: Final = _MATCHED.format("position", "log_text_{g}", "log_text_{g}")
_FIELD: Final = "tenant = ? AND path = ? AND value = ?"
_PAYLOADS: Final = (
    f"SELECT requested_position, requested_position FROM payload_field_{{g}} WHERE {_FIELD} "
    "AND requested_position < ? AND requested_position <= ? AND (? IS NULL OR workflow = ?) "
    "ORDER BY requested_position DESC LIMIT ?"
)
_HAVING: Final = (
    f"SELECT requested_position FROM payload_field_{{g}} WHERE {_FIELD} "
    "AND requested_position IN (SELECT value FROM json_each(?))"
)
_SHOWN: Final = " OR ".join(f"({term})" for term in EXISTED)
_ROWS: Final = (
    "SELECT {} FROM {} WHERE {} IN (SELECT value FROM json_each(?1)) AND tenant = ?3 "
    "AND EXISTS (SELECT 1 FROM workflow AS own WHERE own.workflow_id = {}.workflow AND ({}))"
)
_RUN_ROWS: Final = (
    _ROWS.format(RUN_COLUMNS, "run", "requested_position", "run", _SHOWN)
    + " AND NOT ended_position BETWEEN 1 AND ?4"
)
_LOG_ROWS: Final = (
    _ROWS.format(LISTED, "log", "position", "log", _SHOWN) + " AND (?5 IS NULL OR status = ?5)"
    " AND NOT EXISTS (SELECT 1 FROM run WHERE run.run_id = log.run_id"
    " AND run.ended_position BETWEEN 1 AND ?4)"
)


def match_of(text: str) -> str:
    """Turn what a user typed into a query of full-text search; "" where it has no word.

    All words must be there, in any order; "…" keeps words together, and a word that ends in *
    stands for all that begin like it. Nothing else means anything: every piece is quoted.

    Raises:
        ValueError: it has more than `TERMS_MAX` pieces.
    """
    pieces: list[str] = []
    for index, part in enumerate(text.replace("\0", " ").split('"')):
        # Every second part stands between quotation marks; one that nothing closes ends here.
        for piece in [part] if index % 2 else part.split():
            if any(letter.isalnum() for letter in piece):
                begins = not index % 2 and piece.endswith("*")
                pieces.append(f'"{piece}"{" *" if begins else ""}')
    if len(pieces) > TERMS_MAX:
        raise ValueError(f"more than {TERMS_MAX} words and phrases")
    return " AND ".join(pieces)


async def search_runs(views: Views, wanted: Wanted, limit: int) -> Found:
    """Find runs by the words of their error message, by fields of their payload, or by both.

    With words the newest failure comes first, without them the newest run.

    Raises:
        StaleViewsError: a search or the lists are behind.
        SearchTooSlowError: it takes too long.
        ViewsFailedError: the rows can't be read.
    """
    for name in (ERRORS,) * bool(wanted.words) + (PAYLOADS,) * bool(wanted.fields):
        await views.apart.wait_for(name, wanted.at_position)
    await views.wait_for(wanted.at_position)
    return await _search(views, wanted, limit, is_logs=False)


async def search_logs(views: Views, wanted: Wanted, limit: int) -> Found:
    """Find log entries by the words of their output, the newest first.

    Raises:
        StaleViewsError: the search or the lists are behind.
        SearchTooSlowError: it takes too long.
        ViewsFailedError: the rows can't be read.
    """
    await views.apart.wait_for(LOGS, wanted.at_position)
    await views.wait_for(wanted.at_position)
    return await _search(views, wanted, limit, is_logs=True)


async def _search(views: Views, wanted: Wanted, limit: int, *, is_logs: bool) -> Found:
    rows: list[Any] = []
    before = wanted.before
    for _ in range(PORTIONS_MAX):
        if wanted.words:
            name, fields = LOGS if is_logs else ERRORS, list(wanted.fields.items())
            some = await _candidates(views.apart, name, select_matched(wanted, before, name))
        else:
            # The index of fields has the runs in order.
            fields = list(wanted.fields.items())[1:]
            some = await _candidates(views.apart, PAYLOADS, select_having(wanted, before))
        is_last = len(some) < PORTION
        chosen = await _having(views.apart, wanted, some, fields)
        shown = await (_log_rows if is_logs else _run_rows)(views, wanted, chosen)
        for place, position in chosen:
            if position in shown:
                if len(rows) == limit:
                    return Found(rows, before)
                rows.append(shown[position])
            before = place
        if is_last:
            return Found(rows, 0)
        before = some[-1][0]
    return Found(rows, before)


def select_matched(wanted: Wanted, before: int, name: str) -> tuple[str, Sequence[SqlValue]]:
    """Return the statement that finds what has the words, newest first."""
    scopes = [scope_of(wanted.tenant)]
    if wanted.workflow is not None:
        scopes.append(scope_of_workflow(wanted.workflow))
    own = " AND ".join(f'"{scope}"' for scope in scopes)
    query = f"{{scope}} : ({own}) AND {{words}} : ({wanted.words})"
    return _LOGS if name == LOGS else _ERRORS, (query, before, wanted.at_position, PORTION)


def select_having(wanted: Wanted, before: int) -> tuple[str, Sequence[SqlValue]]:
    """Return the statement that finds the runs with the first of the fields, newest first."""
    path, value = next(iter(wanted.fields.items()))
    bounds = (before, wanted.at_position, wanted.workflow, wanted.workflow, PORTION)
    return _PAYLOADS, (wanted.tenant, path, value, *bounds)


async def _candidates(
    apart: Apart, name: str, selected: tuple[str, Sequence[SqlValue]]
) -> Sequence[_Candidate]:
    rows = await apart.select(name, *selected)
    return [(int(place), int(position)) for place, position in rows]


async def _having(
    apart: Apart,
    wanted: Wanted,
    candidates: Sequence[_Candidate],
    fields: Sequence[tuple[str, str]],
) -> Sequence[_Candidate]:
    """Keep the candidates that have all of these fields."""
    for field in fields:
        positions = _list([position for _, position in candidates])
        rows = await apart.select(PAYLOADS, _HAVING, (wanted.tenant, *field, positions))
        having = {int(row[0]) for row in rows}
        candidates = [each for each in candidates if each[1] in having]
    return candidates


async def _run_rows(
    views: Views, wanted: Wanted, candidates: Sequence[_Candidate]
) -> dict[int, RunRow]:
    at = wanted.at_position
    values: tuple[SqlValue, ...] = (
        _list([p for _, p in candidates]),
        at,
        wanted.tenant,
        wanted.hidden_until,
    )
    rows = [as_of(run_row(row), at) for row in await views.select(_RUN_ROWS, values)]
    return {row.requested_position: row for row in rows}


async def _log_rows(
    views: Views, wanted: Wanted, candidates: Sequence[_Candidate]
) -> dict[int, ListedLogRow]:
    values = (
        _list([p for _, p in candidates]),
        wanted.at_position,
        wanted.tenant,
        wanted.hidden_until,
        wanted.level,
    )
    rows = [ListedLogRow(*row) for row in await views.select(_LOG_ROWS, values)]
    return {row.position: row for row in rows}


def _list(positions: Sequence[int]) -> str:
    return msgspec.json.encode(positions).decode()
