"""The fold of a run: phases, log statuses, and which event decided how it ends."""

from __future__ import annotations

import pytest

from refold.journal import events as e
from refold.projections.run_state import RunState, evolve, fold
from tests.support import run_events as r


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        ([r.started("a")], "started"),
        ([r.started("a"), r.timer_set("a")], "waiting"),
        ([r.started("a"), r.failed("a", retried=1), r.retry_scheduled("a")], "retrying"),
        ([r.succeeded("a")], "succeeded"),
        ([r.started("a"), r.succeeded("a")], "succeeded"),
        ([r.failed("a", tolerated=1)], "tolerated"),
        ([r.failed("a")], "failed"),
        ([r.started("a"), r.interrupted("a")], "interrupted"),
        ([r.started("a"), r.failed("a", retried=1), r.started("a", 2)], "started"),
    ],
)
def test_a_node_is_in_the_phase_that_its_newest_event_says(
    facts: list[e.Facts], phase: str
) -> None:
    """The decider acts on phases alone."""
    assert r.folded(*facts).nodes["a"].phase == phase


@pytest.mark.parametrize(
    ("facts", "statuses"),
    [
        ([r.succeeded("a")], ["success"]),
        ([r.failed("a", retried=1), r.succeeded("a", attempt=2)], ["warning", "success"]),
        ([r.failed("a", tolerated=1)], ["warning"]),
        ([r.failed("a")], ["error"]),
        ([r.failed("a"), r.failed("b")], ["error", "error"]),
        ([r.failed("a"), r.succeeded("b")], ["error", "success"]),
        ([r.failed("a"), r.interrupted("b")], ["error", "warning"]),
        ([r.succeeded("a", ends="completed"), r.failed("b")], ["success", "warning"]),
        ([r.succeeded("a", ends="failed"), r.failed("b")], ["success", "error"]),
        ([e.RunCancelRequested(code="cancelled"), r.failed("b")], ["error"]),
    ],
)
def test_a_log_entry_is_a_success_a_warning_or_an_error(
    facts: list[e.Facts], statuses: list[str]
) -> None:
    """Warning means that the run went on, or ended the node itself; error that it failed."""
    assert [entry.status for entry in r.folded(*facts).log] == statuses


def test_the_first_decisive_event_ends_the_run() -> None:
    """Later failures are logged, and the run is failed by the first in stream order."""
    state = r.folded(r.failed("a", "http_500"), r.failed("b", "http_503"))
    assert state.ending is not None
    assert (state.ending.node, state.ending.code, state.ending.body_at) == ("a", "http_500", 3)
    terminated = r.folded(r.succeeded("t", ends="completed"), r.failed("b"))
    assert terminated.ending is not None
    assert terminated.ending.status == "completed"
    assert terminated.nodes["t"].terminates


def test_a_request_to_stop_after_a_failure_leaves_the_failure_in_charge() -> None:
    """The run is stopping either way, and says why it failed first."""
    state = r.folded(r.failed("a"), e.RunCancelRequested(code="cancelled"))
    assert state.cancelling == "cancelled"
    assert state.ending is not None
    assert not state.ending.is_asked_for


def test_tolerated_and_retried_failures_decide_nothing() -> None:
    """The run goes on after them."""
    assert not r.folded(r.failed("a", tolerated=1), r.failed("b", retried=1)).is_stopping


def test_a_call_cut_off_without_an_outcome_is_in_doubt() -> None:
    """So is one that a crash cut off and that may not be made again."""
    assert r.folded(r.started("a", key="k"), r.interrupted("a", in_doubt=1)).nodes["a"].in_doubt
    assert r.folded(r.started("a", key="k"), r.failed("a", "interrupted")).nodes["a"].in_doubt
    assert not r.folded(r.started("a", key="k"), r.failed("a")).nodes["a"].in_doubt


@pytest.mark.parametrize(
    ("last", "status", "failed_node"),
    [
        (e.RunCompleted(node=""), "completed", ""),
        (e.RunFailed(code="http_503", node="a"), "failed", "a"),
        (e.RunCancelled(code="cancelled"), "failed", ""),
    ],
)
def test_a_run_ends_with_its_last_event(last: e.Facts, status: str, failed_node: str) -> None:
    """Cancelled runs are failed ones without a failed node: the set of statuses is closed."""
    state = r.folded(last)
    assert (state.status, state.failed_node, state.is_ended) == (status, failed_node, True)


def test_replayed_events_are_counted_and_keep_their_source() -> None:
    """How far the copying of a cut got is told by the stream itself."""
    state = RunState(r.RUN)
    for event in r.recorded(r.succeeded("a"), r.succeeded("b"), src=f"{r.RUN}@1#00"):
        evolve(state, event)
    assert state.replayed == 2


def test_folding_page_by_page_is_folding_at_once() -> None:
    """The fold has no memory besides the state."""
    events = r.recorded(
        r.requested_facts(),
        r.RUN_STARTED,
        r.started("a"),
        r.failed("a", retried=1),
        r.retry_scheduled("a"),
        r.started("a", 2),
        r.failed("a", attempt=2),
        e.RunFailed(code="http_503", node="a"),
    )
    whole = fold(r.RUN, events)
    for cut in range(len(events)):
        state = fold(r.RUN, events[:cut])
        for event in events[cut:]:
            evolve(state, event)
        assert state == whole
