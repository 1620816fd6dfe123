"""The table of routes: the one place that says which path does what, for whom, with which types.

The router and the OpenAPI document are both made from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, get_args

import msgspec

from . import feed_routes as feed
from . import health_routes as health
from . import run_routes as runs
from . import webhook_routes as webhooks
from . import wire
from . import workflow_routes as workflows
from .call import Answer, Call
from .services import App

Handler = Callable[[App, Call], Awaitable[Answer]]
ID_ERRORS: Final = (404,)


class Query(msgspec.Struct, frozen=True):
    """A query parameter, a header, or their documentation."""

    name: str
    description: str
    schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})
    place: str = "query"


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
    parameters: tuple[Query, ...] = ()
    other_media: tuple[str, ...] = ()
    """Media types of the first answer beside JSON."""

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
_NUMBER: Final = {"type": "integer", "minimum": 1}
PAGES: Final = (
    Query("page", "The page, from 1.", _NUMBER | {"maximum": 1_000_000}),
    Query("per_page", "Entries a page.", _NUMBER | {"maximum": 100, "default": 15}),
)
RUN_FILTERS: Final = (
    Query("cursor", "Only runs after the page that gave this `next_cursor`.", _NUMBER),
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
)
READ, WRITE, EXECUTE = "workflows:read", "workflows:write", "workflows:execute"

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/workflows/{workflowId}/execute",
        handler=runs.execute,
        summary="Execute a workflow",
        scope=EXECUTE,
        request=wire.ExecuteRequest,
        parameters=(KEY, PREFER),
        answers={202: wire.Run, 200: wire.Run},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="GET",
        path="/workflows/runs/{runId}",
        handler=runs.get_run,
        summary="Get a run with its logs",
        scope=READ,
        parameters=(
            Query(
                "include",
                "`workflow` embeds the definition that the run is pinned to.",
                {"type": "string", "enum": ["workflow"]},
            ),
        ),
        answers={200: wire.Run},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/runs/{runId}/rerun",
        handler=runs.rerun,
        summary="Run again with the same trigger payload",
        scope=EXECUTE,
        request=wire.RerunRequest,
        parameters=(KEY, PREFER),
        answers={202: wire.NewRun, 200: wire.NewRun},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/runs/{runId}/resume-from/{nodeId}",
        handler=runs.resume,
        summary="Carry on from a node that succeeded",
        scope=EXECUTE,
        request=wire.ResumeRequest,
        parameters=(KEY, PREFER),
        answers={202: wire.NewRun, 200: wire.NewRun | wire.Plan},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/runs/{runId}/cancel",
        handler=runs.cancel,
        summary="Cancel a run",
        scope=EXECUTE,
        answers={202: wire.Run},
        refusals=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/workflows/runs/{runId}/events",
        handler=feed.events,
        summary="Read a run's journal: a page, NDJSON, or a live tail",
        scope="journal:read",
        parameters=(
            Query("after", "Only events after this version.", {"type": "integer", "minimum": 0}),
            Query("limit", "Events a page.", _NUMBER | {"maximum": 1000, "default": 100}),
            Query(
                "Last-Event-ID",
                "Where a live tail goes on.",
                {"type": "integer", "minimum": 0},
                "header",
            ),
        ),
        answers={200: wire.Events, 204: None},
        other_media=("text/event-stream", "application/x-ndjson"),
        refusals=(404, 422),
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/executions",
        handler=workflows.executions,
        summary="List a workflow's runs, newest first",
        scope=READ,
        parameters=PAGES + RUN_FILTERS,
        answers={200: wire.RunPage},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/{workflowId}/executions/resume",
        handler=runs.resume_many,
        summary="Resume many failed runs",
        scope=EXECUTE,
        request=wire.BulkResumeRequest,
        answers={202: wire.BulkResume},
        refusals=(404, 422),
    ),
    Endpoint(
        method="GET",
        path="/workflows",
        handler=workflows.list_workflows,
        summary="List workflows",
        scope=READ,
        parameters=PAGES,
        answers={200: list[wire.Workflow] | wire.WorkflowPage},
        refusals=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows",
        handler=workflows.create,
        summary="Create a workflow",
        scope=WRITE,
        request=wire.WorkflowCreate,
        request_required=True,
        parameters=(KEY,),
        answers={201: wire.Workflow},
        refusals=(409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/validate",
        handler=workflows.validate,
        summary="Check a definition without saving it",
        scope=WRITE,
        request=wire.JsonObject,
        request_required=True,
        answers={200: wire.Validation},
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}",
        handler=workflows.get,
        summary="Get a workflow",
        scope=READ,
        answers={200: wire.Workflow},
        refusals=(404, 409),
    ),
    Endpoint(
        method="PUT",
        path="/workflows/{workflowId}",
        handler=workflows.change,
        summary="Make a new version of a workflow",
        scope=WRITE,
        request=wire.WorkflowChange,
        request_required=True,
        parameters=(IF_MATCH,),
        answers={200: wire.Workflow},
        refusals=(404, 409, 412, 422),
    ),
    Endpoint(
        method="DELETE",
        path="/workflows/{workflowId}",
        handler=workflows.delete,
        summary="Delete a workflow",
        scope=WRITE,
        answers={204: None},
        refusals=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/versions",
        handler=workflows.versions,
        summary="List a workflow's versions",
        scope=READ,
        answers={200: list[wire.WorkflowVersion]},
        refusals=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/versions/{version}",
        handler=workflows.version,
        summary="Get a version of a workflow",
        scope=READ,
        answers={200: wire.WorkflowVersion},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="POST",
        path="/workflows/webhooks/{token}",
        handler=webhooks.receive,
        summary="Start a run by webhook",
        parameters=(KEY,),
        request=Any,
        answers={202: wire.Empty},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="GET",
        path="/healthz",
        handler=health.health,
        summary="Whether the process answers",
        answers={200: wire.Health},
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        handler=health.ready,
        summary="Whether the service can do its work",
        answers={200: wire.Readiness, 503: wire.Readiness},
    ),
)
