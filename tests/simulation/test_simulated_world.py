"""The whole service under one seed: kills at any await, bad disks, bad endpoints, and its promises.

A seed that once found something is named in `seeds.json`, and is run for ever after.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulator.campaign import simulate_many, told
from tests.simulator.world import STEPS, simulate

ROOT = Path(__file__).resolve().parents[2]
SEEDS = {"dev": 40, "ci": 150, "full": 10_000}
LONG_STEPS = 3000
LONG_SEEDS = {"dev": 2, "ci": 8, "full": 500}
NAMED: dict[str, list[int]] = json.loads(Path(__file__).with_name("seeds.json").read_text())


@pytest.mark.timeout(7200)
def test_every_promise_is_kept_in_every_world(seed: int) -> None:
    """Acknowledged is journaled, runs end, cuts hold, views and proofs agree, secrets stay."""
    first, profile = seed % 10**9 * 100_000, os.environ["REFOLD_TEST_PROFILE"]
    tally = simulate_many(range(first, first + SEEDS[profile]))
    assert not tally.broken, "\n".join(told(made, STEPS) for made in tally.broken[:5])
    print(tally)
    # A world in which nothing happens would keep every promise.
    assert tally.runs > tally.seeds
    assert tally.kills > tally.seeds
    assert tally.faults > tally.seeds / 2


@pytest.mark.timeout(7200)
def test_every_promise_is_kept_in_worlds_that_last_longer(seed: int) -> None:
    """Schedules fire, workflows are deleted, and runs resume what was resumed."""
    first, profile = seed % 10**9 * 100_000 + 50_000, os.environ["REFOLD_TEST_PROFILE"]
    tally = simulate_many(range(first, first + LONG_SEEDS[profile]), LONG_STEPS)
    assert not tally.broken, "\n".join(told(made, LONG_STEPS) for made in tally.broken[:5])
    print(tally)


def test_what_a_seed_once_found_stays_mended() -> None:
    """Each name says what was wrong; the numbers are the world that showed it, and its steps."""
    for name, (number, steps) in NAMED.items():
        made = simulate(number, steps)
        assert not made.wrong, f"{name}: {told(made, steps)}"


def test_a_seed_gives_the_same_journal_whatever_the_process() -> None:
    """A failure that can't be had again can't be understood: also with other hash seeds."""
    here = [simulate(number).journal_hash for number in (7, 8)]
    assert here[0] != here[1], "another seed is another world"
    for hash_seed in ("0", "4711"):
        ran = subprocess.run(
            [sys.executable, "-m", "refold.scripts.cli", "simulate", "--seed", "7"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.split("\n")[0] == f"journal {here[0]}"
