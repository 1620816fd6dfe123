"""Two stores, one behaviour: a rule machine drives both side by side and they never differ.

Salts are random and go into commitments, leaves and `prev`, so these differ: the commitments are
checked against the bodies, and each reopening follows the chain on disk. All else is compared.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from refold.journal import events as e
from refold.journal.envelope import Recorded, payload_commitment, source
from refold.journal.errors import JournalError
from refold.journal.journal import (
    REQUEST_LIFE_US,
    Appended,
    Commit,
    Journal,
    Metadata,
    NewEvent,
    RequestKey,
    StreamWrite,
)
from refold.journal.memory_store import MemoryJournal
from refold.journal.sqlite_store import SqliteJournal
from tests.support.journal_kit import (
    NEW_IDS,
    FakeClock,
    commit,
    completed,
    opened,
    requested,
    started,
    write,
)

pytestmark = pytest.mark.timeout(1800)
T = TypeVar("T")
META_OF_SYS = Metadata(tenant="", actor="", corr="")
STREAMS = st.sampled_from(["fl_run_a", "fl_run_b", "fl_w", "sys"])
RESOURCES = st.sampled_from(["fl_w", "fl_v"])
KINDS = st.sampled_from(["requested", "completed", "started", "body", "replayed"])
REQUESTS = st.none() | st.builds(
    RequestKey, st.sampled_from(["s", "t"]), st.sampled_from(["k", "l"]), st.sampled_from("12")
)


def seen(event: Recorded) -> tuple[object, ...]:
    """Return what the two stores must agree on."""
    return (
        event.position,
        event.body_at,
        event.stream,
        event.version,
        event.id,
        event.at,
        event.tenant,
        event.corr,
        event.facts,
        event.src.partition("#")[0],
        bool(event.payload),
    )


class TwoJournals(RuleBasedStateMachine):
    """Does the same to both stores and compares every answer."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.told: tuple[list[Any], list[Any]] = ([], [])
        self.commits: list[tuple[Commit, Commit]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something on the machine's own loop."""
        return self.runner.run(work)

    @initialize()
    def open_both(self) -> None:
        """Begin with the same first event in both."""
        self.open_sqlite()
        (first,) = self.run(self.sqlite.read_all())
        self.memory = MemoryJournal(self.sqlite.id, self.clock, lambda: os.urandom(32))
        self.run(
            self.memory.append(
                Commit([StreamWrite("sys", 0, [NewEvent(first.id, first.facts)], META_OF_SYS)])
            )
        )
        self.memory.subscribe(lambda events: self.told[0].extend(map(seen, events)))

    def open_sqlite(self) -> None:
        """Open the store on disk and listen to it."""
        self.opening: AbstractAsyncContextManager[SqliteJournal] = opened(
            self.directory, self.clock
        )
        self.sqlite = self.run(self.opening.__aenter__())
        self.sqlite.subscribe(lambda events: self.told[1].extend(map(seen, events)))

    def teardown(self) -> None:
        """Leave no connection, loop or file behind."""
        if hasattr(self, "opening"):
            self.run(self.opening.__aexit__(None, None, None))
        self.runner.close()
        shutil.rmtree(self.directory)

    def both(self, commits: Sequence[tuple[Commit, Commit]]) -> None:
        """Append to both, all at once, and compare what came of it."""

        async def append(journal: Journal, which: int) -> list[object]:
            answers = await asyncio.gather(
                *(journal.append(pair[which]) for pair in commits), return_exceptions=True
            )
            return [self.shown(answer) for answer in answers]

        assert self.run(append(self.memory, 0)) == self.run(append(self.sqlite, 1))
        assert self.memory.head == self.sqlite.head

    @staticmethod
    def shown(answer: object) -> object:
        """Return what a caller learns from an answer."""
        if isinstance(answer, Appended):
            return answer.repeated, [seen(event) for event in answer.events]
        assert isinstance(answer, JournalError), repr(answer)
        return type(answer), str(answer)

    def event(self, kind: str, index: int) -> tuple[NewEvent, NewEvent]:
        """Make the same event for both stores; a replayed one differs in its commitment."""
        if kind == "requested":
            new = requested(["fl_w", "fl_v"][index % 2])
        elif kind == "completed":
            new = completed()
        elif kind == "replayed":
            return self.replayed(index)
        else:
            new = started(b"body" if kind == "body" else None)
        return new, new

    def replayed(self, index: int) -> tuple[NewEvent, NewEvent]:
        """Copy an event that is already there."""
        id_ = NEW_IDS.new()
        made: list[NewEvent] = []
        for journal in (self.memory, self.sqlite):
            position = index % self.memory.head
            (origin,) = self.run(journal.read_all(position, 1))
            made.append(
                NewEvent(
                    id_,
                    started().facts,
                    src=source(origin),
                    payload=origin.payload,
                    body_at=origin.body_at,
                )
            )
        return made[0], made[1]

    def drawn(self, data: st.DataObject) -> tuple[Commit, Commit]:
        """Draw a commit: mostly at the right versions, sometimes at wrong ones."""
        streams = data.draw(st.lists(STREAMS, min_size=1, max_size=3, unique=True))
        writes: tuple[list[StreamWrite], list[StreamWrite]] = ([], [])
        for stream in streams:
            version = len(self.run(self.memory.read_stream(stream)))
            expected = version + data.draw(st.sampled_from([0, 0, 0, 0, -1, 1]))
            kinds = data.draw(
                st.lists(st.tuples(KINDS, st.integers(0, 50)), min_size=1, max_size=3)
            )
            pairs = [self.event(kind, index) for kind, index in kinds]
            for which in (0, 1):
                writes[which].append(write(stream, expected, *(pair[which] for pair in pairs)))
        request = data.draw(REQUESTS)
        guard = data.draw(st.none() | STREAMS)
        guards = []
        if guard is not None:
            there = len(self.run(self.memory.read_stream(guard)))
            guards = [(guard, there + data.draw(st.sampled_from([0, 0, 1])))]
        unused = data.draw(st.sampled_from([[], [], [], ["fl_w"], ["fl_v", "fl_w"]]))
        return (
            commit(*writes[0], request=request, guards=guards, unused=unused),
            commit(*writes[1], request=request, guards=guards, unused=unused),
        )

    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        """One commit at a time."""
        pair = self.drawn(data)
        self.commits.append(pair)
        self.both([pair])

    @rule(data=st.data(), count=st.integers(2, 5))
    def append_many_at_once(self, data: st.DataObject, count: int) -> None:
        """A group of commits that were decided on the same state."""
        pairs = [self.drawn(data) for _ in range(count)]
        self.commits.extend(pairs)
        self.both(pairs)

    @rule(index=st.integers(0, 1000), late=st.sampled_from([0, 0, 0, 1]), alone=st.booleans())
    def erase(self, index: int, late: int, alone: bool) -> None:
        """A body goes, if one is there; refusals are the same as well."""
        position = 1 + index % self.memory.head
        (event,) = self.run(self.memory.read_all(position - 1, 1))
        facts = e.PayloadErased(positions=str(position), reason="asked", target=event.stream)
        version = len(self.run(self.memory.read_stream("sys"))) + late
        meta = Metadata(tenant=event.tenant, actor="", corr="")
        writes = [StreamWrite("sys", version, [NewEvent(NEW_IDS.new(), facts)], meta)]
        if not alone:
            writes.insert(0, write("fl_w", len(self.run(self.memory.read_stream("fl_w")))))
        made = Commit(writes, erased=[position])
        self.commits.append((made, made))
        self.both([(made, made)])

    @precondition(lambda self: self.commits)
    @rule(index=st.integers(0, 1000))
    def repeat(self, index: int) -> None:
        """A caller that doesn't know what became of its commit."""
        self.both([self.commits[index % len(self.commits)]])

    @rule(step=st.sampled_from([1, 1_000_000, -1_000_000, REQUEST_LIFE_US - 1, REQUEST_LIFE_US]))
    def move_the_clock(self, step: int) -> None:
        """Time passes, or is set back."""
        self.clock.time_us += step

    @rule()
    def reopen(self) -> None:
        """A restart forgets every cache and no event."""
        self.run(self.opening.__aexit__(None, None, None))
        self.open_sqlite()

    @rule(after=st.integers(0, 30), limit=st.integers(1, 10), stream=STREAMS)
    def read(self, after: int, limit: int, stream: str) -> None:
        """Any page of anything."""
        pages = [
            (
                [seen(event) for event in self.run(journal.read_all(after, limit))],
                [seen(event) for event in self.run(journal.read_stream(stream, after, limit))],
                {p: b.data for p, b in self.run(journal.read_bodies(range(after, 40))).items()},
            )
            for journal in (self.memory, self.sqlite)
        ]
        assert pages[0] == pages[1]

    @invariant()
    def the_same_is_told_and_held(self) -> None:
        """Subscribers and holds never differ."""
        if hasattr(self, "memory"):
            assert self.told[0] == self.told[1]
            assert self.run(self.memory.holds()) == self.run(self.sqlite.holds())

    @precondition(lambda self: hasattr(self, "memory"))
    @rule()
    def both_are_whole(self) -> None:
        """Positions, versions and times are in order, and bodies are those committed to."""
        for journal in (self.memory, self.sqlite):
            events = self.run(journal.read_all(0, 100_000))
            assert [event.position for event in events] == list(range(1, journal.head + 1))
            assert [event.at for event in events] == sorted(event.at for event in events)
            bodies = self.run(journal.read_bodies([event.body_at for event in events]))
            versions: dict[str, int] = {}
            erased = {
                int(at)
                for event in events
                if isinstance(event.facts, e.PayloadErased)
                for at in event.facts.positions.split()
            }
            assert not erased & set(bodies)
            for event in events:
                assert event.version == versions.get(event.stream, 0) + 1
                versions[event.stream] = event.version
                if event.body_at and event.body_at not in erased:
                    body = bodies[event.body_at]
                    assert payload_commitment(body.salt, body.data) == event.payload


TestTwoJournals = TwoJournals.TestCase
# Every step waits for the disk, so there are fewer examples than elsewhere.
TestTwoJournals.settings = settings(max_examples=max(20, settings().max_examples // 5))
