"""The endpoints of runs."""

from __future__ import annotations

from typing import Final

from . import execution_routes as executions
from . import feed_routes as feed
from . import interaction_routes as interactions
from . import run_routes as runs
from . import wire
from .endpoint import EXECUTE, KEY, NUMBER, PREFER, READ, Endpoint, Query

RUN_ENDPOINTS: Final = (
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
        repeatable=True,
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
        path="/workflows/runs/{runId}/interactions",
        handler=interactions.list_open,
        summary="List the forms that a run has open",
        scope=READ,
        repeatable=True,
        answers={200: interactions.Interactions},
        refusals=(404,),
    ),
    Endpoint(
        method="POST",
        path="/workflows/runs/{runId}/interactions/{nodeId}",
        handler=interactions.submit,
        summary="Answer a form",
        scope=EXECUTE,
        request=interactions.AnswerBody,
        request_required=True,
        answers={202: wire.Run},
        refusals=(404, 409, 422),
    ),
    Endpoint(
        method="GET",
        path="/workflows/runs/{runId}/events",
        handler=feed.events,
        summary="Read a run's journal: a page, NDJSON, or a live tail",
        scope="journal:read",
        parameters=(
            Query("after", "Only events after this version.", {"type": "integer", "minimum": 0}),
            Query("limit", "Events a page.", NUMBER | {"maximum": 1000, "default": 100}),
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
        method="POST",
        path="/workflows/{workflowId}/executions/resume",
        handler=executions.resume_many,
        summary="Resume many failed runs",
        scope=EXECUTE,
        request=wire.BulkResumeRequest,
        answers={202: wire.BulkResume},
        refusals=(404, 422),
    ),
)
