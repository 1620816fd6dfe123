"""Plays a scenario on a fresh journal of each store, for the conformance suite."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from refold.journal.append_queue import QUEUE_MAX
from refold.journal.journal import Journal
from refold.journal.memory_store import MemoryJournal
from tests.simulator.disk import Disk
from tests.simulator.loop import SimulatedLoop
from tests.simulator.store import SimulatedStore
from tests.support.journal_kit import (
    FakeClock,
    Play,
    Scenario,
    commit,
    opened,
    write,
)


@pytest.fixture(name="play", params=["memory", "simulated", "sqlite"])
def play_on_each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Play a scenario on a fresh journal of each store."""

    async def main(scenario: Scenario) -> None:
        clock = FakeClock()
        async with AsyncExitStack() as stack:
            journal: Journal
            if request.param != "sqlite":
                journal = (
                    MemoryJournal("memory", clock, lambda: os.urandom(32))
                    if request.param == "memory"
                    else SimulatedStore("simulated", clock, Disk(Random(1)), Random(1), QUEUE_MAX)
                )
                # The first event of the other store, so that positions are the same.
                await journal.append(commit(write("sys", 0)))
            else:
                journal = await stack.enter_async_context(opened(tmp_path, clock))
            await scenario(journal, clock)

    def simulated(scenario: Scenario) -> None:
        loop = SimulatedLoop()
        loop.run_until(loop.create_task(main(scenario)))
        loop.close()

    if request.param == "simulated":
        return simulated
    return lambda scenario: asyncio.run(main(scenario))
