"""The laws of the lists of runs: what is found, what is counted, and what a cursor walks past."""

from __future__ import annotations

from itertools import product
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from refold.journal.envelope import Recorded
from refold.journal.journal import LATEST
from refold.projections.run_lists import RunFilter
from refold.projections.run_state import Status
from refold.projections.runs_projection import RunsProjection
from refold.projections.tallies import SHIFTS
from tests.support import projection_kit as kit
from tests.support.run_list_kit import counted, expected, listed, lived, spread
from tests.support.run_lives import lives

STRIDES = st.sampled_from([1, 2, 401, 2048, 30_011, 131_072, 2_000_003])
"""Positions from one event to the next, so that the blocks of each size come up."""
HISTORIES = st.one_of(kit.histories(), lives()).map(lived)


def rarely(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    """Mostly nothing, so that a filter leaves something to compare."""
    return st.integers(0, 3).flatmap(lambda n: st.none() if n else values)


TIMES = rarely(st.integers(kit.START_US - 2, kit.START_US + 40))
FILTERS = st.builds(
    RunFilter,
    tenant=st.just("acme"),
    workflow=st.sampled_from(kit.WORKFLOWS),
    status=st.none() | st.sampled_from(get_args(Status)),
    created_from=TIMES,
    created_to=TIMES,
    origin=st.sampled_from([None, None, None, "execute", "rerun"]),
    original_run=st.sampled_from([None, None, None, None, f"fl_run_{0:026}"]),
    error_code=st.sampled_from([None, None, None, "http_error", "cancelled", "x"]),
    is_unresolved=st.sampled_from([False, False, True]),
)


@settings(max_examples=settings().max_examples // 4)
@given(HISTORIES, STRIDES, FILTERS, st.data())
def test_a_list_and_its_count_are_what_the_folds_of_the_runs_say(
    events: list[Recorded], stride: int, drawn: RunFilter, data: st.DataObject
) -> None:
    """By every combination of filters, as of any position, with and without a retention.

    Each history is asked many questions, since few have just the run that a mistake needs.
    """
    spaced = spread(events, stride)
    newest = spaced[-1].position
    positions = data.draw(st.lists(st.integers(1, newest), min_size=2, max_size=2), "positions")
    hidden = data.draw(st.integers(1, newest), "hidden")
    plain = RunFilter(tenant="acme", workflow=drawn.workflow)
    asked = [drawn, *(structs.replace(plain, status=status) for status in get_args(Status))]
    asked += [plain, structs.replace(plain, error_code="http_error", origin=drawn.origin)]
    asked += [structs.replace(plain, is_unresolved=True, created_from=drawn.created_from)]
    with kit.generation_of(RunsProjection(), spaced) as connection:
        for one, at in product(asked, [LATEST, newest, *positions]):
            for until in {0, min(at, hidden)}:
                wanted = structs.replace(one, at_position=at, hidden_until=until)
                must = expected(spaced, wanted)
                rows = listed(connection, wanted)
                assert [row.run_id for row in rows] == must
                # The past is counted in rows or in tallies, whichever is less work.
                assert counted(connection, wanted, newest) == len(must)
                assert counted(connection, wanted) == len(must)


@given(HISTORIES, STRIDES)
def test_tallies_are_what_one_counts(events: list[Recorded], stride: int) -> None:
    """Of every block that the journal has gone past, of each size, in whatever order runs end."""
    with kit.generation_of(RunsProjection(), spread(events, stride)) as connection:
        for shift in SHIFTS:
            for tally, recount in (
                (
                    "SELECT workflow, tenant, state, block, origin, error_code, total "
                    "FROM run_tally WHERE shift = ?1 AND total != 0",
                    "SELECT workflow, tenant, '', requested_position >> ?1 AS block, origin, '', "
                    "count(*) FROM run, tallied WHERE requested_position < until "
                    "GROUP BY workflow, tenant, block, origin UNION ALL "
                    "SELECT workflow, tenant, CASE WHEN status = 'failed' AND recovered_position "
                    "THEN 'recovered' ELSE status END AS state, requested_position >> ?1 AS block, "
                    "origin, error_code, count(*) FROM run, tallied "
                    "WHERE requested_position < until AND ended_position "
                    "GROUP BY workflow, tenant, state, block, origin, error_code",
                ),
                (
                    "SELECT workflow, status, block, total FROM log_tally WHERE shift = ?1",
                    "SELECT workflow, status, position >> ?1 AS block, count(*) FROM log, tallied "
                    "WHERE position < until AND source_id = '' GROUP BY workflow, status, block",
                ),
            ):
                found = [sorted(connection.execute(sql, (shift,))) for sql in (tally, recount)]
                assert found[0] == found[1]


@given(HISTORIES, FILTERS, st.integers(1, 4), st.data())
def test_a_walk_by_cursor_sees_each_run_once_while_others_come_in(
    events: list[Recorded], wanted: RunFilter, size: int, data: st.DataObject
) -> None:
    """Whatever fitted at the start and still does is seen, in order, and nothing twice.

    A run that ended on the way may have left the list of its old status, or come into another.
    """
    length = data.draw(st.integers(1, len(events)), "length")
    start = expected(events[:length], structs.replace(wanted, at_position=length))
    seen: list[str] = []
    before: int | None = None
    while True:
        with kit.generation_of(RunsProjection(), events[:length]) as connection:
            now = structs.replace(wanted, before=before, at_position=length)
            page = listed(connection, now, size)
        seen += [row.run_id for row in page]
        if len(page) < size:
            break
        before = page[-1].requested_position
        length = data.draw(st.integers(length, len(events)), "length")
    end = expected(events[:length], structs.replace(wanted, at_position=length))
    assert len(seen) == len(set(seen))
    known = [run for run in seen if run in start]
    assert known == [run for run in start if run in known]
    assert {run for run in start if run in end} <= set(seen)
    # As of the position at which it began, a walk sees just what there was.
