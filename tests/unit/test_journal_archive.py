"""Archiving: which runs may go, what their segments hold, and what becomes of both later."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal import archive, compaction, segment_verifier, verifier
from refold.journal.archive_plan import Chosen, Runs, parts
from refold.journal.checkpoint_keys import KEY_FILE, load_keys
from refold.journal.errors import CorruptStoreError, ForeignStoreError, StoreOwnedError
from refold.journal.journal import Journal
from refold.journal.segments import name_after
from refold.journal.sqlite_file import JOURNAL_FILE, open_reader, owner_lock
from refold.journal.verified import read_verified
from tests.support import archive_kit as kit
from tests.support.journal_kit import (
    START_US,
    FakeClock,
    commit,
    completed,
    opened,
    raw,
    write,
)

NAME = "segment-000001"


def fill(directory: Path, *steps: Callable[[Journal, FakeClock], Awaitable[object]]) -> None:
    """Do things with the journal of a directory, one after the other."""

    async def main() -> None:
        clock = FakeClock()
        async with opened(directory, clock) as journal:
            for step in steps:
                await step(journal, clock)

    asyncio.run(main())


def movable(directory: Path, before_us: int = kit.LATER) -> set[str]:
    """Return the runs that may be archived."""
    with closing(open_reader(directory / JOURNAL_FILE)) as connection:
        return Runs(connection, kit.quiet).movable(before_us)


def test_bodies_move_into_a_signed_segment_and_nothing_else_changes(tmp_path: Path) -> None:
    """Every entry stays as it was, and every body is in one place."""
    bodies = kit.make_journal(tmp_path)
    with raw(tmp_path / JOURNAL_FILE) as connection:
        before = connection.execute("SELECT * FROM event").fetchall()
    made = kit.archived(tmp_path)
    assert (made.names, made.runs, made.bodies) == ((NAME,), 6, len(bodies) - 1)
    kit.assert_nothing_lost(tmp_path, bodies, tmp_path / "segments")
    with raw(tmp_path / JOURNAL_FILE) as connection:
        now = connection.execute("SELECT * FROM event").fetchall()
    assert now[: len(before)] == before
    assert len(now) == len(before) + 1
    assert kit.judged(tmp_path)[:2] == (0, "Valid, by its bytes alone.")
    place = tmp_path / "segments" / NAME
    key = (place / "checkpoint.pub").read_text().split()
    assert segment_verifier.verify(place, key)[:3] == (0, "Valid, by the log's signature.", 1)
    assert segment_verifier.verify(place)[:3] == (0, "Valid, by its bytes alone.", 0)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in place.iterdir()} == {0o600}


def test_the_released_space_is_given_back_and_the_old_bytes_are_gone(tmp_path: Path) -> None:
    """What is read from the file can't be what left it."""
    bodies = kit.make_journal(tmp_path, runs=40, bodies=20)
    before = (tmp_path / JOURNAL_FILE).stat().st_size
    kit.archived(tmp_path)
    left = b"".join(path.read_bytes() for path in tmp_path.glob("journal.db*"))
    assert len(left) < before
    gone = [body.data for body in bodies.values() if len(body.data) >= 32]
    assert len(gone) == 800
    assert not any(data in left for data in gone)


def test_a_second_archiving_finds_nothing_and_a_later_one_takes_the_next_number(
    tmp_path: Path,
) -> None:
    """Segments are never written twice, in whatever folder."""
    kit.make_journal(tmp_path)
    kit.archived(tmp_path)
    assert kit.archived(tmp_path).names == ()
    fill(tmp_path, lambda journal, _: kit.add_run(journal, 77))
    made = kit.archived(tmp_path, kit.EVER, tmp_path / "elsewhere")
    assert made.names == ("segment-000002",)
    shutil.move(tmp_path / "elsewhere" / "segment-000002", tmp_path / "segments")
    assert kit.judged(tmp_path)[0] == verifier.VALID
    assert name_after(["segment-000007", "segment-x", "other"]) == "segment-000008"


def test_a_run_stays_while_it_is_young_or_goes_on(tmp_path: Path) -> None:
    """The time is that of its last event."""

    async def late(journal: Journal, clock: FakeClock) -> None:
        clock.time_us += kit.DAY_US
        await kit.add_run(journal, 2)

    fill(
        tmp_path,
        lambda journal, _: kit.add_run(journal, 0),
        lambda journal, _: kit.add_run(journal, 1, ends=False),
        late,
    )
    assert movable(tmp_path) == {kit.run_id(0), kit.run_id(2)}
    assert movable(tmp_path, START_US + 1) == {kit.run_id(0)}
    assert movable(tmp_path, START_US) == set()


