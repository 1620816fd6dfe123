"""The endpoints of what one reads about runs."""

from __future__ import annotations

from typing import Final

from . import comparison_routes as comparison
from . import comparison_wire, insight_wire, wire
from . import insight_routes as insight
from .endpoint import NUMBER, READ, Endpoint, Query

_LIMIT: Final = Query("limit", "Entries at most.", NUMBER | {"maximum": 1000, "default": 100})
_TIME: Final = {"type": "string", "format": "date-time"}

INSIGHT_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/logs",
        handler=insight.logs,
        summary="List a workflow's log entries, newest first",
        scope=READ,
        repeatable=True,
        parameters=(
            Query(
                "level",
                "Only entries with this status.",
                {"type": "string", "enum": list(insight.LEVELS)},
            ),
            Query("node", "Only entries of this node."),
            Query("run", "Only entries of this run."),
            Query("from", "Only entries created then or later.", _TIME),
            Query("to", "Only entries created then or earlier.", _TIME),
            _LIMIT,
            Query("cursor", "Only entries after the list whose `Link` header gave this one."),
        ),
        answers={200: list[wire.Log]},
        refusals=(404, 422),
    ),
    Endpoint(
        method="GET",
        path="/workflows/logs/recent",
        handler=insight.recent_logs,
        summary="List the newest log entry of each workflow",
        scope=READ,
        repeatable=True,
        parameters=(_LIMIT,),
        answers={200: list[insight_wire.RecentLog]},
        refusals=(422,),
    ),
    Endpoint(
        method="GET",
        path="/workflows/{workflowId}/logs/stats",
        handler=insight.log_stats,
        summary="Count what a workflow did in the last 30 days",
        scope=READ,
        repeatable=True,
        answers={200: insight_wire.LogStats},
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/workflows/runs/{runId}/lineage",
        handler=insight.lineage,
        summary="Get the tree of reruns and resumes that a run belongs to",
        scope=READ,
        repeatable=True,
        answers={200: insight_wire.Lineage},
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/workflows/runs/{runId}/diff/{otherRunId}",
        handler=comparison.diff,
        summary="Compare two runs",
        scope=READ,
        repeatable=True,
        answers={200: comparison_wire.RunDiff},
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/workflows/runs/{runId}/blame",
        handler=comparison.blame,
        summary="Compare a run with the last success before it",
        scope=READ,
        repeatable=True,
        answers={200: comparison_wire.Blame},
        refusals=(404,),
    ),
)
