"""The endpoints of the searches."""

from __future__ import annotations

from typing import Final

from . import search_routes as search
from . import search_wire
from .endpoint import NUMBER, READ, Endpoint, Query

_LIMIT: Final = Query(
    "limit", "Entries at most.", NUMBER | {"maximum": search.LIMIT_MAX, "default": search.LIMIT}
)
_CURSOR: Final = Query("cursor", "Go on where the answer with this `next_cursor` ended.", NUMBER)
_WORKFLOW: Final = Query("workflow", "Only in this workflow.")
_SYNTAX: Final = 'all of them must be there; `"…"` keeps words together, `word*` stands for a start'

SEARCH_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/workflows/runs/search",
        handler=search.runs,
        summary="Find runs by error message and payload",
        scope=READ,
        repeatable=True,
        parameters=(
            Query("q", f"Words of the error message: {_SYNTAX}."),
            Query(
                "payload.PATH",
                "Only runs whose trigger payload has this value there, such as "
                "`payload.customer.id=42`.",
            ),
            _WORKFLOW,
            _LIMIT,
            _CURSOR,
        ),
        answers={200: search_wire.FoundRuns},
        refusals=(409, 422),
    ),
    Endpoint(
        method="GET",
        path="/workflows/logs/search",
        handler=search.logs,
        summary="Find log entries by their output or error",
        scope=READ,
        repeatable=True,
        parameters=(
            Query("q", f"Words of the output: {_SYNTAX}.", required=True),
            _WORKFLOW,
            Query(
                "level",
                "Only entries with this status.",
                {"type": "string", "enum": list(search.LEVELS)},
            ),
            _LIMIT,
            _CURSOR,
        ),
        answers={200: search_wire.FoundLogs},
        refusals=(409, 422),
    ),
)
