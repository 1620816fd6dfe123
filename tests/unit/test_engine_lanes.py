"""The lanes of a subscription: its position, its backlog, and whose turn it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from refold.engine.lanes import Lanes
from refold.journal import events as e
from refold.journal.envelope import Recorded


def _event(position: int, stream: str) -> Recorded:
    facts = e.TimerFired(iteration="", node="n")
    return Recorded(position, 0, b"", stream, 1, "", 0, "acme", "", "", "", "", "", facts)


def test_what_is_owed_holds_up_the_position_no_more() -> None:
    """New events of the same stream do, once those that were owed are taken."""
    lanes = Lanes(10)
    lanes.owe([_event(3, "a"), _event(7, "a")])
    lanes.put(_event(11, "a"))
    lanes.looked_at = 11
    assert (lanes.position, lanes.backlog, lanes.waiting) == (10, {"a": 3}, 3)
    lane = lanes.take(0)
    assert lane is not None
    lanes.taken(lane, 1)
    assert (lanes.position, lanes.backlog) == (10, {"a": 7})
    lane = lanes.take(0)
    assert lane is not None
    lanes.taken(lane, 1)
    assert (lanes.position, lanes.backlog) == (10, {})
    lane = lanes.take(0)
    assert lane is not None
    lanes.taken(lane, 1)
    assert (lanes.position, lanes.waiting, lanes.take(0)) == (11, 0, None)


def test_a_lane_is_taken_once_and_comes_back_when_it_is_due() -> None:
    """While it is on the wire, and while it waits, others have their turn."""
    lanes = Lanes(0)
    lanes.put(_event(1, "a"))
    lanes.put(_event(2, "b"))
    first, second = lanes.take(0), lanes.take(0)
    assert first is not None
    assert second is not None
    assert (first.stream, second.stream, lanes.take(0), lanes.next_due()) == ("a", "b", None, None)
    lanes.put_back(first, 50)
    assert (lanes.take(49), lanes.next_due()) == (None, 50)
    lanes.put_back(second)
    assert lanes.next_due() == 0
    assert {lane.stream for lane in (lanes.take(50), lanes.take(50)) if lane} == {"a", "b"}


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_the_position_is_that_of_the_first_event_that_was_not_taken(
    moves: list[tuple[int, bool]],
) -> None:
    """Whatever came and was taken in whatever order."""
    lanes, waiting, position = Lanes(0), dict[int, str](), 0
    for stream, is_new in moves:
        if is_new:
            position += 1
            lanes.put(_event(position, str(stream)))
            lanes.looked_at = position
            waiting[position] = str(stream)
        elif (lane := lanes.take(0)) is not None:
            del waiting[lane.events[0].position]
            lanes.taken(lane, 1)
        assert lanes.position == min(waiting, default=position + 1) - 1
        assert lanes.waiting == len(waiting)
        assert lanes.backlog == {}
