"""The endpoint of the metrics, as it is configured."""

from __future__ import annotations

from typing import Final

import msgspec

from . import metric_routes
from .endpoint import Endpoint
from .settings import MetricsAccess

METRIC_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metric_routes.metrics,
        summary="Watch the service (Prometheus, OpenMetrics)",
        scope="journal:read",
        answers={200: str},
        media="text/plain",
        other_media=("application/openmetrics-text",),
    ),
)


def metric_endpoints(access: MetricsAccess) -> tuple[Endpoint, ...]:
    """Return the endpoint with a token, without one, or not at all."""
    if access == "off":
        return ()
    if access == "open":
        return tuple(msgspec.structs.replace(made, scope="") for made in METRIC_ENDPOINTS)
    return METRIC_ENDPOINTS
