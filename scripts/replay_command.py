"""`refold replay`: read a run from the journal's file, check every entry, and fold it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from ..http.setting_types import SettingsError
from ..http.settings import Settings
from ..http.times import to_wire
from ..journal import ids
from ..journal.sqlite_file import JOURNAL_FILE, open_reader, translated
from ..journal.verified import Verified, read_verified
from ..projections.run_state import RunState, fold
from ..projections.stepping import shown_state, steps
from .settings_flags import takes_settings

_ERASED = msgspec.Raw(b'{"erased":true}')


class _Line(msgspec.Struct, frozen=True):
    """An event as NDJSON: the entry is the very text that was hashed."""

    position: int
    leaf: str
    entry: msgspec.Raw
    body: msgspec.Raw | None


class _LastLine(msgspec.Struct, frozen=True):
    state: dict[str, Any]
    entries_verified: int
    bodies_erased: int


class _StepLine(msgspec.Struct, frozen=True):
    """An event between what it changed, by JSON Pointer, as it was and as it is then."""

    position: int
    leaf: str
    before: dict[str, Any]
    event: msgspec.Raw
    body: msgspec.Raw | None
    after: dict[str, Any]


@takes_settings(("data",))
def replay(
    settings: Settings,
    run_id: Annotated[str, Parameter(help="The run's id, such as fl_run_01k8….")],
    *,
    step: Annotated[
        bool,
        Parameter(
            negative="",
            help="Walk from event to event: what of the state each changed. "
            "On a terminal, Enter goes on, c goes on without asking, and q ends.",
        ),
    ] = False,
    from_: Annotated[
        int, Parameter(name="--from", help="The first version to show.", show_default=False)
    ] = 1,
    to: Annotated[
        int | None,
        Parameter(help="The last version: the state is the one after it; the newest if not given."),
    ] = None,
    as_json: Annotated[
        bool,
        Parameter(name="--json", negative="", help="Print events and state as lines of JSON."),
    ] = False,
) -> int:
    """Show a run's events and what they fold to, read from the journal's file alone.

    Every entry's hash, place and body is checked; one that does not fit ends with exit code 1.
    It only reads, also while the service runs.
    """
    entries = list(read_run(settings.data / JOURNAL_FILE, run_id))
    if not entries:
        return tell_unknown(run_id, settings.data)
    told = entries[: _last(from_, to, len(entries))]
    if step:
        return _print_steps(told, from_, len(entries), as_json=as_json)
    state = fold(run_id, (verified.event for verified in told))
    if as_json:
        _print_json(told, from_, state)
    else:
        _print_tables(told, from_, state)
    return 0


def read_run(path: Path, run_id: str) -> Iterator[Verified]:
    """Read a run's entries and check them; none if there is no such run.

    Raises:
        StoreError: there is no journal at this path, or an entry is not what was written.
    """
    with closing(open_reader(path)) as connection, translated(path):
        if ids.is_run(run_id):
            yield from read_verified(connection, run_id)


def tell_unknown(run_id: str, data: Path) -> int:
    """Say that there is no such run; returns the exit code."""
    from .tables import plain

    print(f"refold: there is no run {plain(run_id)[:100]} in {data}", file=sys.stderr)
    return 1


def _last(first: int, last: int | None, count: int) -> int:
    """Return the last version to show.

    Raises:
        SettingsError: what is asked for is empty.
    """
    if first < 1:
        raise SettingsError("replay", f"--from: versions begin at 1, not at {first}.")
    if last is not None and last < first:
        raise SettingsError("replay", f"--to: {last} is before {first}, the first one to show.")
    if first > count:
        raise SettingsError("replay", f"--from {first}: the run has only {count} events.")
    return count if last is None else min(last, count)


def _body_of(verified: Verified) -> msgspec.Raw | None:
    if verified.segment:
        shown = {"archived": True, "segment": verified.segment}
        return msgspec.Raw(msgspec.json.encode(shown))
    if verified.is_erased:
        return _ERASED
    return None if verified.body is None else msgspec.Raw(verified.body.data)


def _print_steps(entries: Sequence[Verified], first: int, total: int, *, as_json: bool) -> int:
    run_id = entries[0].event.stream
    walked = zip(entries, steps(run_id, (v.event for v in entries)), strict=True)
    shown = ((verified, step) for verified, step in walked if verified.event.version >= first)
    if not as_json:
        from .step_view import walk

        return walk(shown, entries[-1].event.version, total)
    encode = msgspec.json.Encoder().encode
    for verified, step in shown:
        line = _StepLine(
            verified.event.position,
            verified.event.leaf.hex(),
            step.before,
            msgspec.Raw(verified.entry),
            _body_of(verified),
            step.after,
        )
        print(encode(line).decode())
    return 0


def _print_json(entries: Sequence[Verified], first: int, state: RunState) -> None:
    encode = msgspec.json.Encoder().encode
    for verified in entries[first - 1 :]:
        event = verified.event
        entry = msgspec.Raw(verified.entry)
        print(encode(_Line(event.position, event.leaf.hex(), entry, _body_of(verified))).decode())
    last = _LastLine(shown_state(state), len(entries), _erased_total(entries))
    print(encode(last).decode())


def _print_tables(entries: Sequence[Verified], first: int, state: RunState) -> None:
    from .tables import console, event_line, event_table, plain_table

    out = console()
    request = state.origin
    events = [verified.event for verified in entries[first - 1 :]]
    lines = [event_line(event.version, event.at, event.facts, event.src) for event in events]
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
        (
            f"{n.node} [{n.iteration}]" if n.iteration else n.node,
            n.component,
            n.phase,
            str(n.attempt),
            n.handle,
            "yes" if n.in_doubt else "",
        )
        for n in (*state.nodes.values(), *state.inner.values())
    ]
    names = ("node", "component", "phase", "attempt", "handle", "in doubt")
    out.print(plain_table("Nodes", names, nodes))
    erased = _erased_total(entries)
    away = sum(verified.segment != "" for verified in entries)
    gone = ", ".join(f"{n} {how}" for n, how in ((erased, "erased"), (away, "archived")) if n)
    gone = f" ({gone})" if gone else ""
    out.print(f"{len(entries)} entries verified: leaf hashes, chain and bodies{gone}.")


def _message(entries: Sequence[Verified], state: RunState) -> str:
    """Return the error message of a run that failed."""
    for verified in entries:
        if state.message_at and verified.event.body_at == state.message_at:
            if verified.body is None:
                return f"(archived in {verified.segment})" if verified.segment else "(erased)"
            return str(msgspec.json.decode(verified.body.data).get("message", ""))
    return ""


def _erased_total(entries: Sequence[Verified]) -> int:
    return sum(verified.is_erased for verified in entries)
