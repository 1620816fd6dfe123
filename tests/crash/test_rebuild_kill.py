"""Kill a rebuild under load, at random moments: it goes on, and ends equal to the live rows."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from refold.projections.built_in import BUILT_IN
from refold.projections.checking import check
from refold.projections.rebuild import rebuild
from tests.support.views_kit import add_bulk, add_runs, all_runs, digests, query, served

KILLS = {"dev": 3, "ci": 10, "full": 200}
PROFILE = os.environ.get("REFOLD_TEST_PROFILE", "dev")
KILLED = """
import os, signal, sys, threading
from pathlib import Path
from refold.projections.rebuild import rebuild
end = lambda: os.kill(os.getpid(), signal.SIGKILL)
seconds, steps = float(sys.argv[2]), int(sys.argv[3])
def report(position, head):
    global steps
    steps -= 1
    if steps == 0:
        end()
if seconds:
    threading.Timer(seconds, end).start()
while True:
    rebuild(Path(sys.argv[1]), report=report)
"""
# Some at any moment, some surely while rows grow.
PROGRESS = "SELECT coalesce(max(position), 0) FROM projection WHERE state = 'growing'"


def begin(directory: Path, seconds: float, steps: int) -> subprocess.Popen[bytes]:
    """Begin a process that rebuilds until it is killed, after some time or some steps."""
    command = [sys.executable, "-c", KILLED, str(directory), f"{seconds}", f"{steps}"]
    return subprocess.Popen(command)


@pytest.mark.timeout(3600 if PROFILE == "full" else 300)
def test_a_rebuild_that_is_killed_again_and_again_goes_on_and_ends_equal(
    tmp_path: Path, seed: int
) -> None:
    """No read fails meanwhile, and what was begun is never begun again."""
    print(f"seed {seed}")
    choice = random.Random(seed)

    async def main() -> None:
        async with served(tmp_path) as (journal, views):
            await add_bulk(journal, 100, 200)
            total, in_between = 1, 0
            for number in range(KILLS[PROFILE]):
                seconds = choice.uniform(0.001, 0.6) if number % 2 else 0.0
                steps = 0 if number % 2 else choice.randint(1, 9)
                process = await asyncio.to_thread(begin, tmp_path, seconds, steps)
                while process.poll() is None:
                    await add_runs(journal, 1)
                    total += 1
                    await views.wait_for(journal.head)
                    assert len(await all_runs(views)) == total
                assert process.returncode == -signal.SIGKILL
                in_between += query(tmp_path, PROGRESS) != [(0,)]
            before = query(tmp_path, PROGRESS)[0][0]
            positions: list[int] = []
            await asyncio.to_thread(
                rebuild, tmp_path, report=lambda position, _: positions.append(position)
            )
            assert not positions or positions[0] >= int(str(before))
            await views.wait_for(journal.head)
            await add_runs(journal, 1)
            await views.wait_for(journal.head)
            live = await digests(views)
            assert in_between > 0, "the kills were real"
            assert views.fault == ""
        found = check(tmp_path)
        assert {row.name: row.digest for row in found} == live
        assert all(row.is_equal for row in found)
        assert len(found) == len(BUILT_IN)

    asyncio.run(main())
