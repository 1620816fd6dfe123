"""The laws of the searches: they find what the bodies say, however the rows came to be."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import is_list, is_object
from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.journal.journal import LATEST
from refold.projections.applying import Applier
from refold.projections.generations import SCHEMA, create_generation, digest_of
from refold.projections.projection import GENERATION, Projection
from refold.projections.search_projections import (
    ERRORS,
    LOGS,
    ErrorSearch,
    LogSearch,
    PayloadSearch,
)
from refold.projections.search_views import Wanted, match_of, select_having, select_matched
from tests.support import projection_kit as kit

SEARCHES: list[Projection] = [ErrorSearch(), LogSearch(), PayloadSearch()]
HELD = {
    "search_errors": "SELECT position FROM error_text_1",
    "search_logs": "SELECT position FROM log_text_1",
    "search_payloads": "SELECT payload_at FROM payload_field_1",
}
"""Where the bodies stood that rows were copied from."""
WORDS = ("order", "Ordered", "café", "CAFE", "7", "x1", "not", "or", "Zürich", "日本")
TEXTS = st.lists(st.sampled_from((*WORDS, "a-b", "it's", '"', "*", "\0")), max_size=4).map(" ".join)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(-2, 2), TEXTS)
KEYS = st.sampled_from(("id", "name", "tags", "a.b"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


class Bodies:
    """The bodies of a history, as a journal would have them."""

    def __init__(self, events: Sequence[Recorded], draw: st.DrawFn) -> None:
        self.said: dict[int, Any] = {}
        """What each body says: an output, a payload, or a message."""
        self.left: dict[int, bytes] = {}
        for event in events:
            if event.body_at:
                self._add(event, draw)

    def _add(self, event: Recorded, draw: st.DrawFn) -> None:
        if isinstance(event.facts, e.RunRequested):
            said: Any = None if event.facts.payload_run else draw(st.dictionaries(KEYS, VALUES))
            body: Any = {"by": "me"} if said is None else {"by": "me", "payload": said}
        elif isinstance(event.facts, e.RunFailed | e.RunCancelled):
            said = draw(TEXTS)
            body = {"message": said}
        else:
            said = body = draw(VALUES)
        self.said[event.body_at] = said
        self.left[event.body_at] = msgspec.json.encode(body)

    def read(self, positions: Sequence[int]) -> dict[int, bytes]:
        """Read those that are still there."""
        return {at: self.left[at] for at in positions if at in self.left}


@st.composite
def told(draw: st.DrawFn) -> tuple[list[Recorded], Bodies]:
    """Draw a history and its bodies."""
    events = draw(kit.histories())
    return events, Bodies(events, draw)


@contextmanager
def rows_of(
    projection: Projection, groups: Sequence[Sequence[Recorded]], bodies: Bodies
) -> Generator[tuple[sqlite3.Connection, Applier]]:
    """Apply groups of events to a generation in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        create_generation(connection, projection, state="live")
        applier = Applier(connection, projection, 1, bodies=bodies.read)
        for group in groups:
            applier.apply(group)
        yield connection, applier


def forgetting(events: list[Recorded], gone: list[int], *, is_archive: bool) -> Recorded:
    """Make the event that takes bodies away, right after the others."""
    positions = " ".join(map(str, gone))
    facts: e.Facts = e.PayloadErased(positions=positions, reason="", target="")
    if is_archive:
        facts = e.SegmentArchived(digest="", name="", positions=positions)
    last = events[-1]
    return msgspec.structs.replace(
        last, position=last.position + 1, stream="sys", version=1, body_at=0, facts=facts
    )


@pytest.mark.parametrize("projection", SEARCHES, ids=lambda projection: projection.name)
@given(history=told(), cuts=st.lists(st.integers(0, 60)), data=st.data())
def test_live_one_pass_and_rebuilt_rows_have_one_digest(
    projection: Projection,
    history: tuple[list[Recorded], Bodies],
    cuts: list[int],
    data: st.DataObject,
) -> None:
    """Whatever groups the events came in, and whether bodies went before they were read."""
    events, bodies = history
    gone = data.draw(st.lists(st.sampled_from(sorted(bodies.said)), unique=True, max_size=10))
    whole = [*events, forgetting(events, gone, is_archive=data.draw(st.booleans()))]
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    groups = [whole[a:b] for a, b in pairwise(bounds)]
    late = data.draw(st.integers(0, len(groups)))
    with rows_of(projection, groups[:late], bodies) as (connection, applier):
        for position in gone:
            del bodies.left[position]
        for group in groups[late:]:
            applier.apply(group)
        if late == len(groups):
            # All of it was read before; what went is told at the end in any case.
            applier.apply(whole[-1:])
        live = digest_of(connection, projection, 1)
    with rows_of(projection, [whole], bodies) as (connection, _):
        assert digest_of(connection, projection, 1) == live
        held = {row[0] for row in connection.execute(HELD[projection.name])}
    assert not held & set(gone)


