"""`refold diff`: read two runs from the journal's file, check every entry, and compare them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ..http.comparing import run_diff_of
from ..http.settings import Settings
from ..journal import ids
from ..journal.sqlite_file import JOURNAL_FILE, open_reader, translated
from ..journal.sqlite_reader import Reader
from ..journal.verified import read_verified
from ..projections import workflow_state
from ..projections.run_comparison import Comparison, Subject, comparing
from ..projections.run_diff import Told
from ..projections.run_state import RunState, fold
from .replay_command import tell_unknown
from .settings_flags import takes_settings


@takes_settings(("data",))
def diff(
    settings: Settings,
    left: Annotated[str, Parameter(help="The id of the run that is compared with.")],
    right: Annotated[str, Parameter(help="The id of the run of interest.")],
    *,
    as_json: Annotated[
        bool,
        Parameter(
            name="--json", negative="", help="Print what the service answers, as a line of JSON."
        ),
    ] = False,
) -> int:
    """Show how two runs differ, read from the journal's file alone.

    Trigger payloads, definitions, where the runs first went apart, and of each node what came
    out, how often it was tried and how long it took. Every entry of both runs is checked; one
    that does not fit ends with exit code 1. It only reads, also while the service runs.
    """
    path = settings.data / JOURNAL_FILE
    with closing(open_reader(path)) as connection, translated(path):
        subjects: list[Subject] = []
        for run_id in (left, right):
            subject = _subject(connection, run_id)
            if subject is None:
                return tell_unknown(run_id, settings.data)
            subjects.append(subject)
        found = _compared(Reader(connection), *subjects)
    shown = run_diff_of(found)
    if as_json:
        print(msgspec.json.encode(shown).decode())
    else:
        from .diff_tables import print_diff

        print_diff(shown)
    return 0


def _subject(connection: sqlite3.Connection, run_id: str) -> Subject | None:
    """Read one run and find what it was made of; None if there is no such run."""
    if not ids.is_run(run_id):
        return None
    events = [verified.event for verified in read_verified(connection, run_id)]
    if not events:
        return None
    state = fold(run_id, events)
    return Subject(
        Told(state, events), _payload_at(connection, state), _definition_at(connection, state)
    )


def _payload_at(connection: sqlite3.Connection, state: RunState) -> int:
    owner = state.origin.payload_run
    if not owner:
        return state.requested_body_at
    return next(read_verified(connection, owner)).event.body_at


def _definition_at(connection: sqlite3.Connection, state: RunState) -> int:
    origin = state.origin
    events = (verified.event for verified in read_verified(connection, origin.workflow))
    workflow = workflow_state.fold(origin.workflow, events)
    return workflow.versions[origin.workflow_version - 1].body_at


def _compared(reader: Reader, left: Subject, right: Subject) -> Comparison:
    steps = comparing(left, right)
    try:
        wanted = next(steps)
        while True:
            bodies = reader.bodies(list(wanted))
            wanted = steps.send({position: body.data for position, body in bodies.items()})
    except StopIteration as ended:
        found: Comparison = ended.value
        return found
