"""The verifier and the file as SQLite sees it: logs, links, views, and a moment that moves."""

from __future__ import annotations

import asyncio
import base64
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from refold.journal import verifier
from tests.support.evidence_kit import Evidence, erasing, make_evidence
from tests.support.export_bulk import fill_plain
from tests.support.forgeries import forge, sql
from tests.support.journal_kit import opened, raw

LONG_RUNS = 220
"""Runs of ten events: more than the verifier reads at once."""


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Make it once; every test only reads it."""
    return make_evidence(tmp_path_factory.mktemp("evidence") / "data")


@pytest.fixture
def mutant(evidence: Evidence, tmp_path: Path) -> Path:
    """A journal's file that may be changed, alone in its folder."""
    return Path(shutil.copy(evidence.file, tmp_path / "journal.db"))


@pytest.fixture
def long(tmp_path: Path) -> Iterator[Path]:
    """A journal of many pages, with somebody who has it open and so keeps its log."""
    directory = tmp_path / "long"
    directory.mkdir()

    async def fill() -> None:
        async with opened(directory) as journal:
            await fill_plain(journal, LONG_RUNS)

    asyncio.run(fill())
    with raw(directory / "journal.db") as connection:
        connection.execute("SELECT count(*) FROM event").fetchone()
        yield directory


def erase(directory: Path, position: int, then: Callable[[], object] = list) -> None:
    """Erase a body in a journal that nobody else writes, and do something before it is closed."""
    with closing(sqlite3.connect(directory / "journal.db")) as connection:
        (stream,) = connection.execute(
            "SELECT stream FROM event WHERE position = ?", (position,)
        ).fetchone()

    async def write() -> None:
        async with opened(directory) as journal:
            await journal.append(erasing([position], stream))
            then()

    asyncio.run(write())


def test_a_journal_that_grows_and_loses_bodies_meanwhile_is_seen_at_one_moment(long: Path) -> None:
    """Half a page before an erasure and half after it would look like a forgery."""
    told = list[tuple[int, int]]()

    def tell(done: int, total: int) -> None:
        if not told:
            erase(long, 3)
        told.append((done, total))

    found = verifier.verify(long, tell=tell)
    assert found[:2] == (verifier.VALID, "Valid, by its bytes alone.")
    assert told[0][0] < told[-1][0] == told[-1][1]
    assert verifier.verify(long)[0] == verifier.ERASED


def test_the_log_belongs_to_the_journal_also_through_a_link(long: Path, tmp_path: Path) -> None:
    """Without it the journal would be an older one than every other reader sees."""
    link = tmp_path / "link.db"
    link.symlink_to(long / "journal.db")
    with raw(long / "journal.db") as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("DROP TRIGGER event_no_update")
        connection.execute("UPDATE event SET at = at + 1 WHERE position = 9")
        for path in (long, long / "journal.db", link):
            found = verifier.verify(path)
            assert found[0] == verifier.INVALID
            assert found[1] == "The entry at position 9 does not stand where its row says."


def test_a_rollback_journal_is_not_passed_over(mutant: Path) -> None:
    """With one beside it, other programs would see other rows than the file's own bytes hold."""
    program = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "db.execute('PRAGMA cache_size = 1'); db.execute('PRAGMA cache_spill = 1'); "
        "db.execute('DROP TRIGGER body_no_update'); db.execute('BEGIN'); "
        "db.execute('UPDATE body SET subject = hex(randomblob(9000))'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(mutant)], check=False)
    assert mutant.with_name("journal.db-journal").stat().st_size > 0
    before = mutant.read_bytes()
    assert verifier.verify(mutant)[0] not in (verifier.VALID, verifier.ERASED)
    assert mutant.read_bytes() == before


def test_a_view_is_never_taken_for_a_table(mutant: Path) -> None:
    """It could show the verifier other rows than everybody else, or rows without end."""
    with raw(mutant) as connection:
        connection.execute("ALTER TABLE event RENAME TO hidden")
        connection.execute("CREATE VIEW event AS SELECT * FROM hidden")
    found = verifier.verify(mutant)
    assert found[:2] == (verifier.INVALID, "This is no journal of a known format.")


@pytest.mark.parametrize("position", [0, -1, -(1 << 63)])
def test_no_entry_stands_before_the_first(position: int, mutant: Path) -> None:
    """A run hidden there would be shown by every query for its stream."""

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(replace(sql, 'CHECK (position >= 1)', ''), "
            "'CHECK (body_at BETWEEN 0 AND position)', '')"
        )

    forge(mutant, change)
    copied = (
        "INSERT INTO event SELECT ?, stream, version + 90, at, entry, leaf, 0 FROM event "
        "WHERE position = 2"
    )
    forge(mutant, sql(copied, position))
    found = verifier.verify(mutant)
    assert found[0] == verifier.INVALID
    assert "damaged" not in found[1]


def test_a_signature_has_one_spelling(evidence: Evidence, tmp_path: Path) -> None:
    """Base64 leaves bits over at its end; a note with others there is not the note."""
    note = evidence.note.rstrip(b"\n")
    assert note.endswith(b"=")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(note[-2:-1])
    other = note[:-2] + alphabet[last ^ 1 : (last ^ 1) + 1] + b"=\n"
    assert base64.b64decode(other.split()[-1]) == base64.b64decode(note.split()[-1])
    kept = tmp_path / "kept"
    kept.write_bytes(other)
    key = [evidence.public_key]
    assert verifier.verify(evidence.directory, key, [str(kept)])[0] == verifier.INVALID
    kept.write_bytes(evidence.note)
    assert verifier.verify(evidence.directory, key, [str(kept)])[0] == verifier.ERASED


def test_it_says_how_far_a_checkpoint_reaches(evidence: Evidence, tmp_path: Path) -> None:
    """Entries after the last signed one are vouched for by nobody yet."""
    shutil.copytree(evidence.directory, tmp_path / "data")
    (tmp_path / "data" / verifier.NOTE).write_bytes(evidence.early)
    found = verifier.verify(tmp_path / "data", [evidence.public_key])
    covered = int(evidence.early.split(b"\n")[1])
    assert covered == 9
    assert found[1].startswith("Valid, by a signed checkpoint, to entry 9 of 17,")


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
def test_what_can_not_be_read_is_incomplete_and_not_called_forged(
    name: str, evidence: Evidence, tmp_path: Path
) -> None:
    """A folder where a file should be stands for all that the system refuses to open."""
    if name != "journal.db":
        shutil.copy(evidence.file, tmp_path / "journal.db")
    (tmp_path / name).mkdir()
    found = verifier.verify(tmp_path)
    assert found[0] == verifier.INCOMPLETE
    assert len(found[1].splitlines()) == 1


def test_a_log_that_was_left_behind_is_read_and_left(long: Path, tmp_path: Path) -> None:
    """What a killed service leaves is verified as it is, with all that it had committed."""
    copy, files = tmp_path / "copy", ("journal.db", "journal.db-wal")
    copy.mkdir()
    erase(long, 3, lambda: [shutil.copy(long / file, copy / file) for file in files])
    before = [(copy / file).read_bytes() for file in files]
    assert before[1]
    assert verifier.verify(copy)[3] == [3]
    assert [(copy / file).read_bytes() for file in files] == before
