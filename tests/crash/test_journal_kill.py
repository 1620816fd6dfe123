"""Kill a process that appends, at random moments, and audit what it leaves.

The appender is this file, run as a program: it prints a line for each commit only after it was
acknowledged. The ledger of those lines lives in the test, outside the process that is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from refold.journal import sqlite_store
from refold.journal.envelope import NO_LEAF, Recorded, leaf_hash, payload_commitment
from refold.journal.errors import JournalError
from refold.journal.journal import Appended, Commit, Metadata, NewEvent, StreamWrite
from refold.journal.sqlite_file import open_writer
from refold.journal.sqlite_reader import Reader
from refold.journal.sqlite_store import SqliteJournal
from tests.support.journal_kit import NEW_IDS, opened, started

KILLS = {"dev": 5, "ci": 10, "full": 300}
TASKS = 16
ROOT = Path(__file__).parents[2]


class Line(msgspec.Struct, frozen=True):
    """One acknowledged event."""

    stream: str
    version: int
    position: int
    id: str


class _Entry(msgspec.Struct, frozen=True):
    prev: str


def ledger_of(printed: Iterable[bytes]) -> list[Line]:
    """Read the whole lines that a process managed to print."""
    return [msgspec.json.decode(line, type=Line) for line in printed if line.endswith(b"\n")]


def acknowledged_before_death(
    pipe: IO[bytes], wanted: int, process: subprocess.Popen[bytes]
) -> list[bytes]:
    """Read so many lines, kill the process, and read what it had still printed."""
    lines: list[bytes] = []
    while len(lines) < wanted and (line := pipe.readline()):
        lines.append(line)
    process.kill()
    return lines + pipe.readlines()


def killed(directory: Path, choice: random.Random, fault: str) -> list[Line]:
    """Run the appender, kill it at a random moment, and return what it acknowledged."""
    with subprocess.Popen(
        [sys.executable, __file__, str(directory), fault, str(choice.randrange(2**32))],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        # Now and then in the middle of opening and recovering, mostly under load.
        wanted = choice.choice([0, 1, choice.randrange(50), choice.randrange(5000)])
        return ledger_of(acknowledged_before_death(process.stdout, wanted, process))


def audit(directory: Path, ledger: list[Line]) -> list[str]:
    """Open what is left and say everything that is wrong with it."""
    # With the store's own opening: its recovery and its checks are part of what is tested.
    try:
        asyncio.run(_reopen(directory))
    except JournalError as error:
        return [f"it does not open: {error}"]
    connection = open_writer(directory / "journal.db")
    try:
        rows = connection.execute("SELECT position, entry, leaf FROM event ORDER BY position")
        entries = {position: (entry, leaf) for position, entry, leaf in rows}
        reader = Reader(connection)
        events = reader.page(0, len(entries))
        bodies = reader.bodies([event.position for event in events if event.body_at])
    finally:
        connection.close()
    wrong: list[str] = []
    stored = {(event.stream, event.version): event for event in events}
    for line in ledger:
        event = stored.get((line.stream, line.version))
        if event is None or event.id != line.id or line.position not in (0, event.position):
            wrong.append(f"acknowledged and lost: {line}")
    commits = Counter(event.corr for event in events[1:])
    for corr, count in commits.items():
        if count != int(corr.partition("/")[2]):
            wrong.append(f"a commit half there: {corr} has {count} events")
    heads: dict[str, tuple[int, str]] = {}
    for index, event in enumerate(events):
        entry, leaf = entries[event.position]
        version, prev = heads.get(event.stream, (0, NO_LEAF))
        if event.position != index + 1 or event.version != version + 1:
            wrong.append(f"a hole before position {event.position}, {event.stream} {event.version}")
        if leaf_hash(entry) != leaf or msgspec.json.decode(entry, type=_Entry).prev != prev:
            wrong.append(f"position {event.position} does not follow its stream")
        heads[event.stream] = event.version, event.leaf.hex()
        wrong.extend(_wrong_body(event, bodies))
    return wrong


def _wrong_body(event: Recorded, bodies: dict[int, Any]) -> list[str]:
    if not event.body_at:
        return []
    body = bodies.get(event.position)
    if body is None or payload_commitment(body.salt, body.data) != event.payload:
        return [f"position {event.position} has lost its body"]
    return []


async def _reopen(directory: Path) -> None:
    async with opened(directory):
        pass


def test_nothing_acknowledged_is_lost_and_nothing_half_there_after_a_kill(
    tmp_path: Path, seed: int
) -> None:
    """One journal, killed again and again: each time every acknowledged commit is there, whole."""
    print(f"seed {seed}")
    choice = random.Random(seed)
    ledger: list[Line] = []
    kills = KILLS[os.environ["REFOLD_TEST_PROFILE"]]
    for _ in range(kills):
        ledger += killed(tmp_path, choice, "none")
        assert audit(tmp_path, ledger) == []
    assert len(ledger) > kills, "the appender got to work"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("early", "acknowledged and lost"),
        # A row without its body is noticed by the opening itself.
        ("torn", r"a commit half there|does not open: .*the body at position \d+ is missing"),
    ],
)
def test_the_audit_catches_a_planted_fault(
    tmp_path: Path, seed: int, fault: str, sentence: str
) -> None:
    """A check that can't fail proves nothing: this appender answers too early, or tears commits."""
    choice = random.Random(seed)
    ledger: list[Line] = []
    wrong: list[str] = []
    for _ in range(20):
        ledger += killed(tmp_path, choice, fault)
        wrong = audit(tmp_path, ledger)
        if wrong:
            break
    assert any(re.search(sentence, line) for line in wrong), wrong


