"""The law of all read models: live rows, rebuilt rows and rows of one pass have one digest."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.journal.envelope import Recorded
from refold.projections.applying import Applier
from refold.projections.fold_limit import FoldLimit
from refold.projections.generations import (
    SCHEMA,
    create_generation,
    digest_of,
    go_live,
    live_generations,
)
from refold.projections.lanes import Lanes
from refold.projections.projection import Projection
from refold.projections.sqlite_writes import transaction
from refold.projections.views_file import OpenedFile
from tests.support import projection_kit as kit
from tests.support.any_events import any_events, spread
from tests.support.run_lives import lives
from tests.support.view_audit import EVERY


def followed(
    projection: Projection,
    events: Sequence[Recorded],
    cuts: Sequence[int],
    restarts: Sequence[int],
    *,
    safely: bool,
) -> sqlite3.Connection:
    """Apply events as the projector does: in groups, begun anew at some of them, after a kill."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    create_generation(connection, projection, state="live")
    lanes = begun(connection, projection)
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(events)])):
        if number in restarts:
            # A kill before the commit: rows and checkpoint are both as they were.
            connection.execute("BEGIN")
            lanes.apply(live_generations(connection), events[start:end], safely=safely)
            connection.execute("ROLLBACK")
            lanes = begun(connection, projection)
        # What is fed after a start may begin before the checkpoint.
        group = events[max(0, start - 2) : end] if number in restarts else events[start:end]
        with transaction(connection):
            assert lanes.apply(live_generations(connection), group, safely=safely)
        lanes.commit()
    assert lanes.fault == ""
    return connection


def begun(connection: sqlite3.Connection, projection: Projection) -> Lanes:
    """Begin as the start of a service does; the file that it watches is any that stays."""
    lanes = Lanes([projection], FoldLimit(60))
    lanes.open(connection, OpenedFile(Path(__file__)))
    with transaction(connection):
        lanes.apply(live_generations(connection), ())
    lanes.commit()
    return lanes


@pytest.mark.parametrize("projection", EVERY, ids=lambda projection: projection.name)
@given(data=st.data())
def test_live_one_pass_and_rebuilt_rows_have_one_digest(
    projection: Projection, data: st.DataObject
) -> None:
    """A rebuilt view is the live view, whatever groups the events came in, whoever was killed."""
    drawn = st.one_of(any_events(projection.events), kit.histories(), lives())
    events = data.draw(drawn)
    if events and data.draw(st.integers(0, 3)) == 0:
        events = spread(events, data.draw(st.integers(0, len(events))), projection.events)
    places = st.lists(st.integers(0, len(events)), max_size=8).map(sorted)
    restarts = data.draw(st.lists(st.integers(0, 8), max_size=3))
    safely = data.draw(st.booleans())
    live = followed(projection, events, data.draw(places), restarts, safely=safely)
    with closing(live) as connection:
        row = live_generations(connection)[projection.name]
        assert row.position == (events[-1].position if events else 0)
        digest = digest_of(connection, projection, 1)
        new = create_generation(connection, projection, state="growing")
        applier = Applier(connection, projection, new.generation)
        for start, end in pairwise([0, *data.draw(places), len(events)]):
            applier.apply(events[start:end])
        go_live(connection, projection, new)
        assert live_generations(connection)[projection.name].generation == 2
        assert digest_of(connection, projection, 2) == digest
    with kit.generation_of(projection, events) as connection:
        assert digest_of(connection, projection, 1) == digest


@pytest.mark.parametrize("projection", EVERY, ids=lambda projection: projection.name)
def test_what_is_drawn_makes_rows_in_every_table(projection: Projection) -> None:
    """Equal digests of nothing would say nothing."""
    empty = {table.name for table in projection.tables}

    @settings(max_examples=40)
    @given(events=st.one_of(any_events(projection.events), kit.histories()))
    def draw(events: list[Recorded]) -> None:
        if events:
            events = spread(events, len(events) // 2, projection.events)
        with kit.generation_of(projection, events) as connection:
            for name in list(empty):
                if connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone():
                    empty.discard(name)

    draw()
    assert empty == set()
