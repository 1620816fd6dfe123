"""Kill an archiving at any step: every body is somewhere, and the next one completes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from refold.journal import verifier
from refold.journal.compaction import MARKER
from refold.journal.segment_verifier import NOT_HERE, read_bodies, segments_in
from refold.journal.segments import PART
from tests.support import archive_kit as kit
from tests.support.journal_kit import raw

KILLS = {"dev": 8, "ci": 24, "full": 1000}


def die_at(directory: Path, folder: Path, moment: int) -> subprocess.CompletedProcess[str]:
    """Archive in a process that dies at a moment."""
    command = [sys.executable, "-m", "tests.support.archive_victim"]
    arguments = [str(directory), str(folder), str(moment)]
    return subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)


def test_killed_at_any_step_it_loses_nothing_and_the_next_one_completes_it(tmp_path: Path) -> None:
    """In the database, or in a segment that the journal names: never neither, never both."""
    fresh = tmp_path / "fresh"
    bodies = kit.make_journal(fresh)
    counting = tmp_path / "counting"
    shutil.copytree(fresh, counting)
    whole = die_at(counting, counting / "segments", 0)
    assert whole.returncode == 0, whole.stderr
    names = whole.stdout.splitlines()
    step = max(1, len(names) // KILLS[os.environ["REFOLD_TEST_PROFILE"]])
    chosen = {*range(1, len(names) + 1, step), names.index("release 4") + 1}
    seen = set[str]()
    for moment in sorted(chosen):
        directory = tmp_path / f"at{moment}"
        shutil.copytree(fresh, directory)
        folder = directory / "segments"
        died = die_at(directory, folder, moment)
        assert died.returncode == -signal.SIGKILL, died.stderr
        kit.assert_nothing_lost(directory, bodies, folder)
        seen.add(state_of(directory, folder))
        kit.archived(directory)
        kit.assert_nothing_lost(directory, bodies, folder)
        assert_complete(directory, folder)
        shutil.rmtree(directory)
    assert {"nothing", "some released"} <= seen, seen


def state_of(directory: Path, folder: Path) -> str:
    """Say how far an archiving had come."""
    if not kit.in_segments(directory, folder):
        return "sealed" if folder.exists() and segments_in(folder) else "nothing"
    return "some released" if len(kit.bodies_of(directory)) > 1 else "all released"


def assert_complete(directory: Path, folder: Path) -> None:
    """See that all that may go has gone, the segments verify, and nothing is left lying about."""
    assert len(kit.bodies_of(directory)) == 1, "the definition's, which belongs to no run"
    found = kit.judged(directory)
    assert found[0] == verifier.VALID, found
    copies = list[int]()
    for place in segments_in(folder):
        found = kit.judged(place)
        assert found[0] == verifier.VALID, found
        copies += [at for at, body in read_bodies(place)[1].items() if body not in NOT_HERE]
    assert len(copies) == len(set(copies)), "a body is in two segments"
    assert not (directory / MARKER).exists()
    assert not (folder / PART).exists()
    with raw(directory / "journal.db") as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


@pytest.mark.parametrize("opens", ["archive", "serve"])
def test_whoever_opens_the_journal_next_rewrites_the_file(tmp_path: Path, opens: str) -> None:
    """Old bytes of rows that were moved must not outlive an erasure that comes later."""
    data, counting = tmp_path / "data", tmp_path / "counting"
    kit.make_journal(data)
    shutil.copytree(data, counting)
    names = die_at(counting, counting / "segments", 0).stdout.splitlines()
    folder = data / "segments"
    die_at(data, folder, names.index("release 4") + 1)
    assert kit.in_segments(data, folder)
    assert (data / MARKER).exists()
    if opens == "archive":
        kit.archived(data)
        assert_complete(data, folder)
    else:
        kit.erase(data, kit.run_id(0), 3)
        assert b'"is_compact":true' in (data / MARKER).read_bytes()
