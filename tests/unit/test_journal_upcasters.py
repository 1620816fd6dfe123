"""Upcasters: facts and bodies of old schemas are read as today's, and newer ones by nobody.

No released schema has a successor yet, so these tests plant an older one: a `run.started` of
schema 0, in seconds, and before it one of schema -1 that called its limit otherwise.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.envelope import decode_entry, leaf_hash
from refold.journal.errors import CorruptStoreError, UnknownEventError
from refold.journal.facts import Facts
from refold.journal.journal import Commit, NewEvent, StreamWrite
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.journal.sqlite_store import open_journal
from refold.journal.upcasters import Decoders, Upcaster
from refold.projections.run_state import fold
from tests.support.journal_kit import KEY, META, NEW_IDS, FakeClock, opened, raw, requested
from tests.support.newer_events import append_entry

RUN = f"fl_run_{'0' * 26}"
WORKFLOW = f"fl_{'a' * 26}"


class Oldest(Facts, frozen=True):
    """What a run's start was in the beginning."""

    type = "run.started"
    schema = -1
    limit: int
    started_at: int


class Old(Facts, frozen=True):
    """What it was then."""

    type = "run.started"
    schema = 0
    limit_s: int
    started_at: int


def old_of(facts: Oldest) -> Old:
    """Name the unit."""
    return Old(limit_s=facts.limit, started_at=facts.started_at)


def present_of(facts: Old) -> e.RunStarted:
    """Count in microseconds."""
    return e.RunStarted(limit_us=facts.limit_s * 1_000_000, started_at=facts.started_at)


def upper(body: bytes) -> bytes:
    """Let the body's one value be in capitals."""
    return msgspec.json.encode({"x": msgspec.json.decode(body)["x"].upper()})


CHAIN = (Upcaster(Oldest, old_of), Upcaster(Old, present_of, upper))
DECODERS = Decoders(e.CATALOGUE, CHAIN)


def entry_of(schema: int, facts: str, type_: str = "run.started") -> bytes:
    """Make the bytes of an entry."""
    text = (
        f'{{"actor":"","at":5,"cause":"","corr":"","facts":{facts},"id":"i","journal":"j",'
        f'"payload":"","prev":"{"0" * 64}","schema":{schema},"src":"","stream":"{RUN}",'
        f'"tenant":"acme","type":"{type_}","v":1,"version":1}}'
    )
    return text.encode()


@pytest.mark.parametrize(
    ("schema", "facts"),
    [
        (-1, '{"limit":60,"started_at":7}'),
        (0, '{"limit_s":60,"started_at":7}'),
        (1, '{"limit_us":60000000,"started_at":7}'),
    ],
)
def test_each_schema_is_read_as_the_present_one(schema: int, facts: str) -> None:
    """One step or two; the leaf stays the one of the bytes as they stand."""
    entry = entry_of(schema, facts)
    event = decode_entry(9, entry, leaf_hash(entry), 0, DECODERS)
    assert event.facts == e.RunStarted(limit_us=60_000_000, started_at=7)
    assert event.leaf == leaf_hash(entry)


@pytest.mark.parametrize(
    "facts",
    ['{"limit_s":60}', '{"limit_s":"60","started_at":7}', '{"limit_s":60,"started_at":7,"z":1}'],
)
def test_old_facts_are_read_as_strictly_as_they_were(facts: str) -> None:
    """A fact that the old schema doesn't know must not be dropped on the way either."""
    with pytest.raises(CorruptStoreError, match="the entry at position 9 is unreadable"):
        decode_entry(9, entry_of(0, facts), bytes(32), 0, DECODERS)


@pytest.mark.parametrize(
    ("schema", "type_", "known"),
    [(2, "run.started", "schemas up to 1 are"), (1, "run.paused", "nor any of that type")],
)
def test_what_is_newer_is_named_with_its_place_and_what_to_do(
    schema: int, type_: str, known: str
) -> None:
    """An operator reads type, schema and position, and that nothing was lost."""
    with pytest.raises(UnknownEventError) as caught:
        decode_entry(9, entry_of(schema, "{}", type_), bytes(32), 0, DECODERS)
    error = caught.value
    assert (error.code, error.type, error.schema, error.position) == (
        "unknown_event",
        type_,
        schema,
        9,
    )
    assert str(error) == (
        f"the event at position 9 is newer than this version: no event '{type_}' of schema "
        f"{schema} is known ({known}); upgrade Refold to go on, nothing was skipped"
    )
    with pytest.raises(UnknownEventError, match=r"^the event at position 9 is newer"):
        DECODERS.body((type_, schema), b"{}", 9)


