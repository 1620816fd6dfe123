"""The endpoints of the views as such."""

from __future__ import annotations

from typing import Final

from . import projection_routes
from .endpoint import Endpoint
from .projection_wire import Projections

PROJECTION_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/projections",
        handler=projection_routes.projections,
        summary="List the projections and how far they are",
        scope="journal:read",
        answers={200: Projections},
    ),
)
