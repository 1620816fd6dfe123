"""The laws of comparing two runs."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from refold.journal.envelope import Recorded
from refold.projections.run_diff import Alignment, Told
from refold.projections.run_state import fold
from tests.support.run_lives import lives

SWAPPED = {"only_left": "only_right", "only_right": "only_left"}


def runs_of(events: list[Recorded]) -> list[Told]:
    """Part a journal into its runs."""
    streams: dict[str, list[Recorded]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    return [Told(fold(stream, own), own) for stream, own in streams.items()]


@given(lives())
def test_a_run_is_the_same_as_itself(events: list[Recorded]) -> None:
    """And nothing needs to be read to say so."""
    for told in runs_of(events):
        assert Alignment(told, told).pairs == []
        found = Alignment(told, told).compare({}, same_payload=True)
        assert (found.left, found.right) == (None, None)
        assert {node.result for node in found.nodes} <= {"same"}
        assert all(node.left == node.right for node in found.nodes)


@given(lives(), st.randoms(use_true_random=False), st.sampled_from([True, False, None]))
def test_comparing_the_other_way_round_says_the_same(
    events: list[Recorded], random: Random, payload: bool | None
) -> None:
    """Left and right are names, and no side is the right one."""
    told = runs_of(events)
    left, right = told[0], told[-1]
    pairs = Alignment(left, right).pairs
    assert {(b, a) for a, b in pairs} == set(Alignment(right, left).pairs)
    verdicts = {pair: random.choice([True, False, None]) for pair in pairs}
    one = Alignment(left, right).compare(verdicts, same_payload=payload)
    other = Alignment(right, left).compare(
        {(b, a): v for (a, b), v in verdicts.items()}, same_payload=payload
    )
    assert (one.left, one.right) == (other.right, other.left)
    assert {n.place: (n.result, n.left, n.right) for n in one.nodes} == {
        n.place: (SWAPPED.get(n.result, n.result), n.right, n.left) for n in other.nodes
    }


@given(lives())
def test_each_node_stands_once_with_as_many_attempts_as_it_had(events: list[Recorded]) -> None:
    """The nodes of a comparison are those of both runs, and no others."""
    told = runs_of(events)
    left, right = told[0], told[-1]
    verdicts = dict.fromkeys(Alignment(left, right).pairs, True)
    found = Alignment(left, right).compare(verdicts, same_payload=True)
    places = [node.place for node in found.nodes]
    assert len(set(places)) == len(places)
    for state, side in ((left.state, "left"), (right.state, "right")):
        shown = {n.place: s for n in found.nodes if (s := getattr(n, side)) is not None}
        known = {node.place: node for node in (*state.nodes.values(), *state.inner.values())}
        assert shown.keys() == known.keys()
        assert all(shown[place].attempts >= node.attempt for place, node in known.items())
