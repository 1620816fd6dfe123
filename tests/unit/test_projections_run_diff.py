"""How two runs are laid side by side, and what counts as a difference."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections.run_diff import (
    Alignment,
    RunDiff,
    Told,
    own_ids,
    same_bytes,
)
from refold.projections.run_state import fold
from tests.support import run_events as r


def told(*facts: e.Facts, run: str = "a", first_body: int = 100) -> Told:
    """Make a run of these facts, each with a body of its own."""
    events = [
        msgspec.structs.replace(event, stream=run, body_at=first_body + event.position, id=run)
        for event in r.recorded(r.requested_facts(), r.RUN_STARTED, *facts)
    ]
    events = [
        msgspec.structs.replace(event, id=f"{run}{event.version}", payload=f"salt {event.body_at}")
        for event in events
    ]
    return Told(fold(run, events), events)


def compared(left: Told, right: Told, same: bool | None = True) -> RunDiff:
    """Compare two runs, with one verdict on all bodies."""
    verdicts = dict.fromkeys(Alignment(left, right).pairs, same)
    return Alignment(left, right).compare(verdicts, same_payload=True)


def apart(diff: RunDiff) -> tuple[str, str]:
    """Say at which events two runs went apart."""
    left, right = (
        f"{one.facts.type}@{one.version}" if one else "" for one in (diff.left, diff.right)
    )
    return left, right


def results(diff: RunDiff) -> dict[str, str]:
    """Say what became of each node."""
    return {"/".join(node.place).lstrip("/"): node.result for node in diff.nodes}


def at(path: str, *facts: e.Facts) -> list[e.Facts]:
    """Put facts into an iterator's item."""
    return [msgspec.structs.replace(one, iteration=path) for one in facts]


FAILED = (r.started("n"), r.failed("n"), e.RunFailed(code="http_503", node="n"))
DONE = (r.started("n", key="other"), r.succeeded("n"), e.RunCompleted(node=""))


def test_a_run_and_its_rerun_are_the_same_although_times_and_ids_differ() -> None:
    """Else every comparison would end at the first event."""
    left = told(r.started("n", key="k", at=1), r.succeeded("n"), run="a")
    right = told(r.started("n", key="l", at=9), r.succeeded("n"), run="b", first_body=200)
    found = compared(left, right)
    assert (apart(found), results(found)) == (("", ""), {"n": "same"})
    assert found.nodes[0].left is not None
    assert (found.nodes[0].left.status, found.nodes[0].left.attempts) == ("success", 1)


def test_runs_go_apart_at_the_first_event_that_differs() -> None:
    """A call that failed in one and not in the other: its outcome is the place."""
    found = compared(told(r.succeeded("t"), *FAILED), told(r.succeeded("t"), *DONE, run="b"))
    assert apart(found) == ("node.failed@5", "node.succeeded@5")
    assert results(found) == {"t": "same", "n": "changed"}
    sides = found.nodes[1].left, found.nodes[1].right
    assert [side.status for side in sides if side] == ["error", "success"]


def test_another_output_is_a_difference_and_an_erased_one_is_not_known() -> None:
    """A body is compared when the facts are equal; what can't be read can't differ."""
    left, right = told(r.succeeded("n")), told(r.succeeded("n"), run="b", first_body=200)
    changed = compared(left, right, same=False)
    assert apart(changed) == ("node.succeeded@3", "node.succeeded@3")
    assert results(changed) == {"n": "changed"}
    erased = compared(left, right, same=None)
    assert (apart(erased), results(erased)) == (("", ""), {"n": "unknown"})


def test_another_handle_is_another_outcome() -> None:
    """A condition may choose the other branch with the very same output."""
    left, right = told(r.succeeded("if", handle="true")), told(r.succeeded("if", handle="false"))
    found = compared(left, right)
    assert apart(found) == ("node.succeeded@3", "node.succeeded@3")
    assert results(found) == {"if": "changed"}


def test_branches_that_finish_in_another_order_are_the_same() -> None:
    """What ran side by side has no order that means anything."""
    a, b = (r.started("a"), r.started("b")), (r.succeeded("a"), r.succeeded("b"))
    left, right = told(*a, *b), told(*reversed(a), *reversed(b), run="b")
    assert apart(compared(left, right)) == ("", "")


def test_a_run_that_is_not_as_far_differs_by_what_it_has_not() -> None:
    """The one that went on has the first event of its own; the other has none."""
    left, right = told(r.started("n")), told(r.started("n"), r.succeeded("n"), r.succeeded("m"))
    found = compared(left, right)
    assert apart(found) == ("", "node.succeeded@4")
    assert results(found) == {"n": "changed", "m": "only_right"}
    assert results(compared(right, left)) == {"n": "changed", "m": "only_left"}


