"""The long runs that are kept in memory once they were read: which, and for how long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from refold.engine import runs as kept_runs
from refold.engine.runs import Runs
from refold.engine.sealing import Sealer
from refold.engine.workflows import Workflows
from refold.journal.clock import SystemClock
from refold.journal.memory_store import MemoryJournal
from tests.support.journal_kit import commit, completed, requested, started, write


def _trial(
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[MemoryJournal, Runs], Awaitable[None]],
) -> None:
    """Call three events long, and keep six."""
    monkeypatch.setattr(kept_runs, "PAGE", 3)
    monkeypatch.setattr(kept_runs, "KEPT_EVENTS_MAX", 6)

    async def main() -> None:
        journal = MemoryJournal("memory", SystemClock(), lambda: os.urandom(32))
        await scenario(journal, Runs(journal, Workflows(journal, Sealer(bytes(32)))))

    asyncio.run(main())


async def _ended(journal: MemoryJournal, run_id: str) -> None:
    await journal.append(commit(write(run_id, 0, requested("fl_w"), started(), completed())))


def test_a_long_run_that_ended_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is resumed next, and its facts stay as they are."""

    async def scenario(journal: MemoryJournal, runs: Runs) -> None:
        await _ended(journal, "fl_run_1")
        first = await runs.load("fl_run_1")
        assert await runs.load("fl_run_1") is first
        assert (await runs.load("fl_run_1", at=2)).state.version == 2

    _trial(monkeypatch, scenario)


def test_a_kept_run_whose_stream_went_on_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is asked each time, so that nothing depends on an end being the end."""

    async def scenario(journal: MemoryJournal, runs: Runs) -> None:
        await _ended(journal, "fl_run_1")
        await runs.load("fl_run_1")
        await journal.append(commit(write("fl_run_1", 3, started())))
        assert (await runs.load("fl_run_1")).state.version == 4

    _trial(monkeypatch, scenario)


def test_a_run_that_goes_on_or_is_short_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one changes, and the other is soon read."""

    async def scenario(journal: MemoryJournal, runs: Runs) -> None:
        await journal.append(
            commit(write("fl_run_1", 0, requested("fl_w"), started(), started(), started()))
        )
        await journal.append(commit(write("fl_run_2", 0, requested("fl_w"), completed())))
        for name in ("fl_run_1", "fl_run_2"):
            assert await runs.load(name) is not await runs.load(name)

    _trial(monkeypatch, scenario)


def test_the_run_that_was_read_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept takes no more memory than was set, however many runs are read."""

    async def scenario(journal: MemoryJournal, runs: Runs) -> None:
        names = ("fl_run_1", "fl_run_2", "fl_run_3")
        for name in names:
            await _ended(journal, name)
        loaded = {name: await runs.load(name) for name in names[:2]}
        assert await runs.load("fl_run_1") is loaded["fl_run_1"]
        loaded["fl_run_3"] = await runs.load("fl_run_3")
        assert await runs.load("fl_run_3") is loaded["fl_run_3"]
        assert await runs.load("fl_run_1") is loaded["fl_run_1"]
        assert await runs.load("fl_run_2") is not loaded["fl_run_2"]

    _trial(monkeypatch, scenario)
