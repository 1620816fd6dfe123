"""Cut the power at recorded points of a real service's writes, and hold it to what it had told."""

from __future__ import annotations

import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.counts import PROFILE, count_of
from tests.support.cut_trial import Recording, carry_on, cuts, judge, points_of, recorded
from tests.support.fault_shim import built

POINTS = count_of("POWER_CUTS", dev=12, ci=40, full=2000)
POINTS_PER_RECORDING = min(250, POINTS // 2)
SERVED_EVERY = 20
"""So often what is left is served until every run has ended, beside being opened and verified."""
SECONDS = {"dev": 0.3, "ci": 0.5, "full": 2.5}[PROFILE]
"""How long the service is loaded between two restarts while it is recorded."""
FAULTY = Path(__file__).parents[1] / "support" / "faulty_service.py"


@pytest.mark.timeout(14_400 if PROFILE == "full" else 300)
def test_a_power_cut_at_any_point_loses_nothing_that_was_told(tmp_path: Path, seed: int) -> None:
    """What was answered or called is there, what is there verifies, and every run goes on."""
    print(f"seed {seed}")
    built()
    choice = random.Random(seed)
    number = position = 0
    for index, first in enumerate(range(0, POINTS, POINTS_PER_RECORDING)):
        scratch = tmp_path / f"recording-{index}"
        scratch.mkdir()
        # In every other one the disk refuses syncs, and kernels then drop what they were asked for.
        failing = index % 2 == 1
        with recorded(scratch, choice.getrandbits(32), SECONDS, failing=failing) as recording:
            assert recording.ledger.wrong == []
            points = points_of(recording, min(POINTS - first, POINTS_PER_RECORDING), choice)
            for data, promises, how in cuts(recording, points, scratch, choice):
                number += 1
                position = max(position, promises.position)
                if number % SERVED_EVERY == SERVED_EVERY // 2:
                    assert carry_on(data, promises, recording) == [], how
                else:
                    assert judge(data, promises) == [], how
            assert len(recording.ledger.acknowledged) > 10, "the load was real"
            assert any(record.kind == "X" for record in recording.records) == failing
        shutil.rmtree(scratch)
        print(f"{number} power cuts")
    assert position > 0, "answers said which position they were of"


def is_noticed(recording: Recording, scratch: Path, choice: random.Random) -> bool:
    """Cut the power until something is missing of what was told, or all of it can't be read."""
    complaints = ("lost", "durable", "does not open")
    for data, promises, _ in cuts(
        recording, points_of(recording, 60, choice)[20:], scratch, choice
    ):
        if any(word in line for line in judge(data, promises) for word in complaints):
            return True
    return False


def without_syncs(recording: Recording, files: set[int]) -> Recording:
    """Leave out the syncs of some files: a disk that says it has written and has not."""
    # Their places in the log stay, since that is how the points are numbered.
    records = [
        record._replace(kind="-") if record.kind in "BE" and record.file in files else record
        for record in recording.records
    ]
    return replace(recording, records=records)


@pytest.mark.timeout(300)
def test_the_judge_finds_a_log_and_a_name_that_were_never_synced(tmp_path: Path, seed: int) -> None:
    """A check that can't fail proves nothing: of two disks, each lies about one sync."""
    print(f"seed {seed}")
    built()
    choice = random.Random(seed)
    with recorded(tmp_path, seed, 0.2, rounds=1) as recording:
        logs = {r.file for r in recording.records if r.path.endswith("journal.db-wal")}
        assert is_noticed(without_syncs(recording, logs), tmp_path, choice)
        # The root, in which the data directory was made.
        above = {recording.records[0].file}
        assert is_noticed(without_syncs(recording, above), tmp_path, choice)


@pytest.mark.timeout(300)
def test_the_judge_finds_a_service_that_does_not_sync(tmp_path: Path, seed: int) -> None:
    """With `synchronous=OFF` an acknowledged run is in the kernel's hands."""
    print(f"seed {seed}")
    built()
    command = [sys.executable, str(FAULTY), "sync_off", "serve"]
    with recorded(tmp_path, seed, 0.2, *command, rounds=1) as recording:
        assert is_noticed(recording, tmp_path, random.Random(seed))
