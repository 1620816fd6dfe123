"""The lanes of a subscription: its position, its backlog, its memory, and whose turn it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from refold.engine.lanes import BACKLOG_MAX, LANE_MAX, Lane, Lanes
from refold.journal import events as e
from refold.journal.envelope import Recorded


def _event(position: int, stream: str, version: int = 1) -> Recorded:
    facts = e.TimerFired(iteration="", node="n")
    return Recorded(position, 0, b"", stream, version, "", 0, "acme", "", "", "", "", "", facts)


def _taken(lanes: Lanes) -> Lane:
    lane = lanes.take(0)
    assert lane is not None
    return lane


def _filled(lanes: Lanes, lane: Lane, *positions: int, is_all: bool = True) -> None:
    assert lane.rest is not None
    found = [_event(at, lane.stream, at) for at in positions]
    lanes.fill(lane, found, positions[-1], lane.rest.last, is_all=is_all)


def test_what_is_owed_holds_up_the_position_no_more() -> None:
    """New events of the same stream do, once those that were owed are taken."""
    lanes = Lanes(10)
    lanes.owe("a", 3)
    lanes.put(_event(11, "a", 11))
    lanes.looked_at = 11
    assert (lanes.position, lanes.backlog, lanes.waiting) == (10, {"a": 3}, 0)
    lane = _taken(lanes)
    _filled(lanes, lane, 3, 7, 11)
    assert (lanes.position, lanes.backlog, lanes.waiting) == (10, {"a": 3}, 3)
    lanes.taken(lane, 1)
    assert (lanes.position, lanes.backlog) == (10, {"a": 7})
    lanes.taken(_taken(lanes), 1)
    assert (lanes.position, lanes.backlog) == (10, {})
    lanes.taken(_taken(lanes), 1)
    assert (lanes.position, lanes.waiting, lanes.take(0)) == (11, 0, None)


def test_a_backlog_that_begins_after_the_position_is_looked_up_there() -> None:
    """Nothing is owed of what was not looked at yet."""
    lanes = Lanes(5)
    lanes.owe("a", 6)
    assert (lanes.backlog, lanes.take(0)) == ({}, None)


def test_a_lane_is_taken_once_and_comes_back_when_it_is_due() -> None:
    """While it is on the wire, and while it waits, others have their turn."""
    lanes = Lanes(0)
    lanes.put(_event(1, "a"))
    lanes.put(_event(2, "b"))
    first, second = _taken(lanes), _taken(lanes)
    assert (first.stream, second.stream, lanes.take(0), lanes.next_due()) == ("a", "b", None, None)
    lanes.put_back(first, 50)
    assert (lanes.take(49), lanes.next_due()) == (None, 50)
    lanes.put_back(second)
    assert lanes.next_due() == 0
    assert {lane.stream for lane in (lanes.take(50), lanes.take(50)) if lane} == {"a", "b"}
    assert lanes.next_due() is None


def test_one_stream_fills_no_memory() -> None:
    """What there is no room for is read when its turn comes, also what comes meanwhile."""
    lanes = Lanes(0)
    for position in range(1, 1001):
        lanes.put(_event(position, "a", position))
    lanes.looked_at = 1000
    lane = _taken(lanes)
    assert (lanes.waiting, lane.rest and lane.rest.version) == (LANE_MAX, LANE_MAX)
    lanes.taken(lane, LANE_MAX)
    assert (lanes.position, lanes.waiting) == (LANE_MAX, 0)
    assert _taken(lanes) is lane
    last = lane.rest.last if lane.rest else 0
    lanes.put(_event(1001, "a", 1001))
    lanes.looked_at = 1001
    found = [_event(at, "a", at) for at in range(LANE_MAX + 1, 1001)]
    lanes.fill(lane, found, 1000, last, is_all=True)
    lanes.taken(lane, len(found))
    assert (lanes.position, lane.first, lane.rest and lane.rest.version) == (1000, 1001, 1000)


def test_what_is_refused_takes_up_neither_memory_nor_position() -> None:
    """It is backlog from then on, and what comes of it later is new until it is refused again."""
    lanes = Lanes(0)
    for position in (1, 3, 5):
        lanes.put(_event(position, "a", position))
    lanes.put(_event(2, "b"))
    lanes.looked_at = 5
    lane, other = _taken(lanes), _taken(lanes)
    lanes.hold(lane, 50)
    assert (lanes.waiting, lanes.position, lanes.backlog) == (1, 1, {"a": 1})
    lanes.taken(other, 1)
    assert (lanes.waiting, lanes.position) == (0, 5)
    lanes.put(_event(6, "a", 6))
    lanes.looked_at = 6
    assert (lanes.waiting, lanes.position) == (0, 5)
    again = lanes.take(50)
    assert again is lane
    assert (lane.rest and lane.rest.version) == 0
    _filled(lanes, lane, 1, 3, is_all=False)
    assert (lane.rest and lane.rest.first, lanes.position) == (4, 5)
    lanes.hold(lane, 90)
    assert (lanes.position, lanes.backlog, lanes.next_due()) == (6, {"a": 1}, 90)


def test_only_so_many_become_backlog() -> None:
    """The event that says so has a bounded size; the others hold up the position."""
    lanes = Lanes(0)
    for position in range(1, BACKLOG_MAX + 11):
        lanes.put(_event(position, f"s{position}"))
    lanes.looked_at = BACKLOG_MAX + 10
    for lane in [_taken(lanes) for _ in range(BACKLOG_MAX + 10)]:
        lanes.hold(lane, 50)
    assert (len(lanes.backlog), lanes.position) == (BACKLOG_MAX, BACKLOG_MAX)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=60))
def test_position_and_backlog_lead_to_all_that_was_not_taken(
    moves: list[tuple[int, int]],
) -> None:
    """Whatever came, was taken and was refused in whatever order."""
    lanes, waiting, position, reached = Lanes(0), dict[int, str](), 0, 0
    for stream, move in moves:
        lane = lanes.take(99) if move else None
        if move == 0:
            position += 1
            lanes.put(_event(position, str(stream), position))
            lanes.looked_at = position
            waiting[position] = str(stream)
        elif lane is not None:
            own = [at for at, name in waiting.items() if name == lane.stream]
            if not lane.events:
                _filled(lanes, lane, *own)
            assert [event.position for event in lane.events] == own
            if move == 1:
                del waiting[own[0]]
                lanes.taken(lane, 1)
            else:
                lanes.hold(lane, 50)
        backlog = lanes.backlog
        led_to = {at for at in waiting if at > lanes.position}
        led_to |= {at for at, name in waiting.items() if at >= backlog.get(name, position + 1)}
        assert led_to == set(waiting)
        assert all(waiting.get(first) == name for name, first in backlog.items())
        assert reached <= lanes.position
        reached = lanes.position
    assert lanes.waiting <= len(waiting)
