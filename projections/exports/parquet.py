"""Parquet: a row an event, for analysts. Needs the extra `parquet` (pyarrow), imported when used.

Everything stands in columns but the facts of rarer events, which are in `facts` as JSON.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from ..errors import ExportRefusedError
from .plan import Plan, Report
from .source import Entry, Source

EXTRA: Final = "parquet"
_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 8 * 2**20
"""Of bodies and facts: a group of rows is in memory as a whole."""

_TEXTS: Final = (
    "type",
    "stream",
    "id",
    "tenant",
    "actor",
    "correlation",
    "cause",
    "replayed_from",
    "payload",
    "leaf",
    "workflow",
    "node",
    "component",
    "iteration",
    "code",
    "facts",
    "body_state",
)
_NUMBERS: Final = ("position", "version", "schema", "body_at", "attempt")
_TIMES: Final = ("at", "started_at", "ended_at")


class _Few(msgspec.Struct, frozen=True, gc=False):
    """The facts that have columns of their own; 0 and "" stand for those an event has not."""

    attempt: int = 0
    code: str = ""
    component: str = ""
    ended_at: int = 0
    iteration: str = ""
    node: str = ""
    started_at: int = 0
    workflow: str = ""


_decode_few: Final = msgspec.json.Decoder(_Few).decode


def check() -> None:
    """See that the extra is installed.

    Raises:
        ExportRefusedError: it is not.
    """
    try:
        import_module("pyarrow.parquet")
    except ImportError as error:
        raise ExportRefusedError(
            f"Parquet needs pyarrow: install the extra, pip install 'refold[{EXTRA}]'"
        ) from error


def write(source: Source, part: Path, report: Report | None) -> int:
    """Write the selected events into an empty file, and return how many there were."""
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    schema = _schema(arrow, source.plan)
    total, events, size = source.entries_total(), 0, 0
    names: list[str] = schema.names
    rows = _no_rows(names)
    with (
        part.open("wb") as out,
        parquet.ParquetWriter(out, schema, compression="zstd", use_dictionary=True) as writer,
    ):
        for entry in source.entries():
            for name, value in _row(entry).items():
                rows[name].append(value)
            events += 1
            size += len(entry.text) + len(entry.body or b"")
            if len(rows["position"]) >= _GROUP_ROWS or size >= _GROUP_BYTES:
                writer.write_table(arrow.table(rows, schema=schema))
                rows, size = _no_rows(names), 0
            if report is not None:
                report(events, total)
        writer.write_table(arrow.table(rows, schema=schema))
    return events


def _no_rows(names: list[str]) -> dict[str, list[Any]]:
    return {name: [] for name in names}


def _schema(arrow: Any, plan: Plan) -> Any:
    columns: list[tuple[str, Any]] = [(name, arrow.int64()) for name in _NUMBERS]
    columns += [(name, arrow.timestamp("us", tz="UTC")) for name in _TIMES]
    columns += [(name, arrow.string()) for name in _TEXTS]
    columns.append(("body", arrow.binary()))
    about = {"refold.journal": plan.journal, "refold.up_to": str(plan.up_to)}
    return arrow.schema(columns, metadata=about)


def _row(entry: Entry) -> dict[str, Any]:
    head, few = entry.head, _decode_few(entry.head.facts)
    return {
        "position": entry.position,
        "version": head.version,
        "schema": head.schema,
        "body_at": entry.body_at or None,
        "attempt": few.attempt or None,
        "at": head.at,
        "started_at": few.started_at or None,
        "ended_at": few.ended_at or None,
        "type": head.type,
        "stream": head.stream,
        "id": head.id,
        "tenant": head.tenant or None,
        "actor": head.actor or None,
        "correlation": head.corr or None,
        "cause": head.cause or None,
        "replayed_from": head.src or None,
        "payload": head.payload or None,
        "leaf": entry.leaf.hex(),
        "workflow": few.workflow or None,
        "node": few.node or None,
        "component": few.component or None,
        "iteration": few.iteration or None,
        "code": few.code or None,
        "facts": bytes(head.facts).decode(),
        "body_state": entry.body_state,
        "body": entry.body,
    }
