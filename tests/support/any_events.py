"""Draws events of whatever types a projection wants, with any facts: what comes has to be folded.

The other strategies know what an engine writes about runs and workflows; this one knows no
projection, so that one which is added is drawn for without a word here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from hypothesis import strategies as st

from refold.journal import events as e
from refold.journal.envelope import Recorded
from tests.support import projection_kit as kit

STREAMS = ("fl_run_a", "fl_run_b", kit.WORKFLOWS[0], "vlt_a", "auth_a", "sub_a", "sys")
_WORDS = ("", *STREAMS[:3], "webhook", "form", "n1", "0.2", "completed")
_NUMBERS = (0, 1, 2, kit.START_US, kit.START_US + 90_000_000_000)
FILLER = 2100
"""More than the smallest block of positions that anything is tallied by."""
_FIRST = e.RunRequested
"""A run has one request, which is its first event; the journal takes no other."""


@st.composite
def any_events(draw: st.DrawFn, wanted: Collection[type[e.Facts]]) -> list[Recorded]:
    """Draw a journal that holds these types of events and no others."""
    history = kit.History()
    types = sorted(wanted, key=lambda facts: facts.type)
    begun: set[str] = set()
    for _ in range(draw(st.integers(1, 40))):
        history.at += draw(st.integers(0, 2))
        stream = draw(st.sampled_from(STREAMS))
        type_ = draw(st.sampled_from(types))
        if type_ is _FIRST and stream in begun:
            continue
        begun.add(stream)
        facts = draw(_facts(type_, len(history.events)))
        history.add(stream, facts, has_body=draw(st.booleans()))
        if draw(st.integers(0, 5)) == 0:
            # What a resume copied says where it comes from.
            copied = msgspec.structs.replace(history.events[-1], src="copied")
            history.events[-1] = copied
    return history.events


def spread(
    events: Sequence[Recorded], place: int, wanted: Collection[type[e.Facts]]
) -> list[Recorded]:
    """Put so many events of no interest into a journal that what comes after is in a later block.

    Tallies are made of whole blocks of positions, which no journal that is drawn would fill.
    """
    idle = next(
        facts for facts in (e.WorkflowDeleted(), e.VaultDeleted()) if type(facts) not in wanted
    )
    first = events[0]
    filler = [
        msgspec.structs.replace(
            first, position=place + 1 + n, body_at=0, stream="sys", src="", facts=idle
        )
        for n in range(FILLER)
    ]
    later = [
        msgspec.structs.replace(
            event,
            position=event.position + FILLER,
            body_at=event.body_at + FILLER if event.body_at else 0,
            # Tallies are looked after at one request in eight, by the last bits of its leaf.
            leaf=event.leaf[:-1] + bytes(1),
        )
        for event in events[place:]
    ]
    return [*events[:place], *filler, *later]


@st.composite
def _facts(draw: st.DrawFn, type_: type[e.Facts], head: int) -> e.Facts:
    values: dict[str, str | int] = {}
    for field in msgspec.structs.fields(type_):
        if field.name == "positions":
            places: Sequence[int] = draw(st.lists(st.integers(1, head + 1), max_size=3))
            values[field.name] = " ".join(map(str, places))
        else:
            known: Sequence[str | int] = _NUMBERS if field.type is int else _WORDS
            values[field.name] = draw(st.sampled_from(known))
    return type_(**values)