def test_what_a_younger_or_unfinished_fork_shows_stays_at_any_depth(tmp_path: Path) -> None:
    """A fork's events point at bodies of the root, and a fork that goes on will read them."""

    async def forks(journal: Journal, clock: FakeClock) -> None:
        root = await kit.add_run(journal, 0)
        middle = await kit.add_run(journal, 1, original=root)
        await kit.add_run(journal, 2, original=middle, ends=False)
        other = await kit.add_run(journal, 3)
        clock.time_us += kit.DAY_US
        await kit.add_run(journal, 4, original=other)
        await kit.add_run(journal, 5)

    fill(tmp_path, forks)
    assert movable(tmp_path) == {kit.run_id(n) for n in (3, 4, 5)}
    assert movable(tmp_path, START_US + 1) == set()
    bodies = kit.bodies_of(tmp_path)
    assert kit.archived(tmp_path).runs == 3
    kit.assert_nothing_lost(tmp_path, bodies, tmp_path / "segments")
    assert kit.judged(tmp_path)[0] == verifier.VALID
    assert kit.judged(tmp_path / "segments" / NAME)[0] == verifier.VALID
    with closing(open_reader(tmp_path / JOURNAL_FILE)) as connection:
        shown = [v.body for v in read_verified(connection, kit.run_id(2)) if v.event.payload]
    assert None not in shown
    ended = commit(write(kit.run_id(2), 10, completed()))
    fill(tmp_path, lambda journal, _: journal.append(ended))
    assert kit.archived(tmp_path, kit.EVER).runs == 3
    kit.assert_nothing_lost(tmp_path, bodies, tmp_path / "segments")
    assert kit.judged(tmp_path / "segments" / "segment-000002")[0] == verifier.VALID


def test_a_child_stays_while_the_run_that_waits_for_it_goes_on(tmp_path: Path) -> None:
    """Its result is read by the parent, after a restart too."""
    fill(
        tmp_path,
        lambda journal, _: kit.add_run(journal, 0, ends=False),
        lambda journal, _: kit.add_run(journal, 1, parent=kit.run_id(0)),
        lambda journal, _: kit.add_run(journal, 2),
        lambda journal, _: kit.add_run(journal, 3, parent=kit.run_id(2)),
    )
    assert movable(tmp_path) == {kit.run_id(2), kit.run_id(3)}


def test_a_segment_holds_so_much_or_one_run(tmp_path: Path) -> None:
    """A verifier has a segment's bodies in memory."""
    many = [Chosen(str(n), n, 20_000, 1, 1) for n in range(5)]
    assert [len(part) for part in parts(many)] == [2, 2, 1]
    large = [Chosen(str(n), n, 1, 1, 1 << 40) for n in range(2)]
    assert [len(part) for part in parts(large)] == [1, 1]
    assert list(parts([])) == []


def test_it_needs_a_journal_that_nobody_serves(tmp_path: Path) -> None:
    """The refusal names the owner; a plan may be made at any time."""
    with pytest.raises(ForeignStoreError, match="no journal"):
        kit.archived(tmp_path)
    kit.make_journal(tmp_path)
    with owner_lock(tmp_path):
        with pytest.raises(StoreOwnedError, match="owned by another process"):
            kit.archived(tmp_path)
        plan = archive.plan(tmp_path, kit.LATER, kit.quiet)
    assert (plan.segments, plan.runs, plan.bodies) == (1, 6, 24)
    assert not (tmp_path / "segments").exists()


def test_nothing_is_released_for_a_journal_that_was_edited(tmp_path: Path) -> None:
    """What is sealed is checked on the way."""
    bodies = kit.make_journal(tmp_path)
    kit.change(tmp_path, "UPDATE body SET data = x'00' WHERE position = 4")
    with pytest.raises(CorruptStoreError):
        # A changed trigger is what the start already sees; the reader sees the body.
        kit.archived(tmp_path)
    with (
        closing(open_reader(tmp_path / JOURNAL_FILE)) as connection,
        pytest.raises(CorruptStoreError, match="position 4 has another body"),
    ):
        list(read_verified(connection, kit.run_id(0)))
    assert len(kit.bodies_of(tmp_path)) == len(bodies)


class StoppedError(Exception):
    """An archiving was interrupted."""


def stopped_after_a_commit(step: str, done: int, total: int) -> None:
    """Hear of steps, and stop when the first bodies have gone."""
    if step == "release" and done:
        raise StoppedError


def test_a_run_that_was_forked_since_an_interruption_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sealed is not what may be released: a new run reads its original's bodies."""
    bodies = kit.make_journal(tmp_path, runs=3)
    folder = tmp_path / "segments"
    monkeypatch.setattr(archive, "GONE_MAX", 4)
    with pytest.raises(StoppedError):
        archive.archive(tmp_path, folder, kit.LATER, stopped_after_a_commit)
    kit.assert_nothing_lost(tmp_path, bodies, folder)

    async def fork(journal: Journal, _: FakeClock) -> None:
        original = await journal.read_stream(kit.run_id(1))
        await kit.add_run(journal, 9, bodies=0, original=original, ends=False)

    fill(tmp_path, fork)
    assert kit.archived(tmp_path).runs == 1
    kit.assert_nothing_lost(tmp_path, bodies, folder)
    with closing(open_reader(tmp_path / JOURNAL_FILE)) as connection:
        shown = [v.body for v in read_verified(connection, kit.run_id(9)) if v.event.payload]
    assert len(shown) == 3
    assert None not in shown
    assert kit.judged(tmp_path)[0] == verifier.VALID


def test_nothing_is_released_for_a_segment_of_another_history(tmp_path: Path) -> None:
    """Two copies of one journal that went apart sign with the same key, about the same places."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    kit.make_journal(ours, runs=1)
    load_keys(ours / KEY_FILE)
    shutil.copytree(ours, theirs)
    fill(ours, lambda journal, _: kit.add_run(journal, 1))
    fill(theirs, lambda journal, _: kit.add_run(journal, 2))
    bodies = kit.bodies_of(ours)
    kit.archived(theirs)
    compaction.begin(ours, theirs / "segments")
    with pytest.raises(archive.SegmentError, match="does not have what the journal has"):
        kit.archived(ours)
    kit.assert_nothing_lost(ours, bodies, ours / "segments")
