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
