"""The endpoint of the effect ledger."""

from __future__ import annotations

from typing import Final

from . import effect_routes
from .effect_wire import Effects
from .endpoint import NUMBER, READ, Endpoint, Query

EFFECT_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/workflows/effects",
        handler=effect_routes.effects,
        summary="List calls whose outcome is not known: on the wire, or in doubt",
        scope=READ,
        parameters=(
            Query(
                "in_doubt",
                "`true` for those that nobody waits for any more, `false` for the others.",
                {"type": "boolean"},
            ),
            Query("workflow_id", "Only calls of this workflow's runs."),
            Query("limit", "Entries at most.", NUMBER | {"maximum": 1000, "default": 100}),
            Query("cursor", "Only entries after the page whose `next` gave this one.", NUMBER),
        ),
        answers={200: Effects},
        refusals=(422,),
    ),
)
