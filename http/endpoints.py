"""The table of routes: the one place that says which path does what, for whom, with which types.

The router and the OpenAPI document are both made from it.
"""

from __future__ import annotations

from typing import Final

from . import health_routes as health
from . import wire
from .authorization_endpoints import AUTHORIZATION_ENDPOINTS
from .effect_endpoints import EFFECT_ENDPOINTS
from .endpoint import Endpoint
from .erasure_endpoints import ERASURE_ENDPOINTS
from .insight_endpoints import INSIGHT_ENDPOINTS
from .journal_endpoints import JOURNAL_ENDPOINTS
from .metric_endpoints import METRIC_ENDPOINTS, metric_endpoints
from .projection_endpoints import PROJECTION_ENDPOINTS
from .rebuild_endpoints import REBUILD_ENDPOINTS
from .run_endpoints import RUN_ENDPOINTS
from .search_endpoints import SEARCH_ENDPOINTS
from .settings import MetricsAccess
from .subscription_endpoints import SUBSCRIPTION_ENDPOINTS
from .trigger_endpoints import TRIGGER_ENDPOINTS
from .vault_endpoints import VAULT_ENDPOINTS
from .workflow_endpoints import WORKFLOW_ENDPOINTS

ENDPOINTS: Final = (
    *RUN_ENDPOINTS,
    *WORKFLOW_ENDPOINTS,
    *INSIGHT_ENDPOINTS,
    *SEARCH_ENDPOINTS,
    *EFFECT_ENDPOINTS,
    *TRIGGER_ENDPOINTS,
    *VAULT_ENDPOINTS,
    *AUTHORIZATION_ENDPOINTS,
    *SUBSCRIPTION_ENDPOINTS,
    *JOURNAL_ENDPOINTS,
    *PROJECTION_ENDPOINTS,
    *ERASURE_ENDPOINTS,
    *REBUILD_ENDPOINTS,
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
    *METRIC_ENDPOINTS,
)


def served_endpoints(metrics: MetricsAccess) -> tuple[Endpoint, ...]:
    """Return the table as it is configured."""
    others = tuple(endpoint for endpoint in ENDPOINTS if endpoint not in METRIC_ENDPOINTS)
    return (*others, *metric_endpoints(metrics))