def test_a_node_is_the_same_after_more_attempts_with_the_same_outcome() -> None:
    """The output counts; the attempts are shown beside it, and the events do differ."""
    again = (r.failed("n", retried=1), r.retry_scheduled("n"), r.started("n", 2))
    left = told(r.started("n"), *again, r.succeeded("n", attempt=2))
    right = told(r.started("n"), r.succeeded("n"), run="b", first_body=200)
    found = compared(left, right)
    assert apart(found) == ("node.failed@4", "node.succeeded@4")
    assert results(found) == {"n": "same"}
    sides = found.nodes[0].left, found.nodes[0].right
    assert [side.attempts for side in sides if side] == [2, 1]


def test_items_of_an_iterator_are_compared_each_with_its_own() -> None:
    """The same node at another place is another one."""
    one, other = at("0", r.succeeded("x")), at("1", r.succeeded("x"))
    found = compared(told(*one, *other), told(*other, run="b"))
    assert results(found) == {"0/x": "only_left", "1/x": "same"}
    assert apart(found) == ("node.succeeded@3", "")


def test_a_trigger_payload_is_the_first_thing_to_differ() -> None:
    """Nothing else of a request counts: origin, workflow and keys differ by nature."""
    left, right = told(r.succeeded("t")), told(r.succeeded("t"))
    assert apart(Alignment(left, right).compare({}, same_payload=False)) == (
        "run.requested@1",
        "run.requested@1",
    )
    assert apart(Alignment(left, right).compare({}, same_payload=None)) == ("", "")


def test_bodies_that_are_known_to_be_the_same_are_not_read() -> None:
    """A replayed output stands in the journal once; comparing it costs nothing."""
    left = told(r.succeeded("n"), r.succeeded("m"))
    shared: list[Recorded] = list(left.events)
    assert Alignment(left, Told(left.state, shared)).pairs == []
    other = told(r.succeeded("n"), r.succeeded("m"), run="b", first_body=200)
    assert Alignment(left, other).pairs == [(103, 203), (104, 204)]
    sealed = [msgspec.structs.replace(x, payload="one") for x in other.events]
    alike = [msgspec.structs.replace(x, payload="one") for x in left.events]
    assert Alignment(Told(left.state, alike), Told(other.state, sealed)).pairs == []
    bare = [msgspec.structs.replace(x, payload="", body_at=0) for x in other.events]
    assert Alignment(left, Told(other.state, bare)).pairs == []
    found = Alignment(left, Told(other.state, bare)).compare({}, same_payload=True)
    assert results(found) == {"n": "changed", "m": "changed"}


DATED = b'{"headers":{"date":"Fri, 31 Oct 2025 12:00:0%d GMT"}}'


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (b'{"a":1}', b'{"a":1}', True),
        (b'{"a":1}', b'{"a":2}', False),
        (b'{"run_id":"fl_run_l"}', b'{"run_id":"fl_run_r"}', True),
        (b'{"run_id":"fl_run_l"}', b'{"run_id":"fl_run_x"}', False),
        (b'{"run_id":"fl_run_r"}', b'{"run_id":"fl_run_l"}', False),
        (b'{"run_id":"fl_run_root"}', b'{"run_id":"fl_run_r"}', True),
        (DATED % 1, DATED % 2, True),
        (
            b'{"at":"Fri, 31 Oct 2025 12:00:01 GMT"}',
            b'{"at":"Fri, 31 Oct 2025 12:00:02 GMT"}',
            False,
        ),
    ],
)
def test_bodies_are_compared_byte_for_byte_but_for_ids_and_dates(
    left: bytes, right: bytes, same: bool
) -> None:
    """A run's own id in a trigger's output would make every rerun another one."""
    ids: Sequence[Sequence[str]] = (["fl_run_l", "fl_run_root"], ["fl_run_r"])
    assert same_bytes(left, right, *ids) is same
    assert same_bytes(right, left, *reversed(ids)) is same


def test_the_ids_of_a_run_are_its_own_and_its_originals() -> None:
    """What a resume replays holds the original's."""
    facts = r.requested_facts(original_run="fl_run_o", payload_run="fl_run_p")
    assert own_ids(fold("fl_run_a", r.recorded(facts))) == {"fl_run_a", "fl_run_o", "fl_run_p"}
    assert own_ids(fold("fl_run_a", r.recorded(r.requested_facts()))) == {"fl_run_a"}