class TornConnection:
    """A connection that forgets to make a transaction, so that every row is a commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the real one does."""
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """Leave out the beginning and the end of a transaction."""
        if statement in ("BEGIN IMMEDIATE", "COMMIT"):
            return self._connection.cursor()
        return self._connection.execute(statement, *parameters)


def torn(path: Path) -> Any:
    """Open the writer's connection as the store does, without its transactions."""
    return TornConnection(open_writer(path))


def acknowledge(line: Line) -> None:
    """Print one line at once, in one piece."""
    os.write(1, msgspec.json.encode(line) + b"\n")


async def append_for_ever(
    journal: SqliteJournal, task: int, choice: random.Random, early: bool
) -> None:
    """Append commits of one to three streams, and print each event when it is acknowledged."""
    streams = {f"{NEW_IDS.new()}-{task}-{n}": 0 for n in range(3)}
    while True:
        chosen = choice.sample(sorted(streams), choice.randint(1, 3))
        counts = [choice.randint(1, 4) for _ in chosen]
        meta = Metadata("acme", "", f"{NEW_IDS.new()}/{sum(counts)}")
        writes = [
            StreamWrite(stream, streams[stream], [event(choice) for _ in range(count)], meta)
            for stream, count in zip(chosen, counts, strict=True)
        ]
        if early:
            for made in writes:
                for index, new in enumerate(made.events):
                    acknowledge(Line(made.stream, made.expected_version + index + 1, 0, new.id))
        answer: Appended = await journal.append(Commit(writes), patient=True)
        for stream, count in zip(chosen, counts, strict=True):
            streams[stream] += count
        for event_ in answer.events:
            acknowledge(Line(event_.stream, event_.version, event_.position, event_.id))


def event(choice: random.Random) -> NewEvent:
    """Make an event, every other one with a body of some size."""
    return started(choice.randbytes(choice.randrange(2000)) if choice.random() < 0.5 else None)


async def main(directory: Path, fault: str, choice: random.Random) -> None:
    """Append from many tasks until somebody kills this process."""
    if fault == "torn":
        name = "open_writer"
        setattr(sqlite_store, name, torn)
    async with opened(directory) as journal, asyncio.TaskGroup() as tasks:
        for task in range(TASKS):
            tasks.create_task(append_for_ever(journal, task, choice, fault == "early"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], random.Random(int(sys.argv[3]))))
