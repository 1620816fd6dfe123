"""The endpoint of erasures."""

from __future__ import annotations

from typing import Final

from . import erasure_routes as erasures
from . import erasure_wire as wire
from .endpoint import Endpoint

ERASURE_ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/journal/erasures",
        handler=erasures.erase,
        summary="Erase the data of a run, a workflow or a person",
        scope="admin",
        request=wire.ErasureRequest,
        request_required=True,
        answers={200: wire.Erasure},
        refusals=(404, 409, 422),
    ),
)