def test_bodies_follow_the_same_chain() -> None:
    """A step that has nothing to do with bodies leaves them as they are."""
    assert DECODERS.body(("run.started", -1), b'{"x":"a"}', 9) == b'{"x":"A"}'
    assert DECODERS.body(("run.started", 0), b'{"x":"a"}', 9) == b'{"x":"A"}'
    assert DECODERS.body(("run.started", 1), b'{"x":"a"}', 9) == b'{"x":"a"}'
    with pytest.raises(CorruptStoreError, match="the body at position 9 is unreadable"):
        DECODERS.body(("run.started", 0), b"{", 9)


@pytest.mark.parametrize(
    ("upcasters", "sentence"),
    [
        ((*CHAIN, CHAIN[0]), "two upcasters start from the same schema"),
        ((CHAIN[0],), "no chain leads from run.started of schema -1 to the present"),
        ((Upcaster(e.RunStarted, present_of),), "no chain leads from run.started of schema 1"),
    ],
)
def test_a_broken_chain_is_seen_when_the_program_starts(
    upcasters: tuple[Upcaster, ...], sentence: str
) -> None:
    """Not when the first old event comes by."""
    with pytest.raises(ValueError, match=sentence):
        Decoders(e.CATALOGUE, upcasters)
    with pytest.raises(ValueError, match=r"two structs are the present form of run\.started"):
        Decoders([e.RunStarted, Old])


def test_the_present_structs_are_read_without_a_detour() -> None:
    """Old schemas cost nobody anything who has none: their table is asked for nothing."""
    assert not e.DECODERS.rewrites_bodies
    assert DECODERS.rewrites_bodies
    assert e.DECODERS.present == frozenset(e.CATALOGUE)


def test_a_journal_with_old_events_is_served_and_its_bytes_stay(tmp_path: Path) -> None:
    """The store gives events and bodies in their present form, a replayed one's body too."""

    async def main() -> None:
        clock = FakeClock()
        async with opened(tmp_path, clock) as journal:
            write = StreamWrite(RUN, 0, [requested(WORKFLOW)], META)
            await journal.append(Commit([write]))
        with raw(tmp_path / JOURNAL_FILE) as connection:
            facts = b'{"limit_s":60,"started_at":7}'
            append_entry(connection, RUN, "run.started", 0, facts, b'{"x":"a"}')
            before = connection.execute("SELECT entry, leaf FROM event").fetchall()
            stored = connection.execute("SELECT data FROM body").fetchall()
        async with open_journal(tmp_path, KEY, clock, decoders=DECODERS) as journal:
            events = await journal.read_stream(RUN)
            assert fold(RUN, events).limit_us == 60_000_000
            assert (await journal.read_all(2))[0].facts == events[1].facts
            bodies = await journal.read_bodies([3])
            assert {at: body.data for at, body in bodies.items()} == {3: b'{"x":"A"}'}
            # What replays it is of the present schema, and shows the body of the old one.
            old = events[1]
            src = f"{old.stream}@{old.version}#{old.leaf.hex()}"
            again = NewEvent(NEW_IDS.new(), old.facts, None, None, src, old.payload, old.body_at)
            made = await journal.append(Commit([StreamWrite(f"{RUN[:-1]}1", 0, [again], META)]))
            assert made.events[0].body_at == 3
            assert (await journal.read_bodies([3]))[3].data == b'{"x":"A"}'
        with raw(tmp_path / JOURNAL_FILE) as connection:
            assert connection.execute("SELECT entry, leaf FROM event LIMIT 3").fetchall() == before
            assert connection.execute("SELECT data FROM body").fetchall() == stored
        # Without the chain the same event is one that nobody knows.
        async with opened(tmp_path, clock) as journal:
            with pytest.raises(UnknownEventError, match="the event at position 3 is newer"):
                await journal.read_stream(RUN)
            assert len(await journal.read_stream(f"{RUN[:-1]}1")) == 1

    asyncio.run(main())
