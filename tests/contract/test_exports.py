"""What `refold export` writes: exact copies, selections, and nobody's secrets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE, open_reader
from refold.journal.verified import read_verified
from refold.projections.exports.export import Export, export
from refold.projections.exports.formats import FORMATS
from refold.projections.exports.plan import Selection
from tests.support import export_kit as kit
from tests.support.export_bulk import fill_plain
from tests.support.export_files import ALL, STREAMED, command, has, lines, made
from tests.support.journal_kit import META, NEW_IDS, opened, raw, started
from tests.support.views_kit import change

INSTALLED = [name for name in FORMATS if name != "parquet"]
SCHEMA = Path(__file__).parents[2] / "journal" / "schema.sql"


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, kit.Lives]:
    """A directory with the journal of everything, which no test changes."""
    directory = tmp_path_factory.mktemp("rich")
    return directory, asyncio.run(kit.write_rich(directory))


def test_ndjson_holds_the_exact_bytes_and_what_proves_the_bodies(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """Whoever has the file can compute every hash again without Refold."""
    data, lives = rich
    title, *events = lines(made(data, "ndjson", tmp_path))
    stored = kit.entries_of(data)
    assert title == {
        "copy_of": "journal",
        "format": 1,
        "journal": json.loads(stored[0][1])["journal"],
        "first": 1,
        "up_to": len(stored),
    }
    assert len(events) == len(stored)
    proved = 0
    for line, (position, entry, leaf, body_at) in zip(events, stored, strict=True):
        assert (line["position"], line["entry"].encode()) == (position, entry)
        assert line["leaf"] == hashlib.sha256(b"\0" + entry).hexdigest() == leaf.hex()
        assert line.get("body_at", 0) == body_at
        payload = json.loads(entry)["payload"]
        if "body" in line:
            salt, body = base64.b64decode(line["salt"]), base64.b64decode(line["body"])
            assert hashlib.sha256(b"refold/payload/v1\0" + salt + body).hexdigest() == payload
            assert body_at == position
            proved += 1
        elif payload:
            assert "erased_by" in line or body_at < position
    assert proved == len({body_at for *_, body_at in stored} - {0}) - 1
    erased = [line["position"] for line in events if line.get("erased_by") == len(stored)]
    assert erased[0] == lives.erased_at
    assert len(erased) == 2, "the event, and the one that replays it"


def test_a_journal_can_be_made_again_from_ndjson(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """It is the copy that outlives the service: entries, bodies and erasures, all of them."""
    data, _ = rich
    _, *events = lines(made(data, "ndjson", tmp_path))
    with raw(data / JOURNAL_FILE) as old, raw(tmp_path / "copy.db") as new:
        new.executescript(SCHEMA.read_text("utf-8"))
        for pragma in ("application_id", "user_version"):
            (number,) = old.execute(f"PRAGMA {pragma}").fetchone()
            new.execute(f"PRAGMA {pragma} = {number}")
        for line in events:
            remake(new, line)
        for line in events:
            # What says that a body is erased stands behind it.
            if "erased_by" in line and line["body_at"] == line["position"]:
                row = (line["position"], line["erased_by"])
                new.execute("INSERT INTO erasure VALUES (?, ?)", row)
        for table in ("event", "body", "erasure"):
            # Of an erased body the store keeps a row of zeros.
            kept = "WHERE position NOT IN (SELECT position FROM erasure)" * (table == "body")
            statement = f"SELECT * FROM {table} {kept} ORDER BY position"
            assert new.execute(statement).fetchall() == old.execute(statement).fetchall(), table
    with closing(open_reader(tmp_path / "copy.db")) as copy:
        streams = {json.loads(line["entry"])["stream"] for line in events}
        assert sum(len(list(read_verified(copy, stream))) for stream in streams) == len(events)


def remake(connection: sqlite3.Connection, line: dict[str, Any]) -> None:
    """Put what a line of NDJSON says into the tables of a journal."""
    text = line["entry"].encode()
    entry, position = json.loads(text), line["position"]
    if position == 1:
        made_at = entry["at"]
        connection.execute("INSERT INTO journal VALUES (1, ?, 1, ?)", (entry["journal"], made_at))
    connection.execute(
        "INSERT INTO event (position, stream, version, at, entry, leaf, body_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            position,
            entry["stream"],
            entry["version"],
            entry["at"],
            text,
            bytes.fromhex(line["leaf"]),
            line.get("body_at", 0),
        ),
    )
    if "body" in line:
        parts = [base64.b64decode(line[part]) for part in ("salt", "body")]
        row = (position, parts[0], line.get("subject"), parts[1])
        connection.execute("INSERT INTO body VALUES (?, ?, ?, ?)", row)


@pytest.mark.parametrize("name", list(FORMATS))
def test_two_exports_up_to_a_position_are_the_same_bytes_whatever_came_after(
    name: str, tmp_path: Path
) -> None:
    """Auditors compare digests, and the journal does not stand still for them."""
    has(name)
    asyncio.run(kit.write_rich(tmp_path))
    before = export(tmp_path, name, tmp_path / "first", ALL)
    assert before.digest == hashlib.sha256((tmp_path / "first").read_bytes()).hexdigest()

    async def go_on() -> None:
        async with opened(tmp_path) as journal:
            late = [NewEvent(NEW_IDS.new(), started().facts, b"{}") for _ in range(20)]
            writes = [StreamWrite(f"fl_run_{'z' * 26}", 0, late, META)]
            await journal.append(Commit(writes))

    asyncio.run(go_on())
    after = export(tmp_path, name, tmp_path / "second", ALL, before.up_to)
    assert (after.digest, after.events, after.erased) == (before.digest, before.events, 2)
    assert export(tmp_path, name, tmp_path / "third", ALL).events == before.events + 20


def test_a_selection_holds_its_events_and_no_others(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """A tenant's copy must not show another tenant, a run's copy nothing but the run."""
    data, lives = rich
    heads = [json.loads(entry) for _, entry, *_ in kit.entries_of(data)]

    def positions(selection: Selection, up_to: int | None = None) -> list[int]:
        content = made(data, "ndjson", tmp_path, selection, up_to)
        return [line["position"] for line in lines(content)[1:]]

    def where(condition: Callable[[dict[str, Any]], bool]) -> list[int]:
        return [place for place, head in enumerate(heads, start=1) if condition(head)]

    of_tenant = where(lambda head: head["tenant"] == kit.OTHER_TENANT)
    assert len(of_tenant) == 5
    assert positions(Selection(tenant=kit.OTHER_TENANT)) == of_tenant
    assert positions(Selection(run=lives.parent)) == where(lambda h: h["stream"] == lives.parent)
    family = {kit.CHILD_WORKFLOW, lives.child, lives.loose}
    of_family = where(lambda head: head["stream"] in family)
    assert positions(Selection(workflow=kit.CHILD_WORKFLOW)) == of_family
    assert positions(Selection(first=10), 12) == [10, 11, 12]
    assert positions(Selection(first=10, workflow=kit.CHILD_WORKFLOW), of_family[2]) == [
        place for place in of_family[:3] if place >= 10
    ]
    assert positions(Selection(run=lives.parent, tenant=kit.OTHER_TENANT)) == []


def test_a_process_is_in_every_range_that_it_goes_on_in_and_whole(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """Half a trace is a process that never was."""
    data, lives = rich
    runs = [event for event in kit.recorded(data) if event.stream.startswith("fl_run_")]
    middle = next(event.position for event in runs if event.stream == lives.parent) + 3
    shown = made(data, "xes", tmp_path, Selection(first=middle)).decode()
    going_on = {event.stream for event in runs if event.position >= middle}
    assert lives.parent in going_on
    assert lives.failed not in going_on
    assert set(re.findall(r'<trace><string key="concept:name" value="([^"]+)"', shown)) == going_on
    assert shown.count("<event>") == sum(event.stream in going_on for event in runs)


def test_a_selection_carries_the_bodies_of_what_was_replayed_from_outside_of_it(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """Without the original's lines there would be nothing to prove a replayed payload by."""
    data, lives = rich
    _, *events = lines(made(data, "ndjson", tmp_path, Selection(run=lives.resumed)))
    replayed = [line for line in events if json.loads(line["entry"])["src"]]
    assert [("body" in line, "erased_by" in line) for line in replayed] == [
        (False, True),
        (True, False),
    ]
    assert base64.b64decode(replayed[1]["body"]) == kit.HOSTILE_BODY


