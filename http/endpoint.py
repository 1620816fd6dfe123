"""What an endpoint is: one operation as the router and the OpenAPI document know it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

import msgspec

from . import wire
from .call import Answer, Call
from .services import App

Handler = Callable[[App, Call], Awaitable[Answer]]


class Query(msgspec.Struct, frozen=True):
    """A query parameter, a header, or their documentation."""

    name: str
    description: str
    schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})
    place: str = "query"
    required: bool = False


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One operation."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, Any]
    """Status to the type of its body, None for no body."""
    refusals: tuple[int, ...] = ()
    """Statuses of errors beside those that any route can answer."""
    scope: str = ""
    """The scope that a token needs, "" for a route without tokens."""
    request: Any = None
    request_required: bool = False
    other_requests: tuple[tuple[str, Any], ...] = ()
    """Media types of the body beside JSON, and the types of what they hold."""
    api_key: bool = False
    """An API key is as good as a token here."""
    parameters: tuple[Query, ...] = ()
    media: str = "application/json"
    """Media type of the first answer."""
    other_media: tuple[str, ...] = ()
    """Further media types of the first answer."""
    repeatable: bool = False
    """The answer is that of one position, which it names, and any earlier one can be asked for."""

    @property
    def operation_id(self) -> str:
        """A name for generated clients."""
        return f"{self.handler.__module__.rsplit('.', 1)[-1]}.{self.handler.__name__}"


KEY: Final = Query(
    "Idempotency-Key",
    "A repeat with the same key within 24 hours returns the first answer again.",
    {"type": "string", "format": "uuid"},
    "header",
)
PREFER: Final = Query(
    "Prefer",
    "`wait=N` answers 200 with the run once it has ended, within N <= 30 s.",
    place="header",
)
IF_MATCH: Final = Query("If-Match", 'Change only this version, such as `"3"`.', place="header")
NUMBER: Final = {"type": "integer", "minimum": 1}
AS_OF: Final = Query(
    "as_of",
    "The answer as it was: at `p<position>`, at a time (RFC 3339), or of one run at `v<version>`.",
)
PAGES: Final = (
    Query("page", "The page, from 1.", NUMBER | {"maximum": 1_000_000}),
    Query("per_page", "Entries a page.", NUMBER | {"maximum": 100, "default": 15}),
)
RUN_FILTERS: Final = (
    Query("cursor", "Only runs after the page that gave this `next_cursor`.", NUMBER),
    Query(
        "status",
        "Only runs with this status.",
        {"type": "string", "enum": list(get_args(wire.RunStatus))},
    ),
    Query("from", "Only runs created then or later.", {"type": "string", "format": "date-time"}),
    Query("to", "Only runs created then or earlier.", {"type": "string", "format": "date-time"}),
    Query(
        "origin",
        "Only runs made this way.",
        {"type": "string", "enum": list(get_args(wire.Origin))},
    ),
    Query("original_run_id", "Only reruns and resumes of this run."),
    Query(
        "error_code",
        "Only runs that failed with this code.",
        {"type": "string", "pattern": wire.ERROR_CODE},
    ),
    Query(
        "unresolved",
        "`true`: only runs that failed, and of whose reruns and resumes none has completed.",
        {"type": "boolean"},
    ),
)
READ, WRITE, EXECUTE = "workflows:read", "workflows:write", "workflows:execute"
