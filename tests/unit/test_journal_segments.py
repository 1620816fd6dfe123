"""Segments as evidence: what was changed is found, what was erased can be taken out of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal import archive, bundle, segment_verifier, verifier
from refold.journal.checkpoints import open_checkpoints
from refold.journal.sqlite_file import JOURNAL_FILE, open_reader
from refold.journal.sqlite_reader import Reader
from refold.journal.tree_store import open_tree
from tests.support import archive_kit as kit
from tests.support.evidence_kit import HOST, RERUN, RUN, make_evidence
from tests.support.journal_kit import NEW_IDS, opened

NAME = "segment-000001"


def tampered(place: Path, file: str, old: bytes, new: bytes) -> None:
    """Change one file of a segment."""
    data = (place / file).read_bytes()
    assert old in data
    (place / file).write_bytes(data.replace(old, new, 1))


SEGMENT_CHANGES: dict[str, tuple[int, int, Callable[[Path], object]]] = {
    "a body": (40, 40, lambda p: tampered(p, "bodies", b'{"run":0}', b'{"run":1}')),
    "a salt": (40, 40, lambda p: tampered(p, "bodies", b"0", b"1")),
    "a body gone": (20, 40, lambda p: (p / "bodies").write_bytes(b"")),
    "a body said to be erased": (
        40,
        40,
        lambda p: (p / "bodies").write_bytes(
            b"3 erased\n" + (p / "bodies").read_bytes().split(b'{"run":0}\n')[1]
        ),
    ),
    "the bodies cut": (40, 40, lambda p: (p / "bodies").write_bytes(b"3 " + b"0" * 64 + b" 9\n{")),
    "an endless length": (
        40,
        40,
        lambda p: tampered(p, "bodies", b" 9\n{", b" 999999999999999\n{"),
    ),
    "an entry": (40, 40, lambda p: tampered(p, "entries", b'"acme"', b'"evil"')),
    "the entries cut": (40, 40, lambda p: (p / "entries").write_bytes(b"")),
    "a note": (40, 0, lambda p: tampered(p, "entries.note", b"/entries\n", b"/entriez\n")),
    "no note": (20, 0, lambda p: (p / "bodies.note").unlink()),
    "the notes exchanged": (
        40,
        0,
        lambda p: (p / "bodies.note").write_bytes((p / "entries.note").read_bytes()),
    ),
    "another key": (40, 0, lambda p: (p / "checkpoint.pub").write_text("x+00000000+AA==\n")),
    "no bodies": (20, 20, lambda p: (p / "bodies").unlink()),
    "all of it gone": (20, 20, shutil.rmtree),
    "another name": (20, 20, lambda p: p.rename(p.with_name("segment-000009"))),
}


@pytest.mark.parametrize("name", SEGMENT_CHANGES)
def test_a_changed_segment_is_found_alone_and_against_the_journal(
    name: str, tmp_path: Path
) -> None:
    """Each has its code and one sentence; notes matter where a segment stands alone."""
    alone, beside, act = SEGMENT_CHANGES[name]
    kit.make_journal(tmp_path, runs=2)
    kit.archived(tmp_path)
    place = tmp_path / "segments" / NAME
    act(place)
    for path, code in ((tmp_path, beside), (place, alone)):
        found = kit.judged(path)
        assert found[0] == code, found
        assert len(found[1].splitlines()) == 1


DATABASE_CHANGES = {
    "a body that is hidden as archived": (
        "UPDATE body SET salt = zeroblob(32), data = x'' WHERE position = 2",
        "INSERT INTO archive SELECT 2, max(position) FROM event",
    ),
    "an archived body that is not said to be": ("DELETE FROM archive WHERE position = 4",),
    "an archived body filled again": ("UPDATE body SET data = x'41' WHERE position = 4",),
    "archived by another event": ("UPDATE archive SET by_position = 1 WHERE position = 4",),
    "an archived body that is called erased": (
        "INSERT INTO erasure SELECT 4, max(position) FROM event",
    ),
}


@pytest.mark.parametrize("name", DATABASE_CHANGES)
def test_what_the_tables_say_of_archived_bodies_is_held_against_the_entries(
    name: str, tmp_path: Path
) -> None:
    """A body may be away only as an event says, with the segment at hand or without."""
    kit.make_journal(tmp_path, runs=2)
    kit.archived(tmp_path)
    kit.change(tmp_path, *DATABASE_CHANGES[name])
    assert kit.judged(tmp_path)[0] == verifier.INVALID
    assert verifier.verify(tmp_path)[0] == verifier.INVALID


def test_without_its_segments_a_journal_is_incomplete_and_names_them(tmp_path: Path) -> None:
    """What is there is right; who wants to see the bodies knows where to look."""
    kit.make_journal(tmp_path)
    kit.archived(tmp_path, to=tmp_path / "far")
    assert verifier.verify(tmp_path)[0] == verifier.INCOMPLETE
    found = kit.judged(tmp_path)
    assert found[0] == verifier.INCOMPLETE
    assert NAME in found[1]
    assert kit.judged(tmp_path, tmp_path / "far")[0] == verifier.VALID


def test_a_bundle_of_an_archived_run_says_where_its_bodies_are(tmp_path: Path) -> None:
    """Its proofs close as before; with the segments it is whole."""
    evidence = make_evidence(tmp_path / "data")
    kit.archived(evidence.directory)
    note, key = evidence.note, evidence.public_key
    against = bundle.Checkpointed(note, [key], lambda places, size, cut: [])
    with (
        closing(open_reader(evidence.file)) as connection,
        pytest.raises(bundle.NoBundleError, match="erasure or archival"),
    ):
        bundle.make_bundle(connection, RERUN, against)
    file = tmp_path / "run.zip"
    file.write_bytes(asyncio.run(bundled(evidence.directory, RUN)))
    found = segment_verifier.verify(file)
    assert (found[0], NAME in found[1]) == (verifier.INCOMPLETE, True)
    found = segment_verifier.verify(file, segments=evidence.directory / "segments")
    assert (found[0], found[3]) == (verifier.ERASED, [5])


async def bundled(directory: Path, run: str) -> bytes:
    """Make the bundle of a run against a new checkpoint."""
    async with (
        opened(directory) as journal,
        open_tree(directory, journal) as tree,
        open_checkpoints(directory, journal, tree, NEW_IDS, host=HOST) as checkpoints,
    ):
        note = await checkpoints.covering(journal.head)
        against = bundle.Checkpointed(note, checkpoints.public_keys, tree.joint)
        with closing(open_reader(directory / JOURNAL_FILE)) as connection:
            return bundle.make_bundle(connection, run, against)


def test_an_erasure_reaches_an_archived_body_in_two_steps(tmp_path: Path) -> None:
    """The journal says at once that it is erased; the segment is rewritten where it is."""
    bodies = kit.make_journal(tmp_path)
    kit.archived(tmp_path)
    folder = tmp_path / "segments"
    place = folder / NAME
    before = {name: (place / name).read_bytes() for name in ("entries", "entries.note")}
    secret = bodies[4].data
    assert secret in (place / "bodies").read_bytes()
    kit.erase(tmp_path, kit.run_id(0), 3, 4)
    with closing(open_reader(tmp_path / JOURNAL_FILE)) as connection:
        assert Reader(connection).segments([3, 4, 5]) == {5: NAME}
    found = kit.judged(tmp_path)
    assert (found[0], found[3]) == (verifier.INCOMPLETE, [3, 4])
    assert "refold archive --scrub" in found[1]
    assert archive.scrub(tmp_path, folder, kit.quiet) == 2
    assert archive.scrub(tmp_path, folder, kit.quiet) == 0
    assert secret not in (place / "bodies").read_bytes()
    assert {name: (place / name).read_bytes() for name in before} == before
    for path in (tmp_path, place):
        found = kit.judged(path)
        assert (found[0], found[3]) == (verifier.ERASED, [3, 4])


def test_a_scrub_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    """Between the two files the note does not fit; the next scrub signs what is there."""
    kit.make_journal(tmp_path)
    kit.archived(tmp_path)
    place = tmp_path / "segments" / NAME
    note = (place / "bodies.note").read_bytes()
    kit.erase(tmp_path, kit.run_id(0), 4)
    archive.scrub(tmp_path, place.parent, kit.quiet)
    (place / "bodies.note").write_bytes(note)
    assert kit.judged(place)[0] == verifier.INVALID
    archive.scrub(tmp_path, place.parent, kit.quiet)
    assert kit.judged(place)[0] == verifier.ERASED


@pytest.mark.parametrize("name", ["a body", "a body said to be erased", "the bodies cut"])
def test_a_scrub_signs_nothing_that_the_journal_does_not_say(name: str, tmp_path: Path) -> None:
    """Else a forger would only have to wait for the next erasure."""
    kit.make_journal(tmp_path)
    kit.archived(tmp_path)
    place = tmp_path / "segments" / NAME
    SEGMENT_CHANGES[name][2](place)
    before = (place / "bodies.note").read_bytes()
    with pytest.raises(archive.SegmentError, match=NAME):
        archive.scrub(tmp_path, place.parent, kit.quiet)
    assert (place / "bodies.note").read_bytes() == before
