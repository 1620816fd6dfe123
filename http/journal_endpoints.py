"""The table's part about the whole journal: proofs of it, and evidence."""

from __future__ import annotations

from typing import Any, Final

from . import entry_wire, proof_wire
from . import journal_feed_routes as feed
from . import proof_routes as proofs
from .endpoint import NUMBER, Endpoint, Handler, Query

JOURNAL: Final = "journal:read"
_FLAG: Final[dict[str, Any]] = {"type": "boolean"}
_SIZE: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999}


def _tile(rest: str, handler: Handler, summary: str) -> Endpoint:
    return Endpoint(
        method="GET",
        path=f"/journal/tile/{{level}}/{rest}",
        handler=handler,
        summary=summary,
        scope=JOURNAL,
        answers={200: bytes},
        media="application/octet-stream",
        refusals=(404, 422),
    )


JOURNAL_ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/journal/entries",
        handler=feed.entries,
        summary="Read the whole journal: a page, NDJSON, or a live feed",
        scope=JOURNAL,
        parameters=(
            Query("after", "Only entries after this position.", _SIZE),
            Query("limit", "Entries a page.", NUMBER | {"maximum": 1000, "default": 100}),
            Query("type", "Only events of these types, separated by commas."),
            Query("workflow", "Only this workflow and its runs."),
            Query("tenant", "Only this tenant; another one than one's own needs `admin`."),
            Query("hidden", "Whether what is not one's own shows as its hash.", _FLAG),
            Query("exact", "With the bytes that were hashed.", _FLAG | {"default": False}),
            Query("Last-Event-ID", "Where a live feed goes on.", _SIZE, "header"),
        ),
        answers={200: entry_wire.Entries},
        other_media=("text/event-stream", "application/x-ndjson"),
        refusals=(404, 422, 429),
    ),
    Endpoint(
        method="GET",
        path="/journal/checkpoint",
        handler=proofs.checkpoint,
        summary="Get the newest signed checkpoint of the journal",
        scope=JOURNAL,
        parameters=(Query("covering", "Wait for one that covers this position.", _SIZE),),
        answers={200: str},
        media="text/plain",
        refusals=(422,),
    ),
    _tile("{n}", proofs.tile, "Get a tile of the tree over the journal"),
    _tile(
        "{n}/{more}", proofs.tile_in_two, "Get a partial tile, `{n}.p/{width}`, or one past 1,000"
    ),
    _tile(
        "{n}/{more}/{last}",
        proofs.tile_in_three,
        "Get a partial tile past 1,000, or one past 1,000,000",
    ),
    Endpoint(
        method="GET",
        path="/journal/events/{position}/proof",
        handler=proofs.inclusion,
        summary="Prove that an entry is in the journal",
        scope=JOURNAL,
        parameters=(Query("size", "How many entries the tree has to have.", _SIZE),),
        answers={200: proof_wire.InclusionProof},
        refusals=(404, 422),
    ),
    Endpoint(
        method="GET",
        path="/journal/consistency",
        handler=proofs.consistency,
        summary="Prove that nothing was changed between two sizes",
        scope=JOURNAL,
        parameters=(
            Query("from", "The earlier size, such as that of a checkpoint.", _SIZE, required=True),
            Query("to", "The later size; that of the newest checkpoint if not given.", _SIZE),
        ),
        answers={200: proof_wire.ConsistencyProof},
        refusals=(422,),
    ),
    Endpoint(
        method="GET",
        path="/workflows/runs/{runId}/bundle",
        handler=proofs.bundle,
        summary="Get the evidence of a run, to be checked without this service",
        scope=JOURNAL,
        parameters=(
            Query("kept", "The size of a checkpoint that the proof leads to as well.", _SIZE),
        ),
        answers={200: bytes},
        media="application/zip",
        refusals=(404, 409, 422),
    ),
)