def tokens(text: str) -> list[str]:
    """Return the words of a text, as the index tells them apart."""
    plain = unicodedata.normalize("NFD", text)
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.findall(r"[^\W_]+", bare.lower())


def words_of(value: Any) -> str:
    """Return what an output says, in order."""
    if is_object(value):
        return "\n".join(f"{key}\n{words_of(inner)}" for key, inner in value.items())
    if is_list(value):
        return "\n".join(map(words_of, value))
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def holds(text: str, query: str) -> bool:
    """Say whether a text has all that a query asks for."""
    said = tokens(text)
    for index, part in enumerate(query.replace("\0", " ").split('"')):
        for piece in [part] if index % 2 else part.split():
            wanted = tokens(piece)
            is_start = not index % 2 and piece.endswith("*")
            places = [said[at : at + len(wanted)] for at in range(len(said) - len(wanted) + 1)]
            if wanted and not any(
                place[:-1] == wanted[:-1]
                and (place[-1].startswith(wanted[-1]) if is_start else place[-1] == wanted[-1])
                for place in places
            ):
                return False
    return True


PIECES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(WORDS).map(lambda word: f"{word[:3]}*"),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(
        lambda words: '"' + " ".join(words) + '"'
    ),
)
QUERIES = st.one_of(
    st.lists(PIECES, min_size=1, max_size=3).map(" ".join),
    st.text(st.sampled_from('ab7"*()^:{}+- ORNOTé'), max_size=12),
)


@given(history=told(), query=QUERIES, workflow=st.sampled_from([None, *kit.WORKFLOWS]))
def test_a_search_for_words_finds_what_a_look_into_every_body_finds(
    history: tuple[list[Recorded], Bodies], query: str, workflow: str | None
) -> None:
    """In error messages and in outputs, in any workflow or in one; another tenant finds nothing."""
    events, bodies = history
    words = match_of(query)
    if not words:
        assert not tokens(query)
        return
    of_run = {x.stream: x.facts.workflow for x in events if isinstance(x.facts, e.RunRequested)}
    wanted = Wanted(tenant="acme", words=words, workflow=workflow)
    searched = (
        (ERRORS, ErrorSearch(), (e.RunFailed, e.RunCancelled)),
        (LOGS, LogSearch(), (e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted)),
    )
    for name, projection, kinds in searched:
        expected = [
            event.position
            for event in reversed(events)
            if isinstance(event.facts, kinds) and event.body_at
            if workflow in (None, of_run[event.stream])
            if holds(words_of(bodies.said[event.body_at]), query)
        ]
        with rows_of(projection, [events], bodies) as (connection, _):
            assert found(connection, *select_matched(wanted, LATEST, name)) == expected
            other = msgspec.structs.replace(wanted, tenant="other")
            assert found(connection, *select_matched(other, LATEST, name)) == []


def found(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> list[int]:
    """Return the places that a statement finds."""
    return [row[0] for row in connection.execute(statement.replace(GENERATION, "1"), values)]


def leaves(value: Any, path: str = "") -> Generator[tuple[str, str]]:
    """Walk through a payload."""
    if is_object(value):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif is_list(value):
        for inner in value:
            yield from leaves(inner, path)
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield path, text.replace("\0", " ")


@given(history=told(), workflow=st.sampled_from([None, *kit.WORKFLOWS]), data=st.data())
def test_a_search_for_a_field_finds_the_runs_whose_payload_has_it(
    history: tuple[list[Recorded], Bodies], workflow: str | None, data: st.DataObject
) -> None:
    """Those that inherited it too, newest first; another tenant finds nothing."""
    events, bodies = history
    requests = [event for event in events if isinstance(event.facts, e.RunRequested)]
    own = {event.stream: set(leaves(bodies.said[event.body_at] or {})) for event in requests}
    known = sorted({field for fields in own.values() for field in fields} or {("id", "7")})
    path, value = data.draw(st.sampled_from(known))
    wanted = Wanted(tenant="acme", fields={path: value}, workflow=workflow)
    expected: list[int] = []
    for event in reversed(requests):
        assert isinstance(event.facts, e.RunRequested)
        has_it = (path, value) in own[event.facts.payload_run or event.stream]
        if has_it and workflow in (None, event.facts.workflow):
            expected.append(event.position)
    with rows_of(PayloadSearch(), [events], bodies) as (connection, _):
        assert found(connection, *select_having(wanted, LATEST)) == expected
        other = msgspec.structs.replace(wanted, tenant="other")
        assert found(connection, *select_having(other, LATEST)) == []
