"""Scrubbing: what deleted rows leave in a file that SQLite has rearranged is gone after it."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from refold.projections.scrubbing import acquit, is_owed, owe, scrub
from refold.projections.views_file import connect
from refold.projections.views_file import remove as remove_file
from tests.support.erasure_kit import traces


def fill(path: Path, dice: random.Random) -> tuple[dict[int, str], dict[int, str]]:
    """Make a file of rows and words, and delete most of them; returns what went and what stays."""
    texts = {n: dice.randbytes(dice.choice((20, 60, 300))).hex() for n in range(2000)}
    order = dice.sample(sorted(texts), len(texts))
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE held (k INTEGER PRIMARY KEY, v TEXT NOT NULL) STRICT")
        connection.execute("CREATE INDEX held_v ON held (v)")
        connection.execute("CREATE VIRTUAL TABLE said USING fts5(words, columnsize = 0)")
        for start in range(0, len(order), 50):
            connection.execute("BEGIN")
            some = [(n, texts[n]) for n in order[start : start + 50]]
            connection.executemany("INSERT INTO held VALUES (?, ?)", some)
            connection.executemany("INSERT INTO said (rowid, words) VALUES (?, ?)", some)
            connection.execute("COMMIT")
        gone = dice.sample(order, 1800)
        for start in range(0, len(gone), 50):
            connection.execute("BEGIN")
            keys = [(n,) for n in gone[start : start + 50]]
            connection.executemany("DELETE FROM held WHERE k = ?", keys)
            connection.executemany("DELETE FROM said WHERE rowid = ?", keys)
            connection.execute("COMMIT")
        # Rows only, so that what is left in their pages is told from what the index keeps.
        connection.execute("INSERT INTO said (said) VALUES ('optimize')")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {n: texts[n] for n in gone}, {n: texts[n] for n in texts if n not in set(gone)}


def test_nothing_of_deleted_rows_is_left_and_the_others_are(tmp_path: Path) -> None:
    """`secure_delete` alone does not reach what was moved; a search that finds nothing can."""
    path = tmp_path / "views.some.db"
    path.touch()
    gone, kept = fill(path, random.Random(1))
    assert traces(tmp_path, *gone.values())
    owe(path)
    assert is_owed(path)
    assert scrub(path)
    assert not is_owed(path)
    assert traces(tmp_path, *gone.values()) == {}
    with closing(connect(path)) as connection:
        assert dict(connection.execute("SELECT k, v FROM held")) == kept
        text = next(iter(kept.values()))
        found = connection.execute("SELECT words FROM said WHERE said MATCH ?", (f'"{text}"',))
        assert found.fetchall() == [(text,)]


def test_a_note_goes_with_the_file_and_can_be_taken_back(tmp_path: Path) -> None:
    """Nothing is owed for a file that is not there."""
    path = tmp_path / "views.some.db"
    path.touch()
    owe(path)
    acquit(path)
    assert not is_owed(path)
    owe(path)
    remove_file(path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_use_is_scrubbed_later(tmp_path: Path) -> None:
    """Whoever writes is not waited for without end, and the note stays."""
    path = tmp_path / "views.some.db"
    path.touch()
    owe(path)
    with closing(connect(path)) as connection, closing(connect(path)) as other:
        connection.execute("CREATE TABLE held (k INTEGER PRIMARY KEY) STRICT")
        other.execute("BEGIN IMMEDIATE")
        assert not scrub(path)
    assert is_owed(path)
