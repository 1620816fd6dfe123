"""Says which runs may be archived: ended long enough, and no other run still needs their bodies.

1. A run may go when its last event is older than the given time.
2. It stays, whole, while a run that may not go shows its bodies: a rerun or resume made of it, at
   any depth. So what an unfinished run will read, and what a younger fork shows, is always there.
3. A child stays while the run that started it has not ended, since that run reads its result.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from . import ids
from .envelope import decode_entry
from .events import RUN_ENDED, RunRequested

ENTRIES_MAX: Final = 50_000
BYTES_MAX: Final = 256 << 20
"""How much a segment holds, if it is not all of one run."""

# A run's id is its prefix and a ULID, so this range holds the runs and no other stream.
_RUNS: Final = (
    "SELECT stream, max(version) FROM event "
    f"WHERE stream > '{ids.RUN}' AND stream < '{ids.RUN[:-1]}`' GROUP BY stream"
)
_AT: Final = "SELECT position, entry, leaf, body_at FROM event WHERE stream = ? AND version = ?"
_BODIES: Final = (
    "SELECT count(*), coalesce(sum(length(data)), 0) FROM event JOIN body "
    "ON body.position = event.position WHERE stream = ? "
    "AND NOT EXISTS (SELECT 1 FROM erasure WHERE erasure.position = body.position) "
    "AND NOT EXISTS (SELECT 1 FROM archive WHERE archive.position = body.position)"
)

Tell = Callable[[str, int, int], None]
"""Hears of a step: its name, how much of it is done, and of how much."""


class Chosen(msgspec.Struct, frozen=True):
    """A run that is to be archived."""

    run: str
    position: int
    """Of its first event."""
    entries: int
    bodies: int
    """How many bodies of its own are in the database."""
    size: int
    """Their bytes."""


class _Run(msgspec.Struct, frozen=True):
    position: int
    entries: int
    ended_at: int
    """0 for a run that has not ended."""
    needs: tuple[str, ...]
    """The runs whose bodies it shows or has the payload of."""
    parent: str


class Runs:
    """The runs of a journal, and what each of them needs."""

    def __init__(self, connection: sqlite3.Connection, tell: Tell) -> None:
        self._connection = connection
        rows = connection.execute(_RUNS).fetchall()
        self._runs: dict[str, _Run] = {}
        for count, (stream, version) in enumerate(rows, 1):
            self._runs[stream] = self._read(stream, version)
            tell("look", count, len(rows))

    def movable(self, before_us: int) -> set[str]:
        """Return the runs that may be archived (the rules of this file)."""
        waiting = [name for name, run in self._runs.items() if not 0 < run.ended_at < before_us]
        waiting += [name for name, run in self._runs.items() if self._is_awaited(run)]
        staying: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in staying and name in self._runs:
                staying.add(name)
                waiting.extend(self._runs[name].needs)
        return self._runs.keys() - staying

    def chosen(self, before_us: int) -> list[Chosen]:
        """Return the runs that may go and still have bodies here, the oldest first."""
        found: list[Chosen] = []
        for name in self.movable(before_us):
            bodies, size = self._connection.execute(_BODIES, (name,)).fetchone()
            if bodies:
                run = self._runs[name]
                found.append(Chosen(name, run.position, run.entries, bodies, size))
        return sorted(found, key=lambda one: one.position)

    def _is_awaited(self, run: _Run) -> bool:
        return run.parent in self._runs and not self._runs[run.parent].ended_at

    def _read(self, stream: str, version: int) -> _Run:
        first = decode_entry(*self._connection.execute(_AT, (stream, 1)).fetchone())
        last = decode_entry(*self._connection.execute(_AT, (stream, version)).fetchone())
        ended_at = last.at if last.facts.type in RUN_ENDED else 0
        if not isinstance(first.facts, RunRequested):
            # What begins otherwise is no run that this version knows: it stays.
            return _Run(first.position, version, 0, (), "")
        needs = tuple({first.facts.original_run, first.facts.payload_run} - {""})
        return _Run(first.position, version, ended_at, needs, first.facts.parent_run)


def parts(chosen: Sequence[Chosen]) -> Iterator[list[Chosen]]:
    """Share runs out among segments."""
    part: list[Chosen] = []
    entries = size = 0
    for one in chosen:
        if part and (entries + one.entries > ENTRIES_MAX or size + one.size > BYTES_MAX):
            yield part
            part, entries, size = [], 0, 0
        part.append(one)
        entries, size = entries + one.entries, size + one.size
    if part:
        yield part