@pytest.mark.parametrize("name", list(FORMATS))
def test_no_export_shows_what_is_erased_or_sealed_and_none_without_bodies_shows_a_person(
    name: str, rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """User data comes from bodies alone; ciphertext is in the complete copy alone."""
    has(name)
    data, _ = rich
    content = readable(name, made(data, name, tmp_path))
    assert b"canary-of-the-erased" not in content
    assert kit.ACTOR.encode() in content
    # The bodies that a span has are those of outcomes; who asked stands in others.
    assert kit.PERSON.encode() in content or name == "otlp"
    assert (b"canary-of-the-vault" in content) == (name == "ndjson")
    bare = readable(name, made(data, name, tmp_path, Selection(with_bodies=False)))
    assert kit.PERSON.encode() not in bare
    assert b"canary-of-the-vault" not in bare
    if name in ("ndjson", "cloudevents"):
        assert b"withheld" in bare


def readable(name: str, content: bytes) -> bytes:
    """Return a file with what it holds in base64 or compressed written out."""
    if name == "ndjson":
        said = [line for line in lines(content) if "body" in line]
        return content + b"".join(base64.b64decode(line["body"]) for line in said)
    if name == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        arrow = pytest.importorskip("pyarrow")
        return repr(parquet.read_table(arrow.BufferReader(content)).to_pylist()).encode()
    return content


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE event SET leaf = zeroblob(32) WHERE position = 30", "at position 30 was changed"),
        (
            "UPDATE body SET data = CAST('{}' AS BLOB) WHERE position = 13",
            "at position 13 has another body",
        ),
        ("DELETE FROM body WHERE position = 13", "at position 13 has lost its body"),
        ("DELETE FROM event WHERE position = 30", "position 31"),
        ("UPDATE journal SET id = 'another'", "belongs to another journal"),
    ],
)
def test_a_journal_that_was_edited_is_not_exported(
    name: str, statement: str, sentence: str, tmp_path: Path
) -> None:
    """A copy must not make a changed entry look like a good one."""
    asyncio.run(kit.write_rich(tmp_path))
    with raw(tmp_path / JOURNAL_FILE) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        dropped = "".join(f"DROP TRIGGER {trigger};" for (trigger,) in rows.fetchall())
    change(tmp_path, dropped + statement, JOURNAL_FILE)
    done = command(name, "--to", str(tmp_path / "file"), data=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("name", STREAMED)
def test_one_body_at_a_time_is_in_memory(name: str, tmp_path: Path) -> None:
    """A journal of large bodies is exported on a small machine."""

    async def fill() -> None:
        async with opened(tmp_path) as journal:
            book = kit.Book(journal)
            for number in range(30):
                run = kit.node_id(number, "fl_run_")
                await book.request(run)
                await book.succeed(run, "n", "webhook", body=b'"' + b"x" * 1_000_000 + b'"')

    asyncio.run(fill())
    tracemalloc.start()
    try:
        done = export(tmp_path, name, tmp_path / "file", ALL)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.size > 30_000_000
    assert peak < 15_000_000


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_journal_of_many_pages_is_exported_whole(name: str, tmp_path: Path) -> None:
    """What is read page by page must neither lose nor repeat an event between two of them."""
    has(name)

    async def fill() -> None:
        async with opened(tmp_path) as journal:
            await fill_plain(journal, 251)

    asyncio.run(fill())
    content = readable(name, made(tmp_path, name, tmp_path))
    done = export(tmp_path, name, tmp_path / "file", ALL)
    assert done.events == (2510 if name in ("xes", "otlp") else 2512)
    if name == "otlp":
        assert len(set(re.findall(rb'"spanId":"([0-9a-f]{16})","name"', content))) == 251 * 7
    elif name == "ocel-sqlite":
        with raw(tmp_path / "file") as log:
            assert log.execute("SELECT count(*) FROM event").fetchone() == (2512,)
            assert log.execute("SELECT count(*) FROM object").fetchone() == (251 * 7 + 9,)
    else:
        found = re.findall(rb"\b(?:01[0-9a-hjkmnp-tv-z]{24})\b", content)
        events = kit.recorded(tmp_path)
        shown = {event.id for event in events if event.stream.startswith("fl_run_")}
        assert shown <= {text.decode() for text in found}


def test_an_export_says_how_much_it_made(rich: tuple[Path, kit.Lives], tmp_path: Path) -> None:
    """Scripts compare the numbers with the journal's."""
    done = export(rich[0], "ndjson", tmp_path / "file", ALL)
    assert isinstance(done, Export)
    assert (done.events, done.erased, done.up_to, done.taken_up) == (75, 2, 75, 0)
    assert done.size == (tmp_path / "file").stat().st_size
