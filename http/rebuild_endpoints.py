"""The endpoints that tell a projection to do something."""

from __future__ import annotations

from typing import Final

from . import rebuild_routes as rebuilding
from . import rebuild_wire as wire
from .endpoint import Endpoint

REBUILD_ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/projections/{projection}/rebuild",
        handler=rebuilding.rebuild,
        summary="Make a projection's rows anew beside the live ones",
        scope="admin",
        answers={202: wire.ProjectionTold},
        refusals=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/projections/{projection}/rollback",
        handler=rebuilding.roll_back,
        summary="Go back to the rows before a projection's last rebuild",
        scope="admin",
        answers={202: wire.ProjectionTold},
        refusals=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/projections/{projection}/retry",
        handler=rebuilding.retry,
        summary="Let a projection that stopped try again",
        scope="admin",
        answers={202: wire.ProjectionTold},
        refusals=(404, 409),
    ),
)
