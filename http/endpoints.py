"""The table of routes: the one place that says which path does what, for whom, with which types.

The router and the OpenAPI document are both made from it.
"""

from __future__ import annotations

from typing import Any, Final

from . import health_routes as health
from . import webhook_routes as webhooks
from . import wire
from .endpoint import KEY, Endpoint
from .run_endpoints import RUN_ENDPOINTS
from .workflow_endpoints import WORKFLOW_ENDPOINTS

ENDPOINTS: Final = (
    *RUN_ENDPOINTS,
    *WORKFLOW_ENDPOINTS,
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
