"""Trees of runs that are larger or deeper than what is shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

from refold.journal import events as e
from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.projections.lineage_views import SHOWN_MAX, Lineage, lineage, succeeded_original
from tests.support.journal_kit import META, NEW_IDS
from tests.support.projection_kit import COMPLETED, STARTED, request
from tests.support.views_kit import WORKFLOW, add_workflow, served

TOTAL = SHOWN_MAX + 5


def run_id(number: int) -> str:
    """Name a run of a tree."""
    return f"fl_run_{number:026}"


def tree_of(directory: Path, originals: list[int | None], asked: int) -> Lineage:
    """Make a tree, of which the last run completed, and read it from one of its runs."""

    async def main() -> Lineage:
        async with served(directory) as (journal, views):
            await add_workflow(journal)
            writes: list[StreamWrite] = []
            for number, original in enumerate(originals):
                root = "" if original is None else run_id(original)
                facts: list[e.Facts] = [request(WORKFLOW, "rerun" if root else "execute", root)]
                if number == len(originals) - 1:
                    facts += [STARTED, COMPLETED]
                events = [NewEvent(NEW_IDS.new(), one, b"{}") for one in facts]
                writes.append(StreamWrite(run_id(number), 0, events, META))
            for start in range(0, len(writes), 200):
                await journal.append(Commit(writes[start : start + 200]))
            await views.wait_for(journal.head)
            found = await lineage(views, run_id(asked))
            assert found is not None
            assert await lineage(views, "fl_run_none") is None
            return found

    return asyncio.run(main())


def test_a_line_of_a_thousand_resumes_is_shown_from_its_end(tmp_path: Path) -> None:
    """The run's own originals come first; the oldest that is shown is not the root."""
    line = [None, *range(TOTAL - 1)]
    found = tree_of(tmp_path, line, TOTAL - 1)
    assert len(found.runs) == SHOWN_MAX
    assert found.runs[0].run_id == run_id(TOTAL - SHOWN_MAX)
    assert found.runs[-1].run_id == found.succeeded_run == run_id(TOTAL - 1)
    assert found.is_truncated


def test_a_thousand_reruns_of_one_run_are_cut_and_a_success_among_them_is_found(
    tmp_path: Path,
) -> None:
    """What is asked for is always among what is shown, and so is the root."""
    star = [None, *[0] * (TOTAL - 1)]
    found = tree_of(tmp_path, star, TOTAL - 1)
    shown = [row.run_id for row in found.runs]
    assert (len(shown), shown[0], shown[-1]) == (SHOWN_MAX, run_id(0), run_id(TOTAL - 1))
    assert found.succeeded_run == run_id(TOTAL - 1)
    assert found.is_truncated


def test_a_tree_that_just_fits_is_whole(tmp_path: Path) -> None:
    """Each run once, after the one that it was made of."""
    pairs = [None, *[(number - 1) // 2 for number in range(1, SHOWN_MAX)]]
    found = tree_of(tmp_path, pairs, 7)
    assert [row.run_id for row in found.runs] == [run_id(number) for number in range(SHOWN_MAX)]
    assert not found.is_truncated


def test_the_nearest_original_that_had_completed_by_then_is_found(tmp_path: Path) -> None:
    """Not the run itself, nothing that completed later, and nothing beside its own line."""

    async def main() -> list[str | None]:
        async with served(tmp_path) as (journal, views):
            await add_workflow(journal)
            ends: list[int] = []
            for number, original in enumerate([None, 0, 1, 0]):
                root = "" if original is None else run_id(original)
                facts: list[e.Facts] = [request(WORKFLOW, "rerun" if root else "execute", root)]
                facts += [STARTED, COMPLETED]
                events = [NewEvent(NEW_IDS.new(), one, b"{}") for one in facts]
                await journal.append(Commit([StreamWrite(run_id(number), 0, events, META)]))
                ends.append(journal.head)
            await views.wait_for(journal.head)
            asked = [(2, ends[3]), (2, ends[1]), (2, ends[1] - 1), (2, ends[0] - 1), (3, ends[3])]
            return [await succeeded_original(views, run_id(number), at) for number, at in asked]

    found = asyncio.run(main())
    assert found == [run_id(1), run_id(1), run_id(0), None, run_id(0)]
