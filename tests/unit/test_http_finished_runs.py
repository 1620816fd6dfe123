"""The kept answers of finished runs: how many there are, and which are never kept."""

from __future__ import annotations

import asyncio
import os

import pytest

from refold.engine.runs import LoadedRun
from refold.http import finished_runs
from refold.http.finished_runs import FinishedRuns
from refold.journal import events as e
from refold.journal.clock import SystemClock
from refold.journal.erasing import positions_text
from refold.journal.journal import Commit, Journal, NewEvent, StreamWrite
from refold.journal.memory_store import MemoryJournal
from refold.projections.run_state import fold
from tests.support.journal_kit import META, NEW_IDS, commit, completed, requested, started, write


async def _ended(journal: Journal, run_id: str) -> LoadedRun:
    await journal.append(commit(write(run_id, 0, requested("fl_w"), started(b"{}"), completed())))
    events = await journal.read_stream(run_id)
    return LoadedRun(fold(run_id, events), events)


def test_an_answer_that_was_made_while_a_body_went_is_not_kept() -> None:
    """It may show what is gone, and the event that says so is over when it is kept."""

    async def main() -> None:
        journal = MemoryJournal("memory", SystemClock(), lambda: os.urandom(32))
        finished = FinishedRuns(journal)
        loaded = await _ended(journal, "fl_run_1")
        before = finished.forgotten
        gone = [event.position for event in loaded.events if event.body_at]
        said = e.PayloadErased(positions=positions_text(gone), reason="", target="fl_run_1")
        new = NewEvent(NEW_IDS.new(), said)
        await journal.append(Commit([StreamWrite("sys", 0, [new], META)], erased=gone))
        finished.keep(loaded, b"{}", before)
        assert finished.find(META.tenant, "fl_run_1", 99) is None
        finished.keep(loaded, b"{}", finished.forgotten)
        assert finished.find(META.tenant, "fl_run_1", 99) is not None

    asyncio.run(main())


def test_what_was_asked_for_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers take no more memory than was set, however many runs there are."""

    async def main() -> None:
        monkeypatch.setattr(finished_runs, "BYTES_MAX", 250)
        journal = MemoryJournal("memory", SystemClock(), lambda: os.urandom(32))
        finished = FinishedRuns(journal)
        for name in ("fl_run_1", "fl_run_2"):
            finished.keep(await _ended(journal, name), b"x" * 100, 0)
        assert finished.find(META.tenant, "fl_run_1", 99) is not None
        finished.keep(await _ended(journal, "fl_run_3"), b"x" * 100, 0)
        kept = [finished.find(META.tenant, f"fl_run_{n}", 99) is not None for n in (1, 2, 3)]
        assert kept == [True, False, True]

    asyncio.run(main())


def test_no_answer_is_kept_of_a_run_that_goes_on_or_is_large() -> None:
    """The one changes, and the other would push out all the rest."""

    async def main() -> None:
        journal = MemoryJournal("memory", SystemClock(), lambda: os.urandom(32))
        finished = FinishedRuns(journal)
        ended = await _ended(journal, "fl_run_1")
        going = LoadedRun(fold("fl_run_1", ended.events[:1]), ended.events[:1])
        finished.keep(going, b"{}", 0)
        finished.keep(ended, b"x" * (finished_runs.ANSWER_BYTES_MAX + 1), 0)
        assert finished.find(META.tenant, "fl_run_1", 99) is None

    asyncio.run(main())
