"""A journal with runs to archive, and the account of where each of its bodies is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from refold.journal import archive, segment_verifier, verifier
from refold.journal import events as e
from refold.journal.envelope import Recorded, source
from refold.journal.journal import Body, Journal, NewEvent
from refold.journal.sqlite_file import JOURNAL_FILE, open_reader
from refold.journal.sqlite_reader import Reader
from tests.support.evidence_kit import WORKFLOW, defined
from tests.support.journal_kit import (
    NEW_IDS,
    START_US,
    FakeClock,
    commit,
    completed,
    opened,
    raw,
    requested,
    started,
    write,
)

DAY_US = 86_400_000_000
LATER = START_US + 10 * DAY_US
"""After every run of the kit has ended."""
EVER = 2**62
"""After whatever is written once something was archived, which is at the present time."""


def run_id(number: int) -> str:
    """Return the id of a run."""
    return f"fl_run_01k8x0000000000000000{number:05d}"


def quiet(step: str, done: int, total: int) -> None:
    """Hear of a step and do nothing."""


def asked(body: bytes = b"{}", **facts: str) -> NewEvent:
    """Make the first event of a run; facts such as `original_run` say what it was made of."""
    event = requested(WORKFLOW)
    changed = msgspec.structs.replace(event.facts, **facts)
    return NewEvent(event.id, changed, None if facts.get("payload_run") else body)


async def add_run(
    journal: Journal,
    number: int,
    *,
    bodies: int = 3,
    ends: bool = True,
    original: Sequence[Recorded] = (),
    parent: str = "",
) -> list[Recorded]:
    """Write a run with some bodies of its own, and what it replays of another one."""
    facts = {"parent_run": parent}
    if original:
        facts |= {"original_run": original[0].stream, "payload_run": original[0].stream}
    copies = [
        NewEvent(NEW_IDS.new(), v.facts, src=source(v), payload=v.payload, body_at=v.body_at)
        for v in original[1:]
        if not isinstance(v.facts, e.RunCompleted)
    ]
    own = [
        started(hashlib.sha256(b"%d %d" % (number, i)).digest() * (1 + i % 7))
        for i in range(bodies)
    ]
    events = [asked(b'{"run":%d}' % number, **facts), *copies, *own]
    made = await journal.append(
        commit(write(run_id(number), 0, *events, *([completed()] if ends else [])))
    )
    return list(made.events)


def make_journal(directory: Path, runs: int = 6, bodies: int = 3) -> dict[int, Body]:
    """Fill a new directory with runs that have ended; return the bodies by position."""

    async def main() -> None:
        async with opened(directory, FakeClock()) as journal:
            await journal.append(commit(write(WORKFLOW, 0, defined())))
            for number in range(runs):
                await add_run(journal, number, bodies=bodies)

    directory.mkdir(exist_ok=True)
    asyncio.run(main())
    return bodies_of(directory)


def bodies_of(directory: Path) -> dict[int, Body]:
    """Read every body that the database has."""
    with closing(open_reader(directory / JOURNAL_FILE)) as connection:
        reader = Reader(connection)
        return reader.bodies(range(1, reader.head() + 1))


def archived(directory: Path, before_us: int = LATER, to: Path | None = None) -> archive.Archived:
    """Archive the runs that ended before a time."""
    return archive.archive(directory, to or directory / "segments", before_us, quiet)


def in_segments(directory: Path, folder: Path) -> dict[int, Body]:
    """Read the bodies that the journal says are in segments, out of the segments that it names."""
    found: dict[int, Body] = {}
    with closing(open_reader(directory / JOURNAL_FILE)) as connection:
        reader = Reader(connection)
        for position, name in reader.segments(range(1, reader.head() + 1)).items():
            held = segment_verifier.read_bodies(folder / name)[1][position]
            found[position] = Body(held[:32], held[32:])
    return found


def assert_nothing_lost(directory: Path, all_bodies: dict[int, Body], folder: Path) -> None:
    """See that each body is in the database or in the segment that the journal names."""
    here, there = bodies_of(directory), in_segments(directory, folder)
    assert not here.keys() & there.keys()
    assert here | there == all_bodies


def judged(directory: Path, segments: Path | None = None) -> verifier.Result:
    """Verify a data directory with its segments."""
    return segment_verifier.verify(directory, segments=segments)


def erase(directory: Path, stream: str, *positions: int) -> None:
    """Erase bodies of a stream, archived or not."""

    async def main() -> None:
        async with opened(directory) as journal:
            version = len(await journal.read_stream("sys", limit=100_000))
            facts = e.PayloadErased(
                positions=" ".join(map(str, positions)), reason="asked", target=stream
            )
            said = write("sys", version, NewEvent(NEW_IDS.new(), facts))
            whole = msgspec.structs.replace(commit(said), erased=positions)
            await journal.append(whole)

    asyncio.run(main())


def change(directory: Path, *statements: str) -> None:
    """Change a journal's file by hand, its triggers gone."""
    with raw(directory / JOURNAL_FILE) as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount, statement
