"""`refold replay`: read a run from the journal's file, check every entry, and fold it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ..http.settings import Settings
from ..http.times import to_wire
from ..journal import ids
from ..journal.sqlite_file import JOURNAL_FILE, open_reader, translated
from ..journal.verified import Verified, read_verified
from ..projections.run_state import RunState, evolve
from .settings_flags import takes_settings

_ERASED = msgspec.Raw(b'{"erased":true}')


class _Line(msgspec.Struct, frozen=True):
    """An event as NDJSON: the entry is the very text that was hashed."""

    position: int
    leaf: str
    entry: msgspec.Raw
    body: msgspec.Raw | None


class _LastLine(msgspec.Struct, frozen=True):
    state: RunState
    entries_verified: int
    bodies_erased: int


@takes_settings(("data",))
def replay(
    settings: Settings,
    run_id: Annotated[str, Parameter(help="The run's id, such as fl_run_01k8….")],
    *,
    as_json: Annotated[
        bool,
        Parameter(name="--json", negative="", help="Print events and state as lines of JSON."),
    ] = False,
) -> int:
    """Show a run's events and what they fold to, read from the journal's file alone.

    Every entry's hash, place and body is checked; one that does not fit ends with exit code 1.
    It only reads, also while the service runs.
    """
    entries = list(_entries(settings.data / JOURNAL_FILE, run_id))
    if not entries:
        from .tables import plain

        shown = plain(run_id)[:100]
        print(f"refold: there is no run {shown} in {settings.data}", file=sys.stderr)
        return 1
    state = RunState(run_id)
    for verified in entries:
        evolve(state, verified.event)
    if as_json:
        _print_json(entries, state)
    else:
        _print_tables(entries, state)
    return 0


def _entries(path: Path, run_id: str) -> Iterator[Verified]:
    with closing(open_reader(path)) as connection, translated(path):
        if ids.is_run(run_id):
            yield from read_verified(connection, run_id)


def _print_json(entries: list[Verified], state: RunState) -> None:
    encoder = msgspec.json.Encoder()
    for verified in entries:
        body = None if verified.body is None else msgspec.Raw(verified.body.data)
        line = _Line(
            verified.event.position,
            verified.event.leaf.hex(),
            msgspec.Raw(verified.entry),
            _ERASED if verified.is_erased else body,
        )
        print(encoder.encode(line).decode())
    print(encoder.encode(_LastLine(state, len(entries), _erased_total(entries))).decode())


def _print_tables(entries: list[Verified], state: RunState) -> None:
    from .tables import console, event_line, event_table, plain_table

    out = console()
    request = state.origin
    lines = [event_line(v.event.version, v.event.at, v.event.facts, v.event.src) for v in entries]
    out.print(event_table(f"Run {state.run_id}", lines, lambda stream: "original"))
    rows = [
        ("status", state.status),
        ("workflow", f"{request.workflow}, version {request.workflow_version}"),
        ("origin", request.origin),
        ("original", request.original_run),
        ("failed node", state.failed_node),
        ("message", _message(entries, state)),
        ("created", to_wire(state.created_at)),
        ("ended", to_wire(state.ended_at) if state.ended_at else "not yet"),
        ("version", str(state.version)),
    ]
    out.print(plain_table("State", ("", ""), [row for row in rows if row[1]]))
    nodes = [
        (n.node, n.component, n.phase, str(n.attempt), n.handle, "yes" if n.in_doubt else "")
        for n in state.nodes.values()
    ]
    names = ("node", "component", "phase", "attempt", "handle", "in doubt")
    out.print(plain_table("Nodes", names, nodes))
    erased = _erased_total(entries)
    gone = f" ({erased} erased)" if erased else ""
    out.print(f"{len(entries)} entries verified: leaf hashes, chain and bodies{gone}.")


def _message(entries: list[Verified], state: RunState) -> str:
    """Return the error message of a run that failed."""
    for verified in entries:
        if state.message_at and verified.event.body_at == state.message_at:
            if verified.body is None:
                return "(erased)"
            return str(msgspec.json.decode(verified.body.data).get("message", ""))
    return ""


def _erased_total(entries: list[Verified]) -> int:
    return sum(verified.is_erased for verified in entries)
