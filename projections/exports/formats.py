"""The formats of exports, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from . import cloud_events, ndjson, ocel_json, ocel_sqlite, parquet, traces, xes
from .plan import Bodies, Plan, Report
from .source import Source
from .target import Chunk


class Streamed(msgspec.Struct, frozen=True):
    """A format that is written from its beginning to its end, and so can be taken up again."""

    head: Callable[[Plan], bytes]
    chunks: Callable[[Source, int | str | None], Iterator[Chunk]]
    tail: Callable[[Plan], bytes]
    total: Callable[[Source], int]
    bodies: Bodies = "open"


class Built(msgspec.Struct, frozen=True):
    """A format whose file is made as a whole, and begun anew after an interruption."""

    write: Callable[[Source, Path, Report | None], int]
    check: Callable[[], None] | None = None
    """Sees that what the format needs is installed."""
    bodies: Bodies = "open"


Format = Streamed | Built
_BY_POSITION: Final = Source.entries_total
_BY_RUN: Final = Source.run_events_total

FORMATS: Final[dict[str, Format]] = {
    "ndjson": Streamed(ndjson.head, ndjson.chunks, ndjson.tail, _BY_POSITION, "all"),
    "cloudevents": Streamed(
        cloud_events.head, cloud_events.chunks, cloud_events.tail, _BY_POSITION
    ),
    "ocel-json": Built(ocel_json.write),
    "ocel-sqlite": Built(ocel_sqlite.write),
    "xes": Streamed(xes.head, xes.chunks, xes.tail, _BY_RUN),
    "otlp": Streamed(traces.head, traces.chunks, traces.tail, _BY_RUN),
    "parquet": Built(parquet.write, parquet.check),
}
