"""Measures how fast a journal is verified: python -m tests.bench.verify_speed [EVENTS]

Fills a journal through the real store with runs of ten events, signs it, closes it, and verifies
it in a process of its own, as an auditor does. Prints the time of each round, and the best on the
clock and of CPU, which differ where the machine is busy.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from refold.journal import verifier
from refold.journal.checkpoints import open_checkpoints
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.journal.tree_store import open_tree
from tests.support.export_bulk import fill_plain
from tests.support.journal_kit import NEW_IDS, opened

EVENTS_A_RUN = 10


async def fill(directory: Path, runs: int) -> str:
    """Make a journal with a checkpoint; return the public key."""
    async with (
        opened(directory) as journal,
        open_tree(directory, journal) as tree,
        open_checkpoints(directory, journal, tree, NEW_IDS, host="bench.example") as checkpoints,
    ):
        await fill_plain(journal, runs)
        await checkpoints.covering(journal.head)
        return checkpoints.public_keys[0]


def verify_once(directory: Path, key: str) -> tuple[float, float]:
    """Verify in another process; return seconds of the clock and of the processor."""
    began = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, verifier.__file__, str(directory), "--key", key]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != verifier.VALID:
        raise RuntimeError(f"the verifier ended with {done.returncode}: {done.stdout}{done.stderr}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent


def measure(directory: Path, events: int, rounds: int) -> None:
    """Fill a directory and verify it some times."""
    began = time.perf_counter()
    key = asyncio.run(fill(directory, events // EVENTS_A_RUN))
    size = (directory / JOURNAL_FILE).stat().st_size
    print(f"{events} events made in {time.perf_counter() - began:.1f} s, {size / 1e6:.0f} MB")
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        times.append(verify_once(directory, key))
        print(f"round {number + 1}: {times[-1][0]:.2f} s, {times[-1][1]:.2f} s of CPU")
    best, spent = (min(column) for column in zip(*times, strict=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"best on the clock: {best:.2f} s, {events / best:,.0f} events/s")
    print(f"best of CPU: {spent:.2f} s, {events / spent:,.0f} events/s, at most {peak:.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure how fast a journal is verified.")
    parser.add_argument("events", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="Fill this new directory, and leave it there.")
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True)
        measure(given.keep, given.events, given.rounds)
    else:
        with tempfile.TemporaryDirectory() as made:
            measure(Path(made), given.events, given.rounds)
