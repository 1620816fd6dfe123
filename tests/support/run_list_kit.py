"""Lists and counts of runs for tests: as the service asks for them, and what they must be."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections import run_state
from refold.projections.run_counts import count_rows, count_tallied, is_tallied, range_of
from refold.projections.run_lists import RunFilter, select_runs
from refold.projections.view_rows import RunRow, as_of, run_row


def listed(
    connection: sqlite3.Connection, wanted: RunFilter, limit: int = 1000, offset: int = 0
) -> list[RunRow]:
    """List as the service would."""
    rows = connection.execute(*select_runs(wanted, offset, limit))
    return [as_of(run_row(row), wanted.at_position) for row in rows]


def counted(connection: sqlite3.Connection, wanted: RunFilter, newest: int = 0) -> int:
    """Count as the service would, whose views have reached the newest position."""
    if not is_tallied(wanted, newest):
        return int(connection.execute(*count_rows(wanted)).fetchone()[0])
    first, last = connection.execute(*range_of(wanted)).fetchone()
    return int(connection.execute(*count_tallied(wanted, first, last)).fetchone()[0])


def lived(events: Sequence[Recorded]) -> list[Recorded]:
    """Leave out what no run does: to start or end twice, or to go on after its end."""
    seen: set[tuple[str, str]] = set()
    kept: list[Recorded] = []
    for event in events:
        kind = "end" if isinstance(event.facts, ENDS) else event.facts.type
        if (event.stream, "end") in seen:
            continue
        if kind in ("end", "run.started") and (event.stream, kind) in seen:
            continue
        seen.add((event.stream, kind))
        position = len(kept) + 1
        body_at = position if event.body_at else 0
        kept.append(msgspec.structs.replace(event, position=position, body_at=body_at))
    return kept


def spread(events: Sequence[Recorded], stride: int) -> list[Recorded]:
    """Let other streams have had events in between, so that there are many blocks of positions.

    The hash of every other entry is one at which tallies are made.
    """
    return [
        msgspec.structs.replace(
            event,
            position=event.position * stride,
            body_at=event.body_at * stride,
            leaf=bytes([0] * 31 + [event.position % 2]),
        )
        for event in events
    ]


ENDS = (e.RunCompleted, e.RunFailed, e.RunCancelled)


def expected(events: Sequence[Recorded], wanted: RunFilter) -> list[str]:
    """Say which runs a list must hold, by folding every run to the position of the filter."""
    streams: dict[str, list[Recorded]] = {}
    for event in events:
        if event.position <= wanted.at_position:
            streams.setdefault(event.stream, []).append(event)
    requests = {
        run: own[0].facts
        for run, own in streams.items()
        if isinstance(own[0].facts, e.RunRequested)
    }

    def root_of(run: str) -> str:
        original = requests[run].original_run
        return root_of(original) if original in requests else run

    completed = {
        root_of(run)
        for run in requests
        if any(isinstance(event.facts, e.RunCompleted) for event in streams[run])
    }
    found: list[tuple[int, str]] = []
    for run, facts in requests.items():
        state = run_state.fold(run, streams[run])
        last = next((x for x in streams[run] if isinstance(x.facts, ENDS)), None)
        code = last.facts.code if last and isinstance(last.facts, ENDS[1:]) else ""
        fits = (
            (facts.workflow, state.tenant) == (wanted.workflow, wanted.tenant)
            and wanted.status in (None, state.status)
            and wanted.origin in (None, facts.origin)
            and (wanted.created_from is None or state.created_at >= wanted.created_from)
            and (wanted.created_to is None or state.created_at <= wanted.created_to)
            and wanted.error_code in (None, code)
            and (last is None or last.position > wanted.hidden_until)
        )
        if wanted.original_run is not None:
            fits = fits and facts.original_run == wanted.original_run != ""
        if wanted.is_unresolved:
            fits = fits and state.status == "failed" and root_of(run) not in completed
        if fits:
            found.append((state.requested_position, run))
    return [run for _, run in sorted(found, reverse=True)]
