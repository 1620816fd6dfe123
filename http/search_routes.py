"""Searches: runs by error message and payload, log entries by what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from ..engine.errors import NotFoundError
from ..journal.journal import LATEST
from ..projections.log_views import ListedLogRow
from ..projections.run_state import LogStatus
from ..projections.search_projections import ERRORS, LOGS, PAYLOADS
from ..projections.search_text import PATH_MAX, VALUE_MAX
from ..projections.search_views import Wanted, match_of, search_logs, search_runs
from ..projections.views import RunRow
from . import rendering
from .call import Answer, Call, answer
from .errors import RequestError, parameter_invalid
from .search_wire import FoundLogs, FoundRuns
from .services import App

LIMIT: Final = 15
LIMIT_MAX: Final = 100
WORDS_MAX: Final = 500
"""How many characters a query may have."""
FIELDS_MAX: Final = 5
LEVELS: Final = get_args(LogStatus)
_PAYLOAD: Final = "payload."


async def runs(app: App, call: Call) -> Answer:
    """Find runs by the words of their error message, by fields of their payload, or by both."""
    query = call.query
    words, fields = _words(query), _fields(query)
    limit, before = _limit(query), _cursor(query)
    if not words and not fields:
        raise _missing("q", "is required, or a field such as payload.order_id")
    # What can't be understood is said first, whatever is switched on.
    if words:
        _demand(app, ERRORS, "errors")
    if fields:
        _demand(app, PAYLOADS, "payloads")
    workflow = await _workflow(app, call)
    wanted = Wanted(
        tenant=call.principal.tenant,
        words=words,
        fields=fields,
        workflow=workflow,
        before=before,
        at_position=call.at,
        hidden_until=await app.hidden_until(call.at),
    )
    found = await search_runs(app.views, wanted, limit)
    rows: list[RunRow] = list(found.rows)
    bodies = await app.bodies([at for row in rows for at in rendering.listed_positions(row)])
    shown = [rendering.listed_run(row, bodies) for row in rows]
    return answer(200, FoundRuns(shown, _next(found.more_before)))


async def logs(app: App, call: Call) -> Answer:
    """Find log entries by the words of their output or error."""
    query = call.query
    words = _words(query)
    if not words:
        raise _missing("q", "is required")
    level = query.get("level")
    if level is not None and level not in LEVELS:
        raise parameter_invalid("level", f"must be one of {', '.join(LEVELS)}")
    limit, before = _limit(query), _cursor(query)
    _demand(app, LOGS, "logs")
    wanted = Wanted(
        tenant=call.principal.tenant,
        words=words,
        workflow=await _workflow(app, call),
        level=level,
        before=before,
        at_position=call.at,
        hidden_until=await app.hidden_until(call.at),
    )
    found = await search_logs(app.views, wanted, limit)
    rows: list[ListedLogRow] = list(found.rows)
    bodies = await app.bodies([row.body_at for row in rows])
    shown = [rendering.listed_log(row, bodies) for row in rows]
    return answer(200, FoundLogs(shown, _next(found.more_before)))


def _demand(app: App, name: str, setting: str) -> None:
    """Refuse a search that this service does not keep.

    Raises:
        RequestError: 409.
    """
    if not app.views.apart.has(name):
        raise RequestError(
            409,
            "search_off",
            f"This search is not switched on; start the service with --search {setting}.",
        )


async def _workflow(app: App, call: Call) -> str | None:
    named = call.query.get("workflow")
    if named is None:
        return None
    # One that is not there has no runs to be found, and nobody learns whether it is another's.
    try:
        found = await app.workflows.find(call.principal.tenant, named, at=call.at)
    except NotFoundError:
        raise parameter_invalid("workflow", "must be the id of a workflow") from None
    return found.workflow_id


def _words(query: Mapping[str, str]) -> str:
    text = query.get("q")
    if text is None:
        return ""
    if len(text) > WORDS_MAX:
        raise parameter_invalid("q", f"may have at most {WORDS_MAX} characters")
    try:
        words = match_of(text)
    except ValueError as error:
        raise parameter_invalid("q", f"has {error}") from None
    if not words:
        raise parameter_invalid("q", "must have a word")
    return words


def _fields(query: Mapping[str, str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in query.items():
        if name.startswith(_PAYLOAD):
            path = name.removeprefix(_PAYLOAD)
            if not path or len(path) > PATH_MAX or len(value) > VALUE_MAX:
                raise parameter_invalid(
                    name,
                    f"must name a field in at most {PATH_MAX} characters, its value in {VALUE_MAX}",
                )
            fields[path] = value
    if len(fields) > FIELDS_MAX:
        raise parameter_invalid(_PAYLOAD, f"may be there at most {FIELDS_MAX} times")
    return fields


def _missing(name: str, message: str) -> RequestError:
    return RequestError(422, "parameter_missing", f"{name} {message}.", errors={name: [message]})


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 8 and 1 <= int(text) <= LIMIT_MAX):
        raise parameter_invalid("limit", f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _cursor(query: Mapping[str, str]) -> int:
    text = query.get("cursor")
    if text is None:
        return LATEST
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and int(text)):
        raise parameter_invalid("cursor", "must be one that an answer gave")
    return int(text)


def _next(before: int) -> str | None:
    return str(before) if before else None
