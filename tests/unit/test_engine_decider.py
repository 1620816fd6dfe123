"""What results and states come to: the decider's table, and the retry policy it asks."""

from __future__ import annotations

import pytest

from refold.engine import decider
from refold.engine.decider import Attempt
from refold.engine.policy import SECOND_US, NodePolicy, RetryPolicy
from refold.journal import events as e
from refold.projections.node_state import NodeState
from refold.projections.run_state import Ending, RunState
from tests.support.run_events import requested_facts

OPEN = frozenset({"started", "waiting", "retrying"})
ATTEMPT = Attempt(("", "a"), "webhook", 1, 10, 20)
RETRY = RetryPolicy(max_attempts=3, initial_interval=1, backoff=2, on=["http_503"])


def state(*nodes: NodeState, ending: Ending | None = None, cancelling: str = "") -> RunState:
    """Make the state of a run that has started."""
    return RunState(
        "fl_run_b",
        requested=requested_facts(),
        status="running",
        started_at=100,
        limit_us=50,
        ending=ending,
        cancelling=cancelling,
        nodes={node.node: node for node in nodes},
        open={node.place: node for node in nodes if node.phase in OPEN},
    )


@pytest.mark.parametrize(
    ("policy", "code", "attempt", "stopping", "retried", "tolerated"),
    [
        (NodePolicy(), "http_503", 1, False, 0, 0),
        (NodePolicy(continue_on_error=True), "http_503", 1, False, 0, 1),
        (NodePolicy(retry=RETRY), "http_503", 1, False, 1, 0),
        (NodePolicy(retry=RETRY), "http_503", 2, False, 1, 0),
        (NodePolicy(retry=RETRY), "http_503", 3, False, 0, 0),
        (NodePolicy(retry=RETRY), "http_404", 1, False, 0, 0),
        (NodePolicy(retry=RETRY, continue_on_error=True), "http_503", 2, False, 1, 0),
        (NodePolicy(retry=RETRY, continue_on_error=True), "http_503", 3, False, 0, 1),
        (NodePolicy(retry=RETRY, continue_on_error=True), "http_404", 1, False, 0, 1),
        (NodePolicy(retry=RETRY), "http_503", 1, True, 0, 0),
        (NodePolicy(continue_on_error=True), "http_503", 1, True, 0, 1),
        (NodePolicy(retry=RETRY, continue_on_error=True), "http_503", 1, True, 0, 0),
    ],
)
def test_a_failure_is_retried_tolerated_or_final(
    policy: NodePolicy, code: str, attempt: int, stopping: bool, retried: int, tolerated: int
) -> None:
    """Retries come first; in a stopping run there are none, and what they hide isn't tolerated."""
    made = Attempt(("", "a"), "webhook", attempt, 10, 20)
    failure, schedule = decider.failed(made, code, policy, stopping=stopping)
    assert (failure.retried, failure.tolerated) == (retried, tolerated)
    assert (schedule is not None) == bool(retried)


def test_a_retry_waits_longer_each_time_up_to_a_limit() -> None:
    """The wait counts from the failure, without any chance in it."""
    retry = RetryPolicy(max_attempts=9, initial_interval=1, backoff=3, max_interval=20)
    waits = [retry.wait_us(attempt) / SECOND_US for attempt in range(1, 6)]
    assert waits == [1, 3, 9, 20, 20]
    _, schedule = decider.failed(ATTEMPT, "x", NodePolicy(retry=retry), stopping=False)
    assert schedule == e.NodeRetryScheduled(
        attempt=2, due_at=20 + SECOND_US, iteration="", node="a"
    )


def test_a_policy_without_codes_covers_every_failure() -> None:
    """`on` narrows; leaving it out does not mean never."""
    assert RetryPolicy(max_attempts=2).covers("anything", 1)
    assert not RetryPolicy(max_attempts=2).covers("anything", 2)


def in_phase(phase: str, key: str = "", due_at: int = 0) -> NodeState:
    """Make a node that a crash met."""
    return NodeState("a", "webhook", phase, 1, 10, due_at=due_at, effect_key=key)  # type: ignore[arg-type]


FAILING = Ending("failed", "http_503", "b", 1)


@pytest.mark.parametrize(
    ("node", "delivery", "ending", "cancelling", "fate"),
    [
        (in_phase("started", "k"), "at_least_once", None, "", "again"),
        (in_phase("started", "k"), "at_most_once", None, "", "fail"),
        (in_phase("started", "k"), "at_least_once", FAILING, "", "again"),
        (in_phase("started", "k"), "at_most_once", FAILING, "", "fail"),
        (in_phase("started", "k"), "at_least_once", None, "cancelled", "end"),
        (in_phase("started", "k"), "at_most_once", None, "run_timeout", "end"),
        (in_phase("started"), "at_most_once", None, "", "again"),
        (in_phase("started"), "at_least_once", FAILING, "", "end"),
        (in_phase("waiting", due_at=5), "at_least_once", None, "", "none"),
        (in_phase("retrying", "k", 5), "at_least_once", None, "", "none"),
        (in_phase("retrying", "k"), "at_least_once", None, "", "reschedule"),
        (in_phase("retrying", "k"), "at_least_once", FAILING, "", "none"),
        (in_phase("succeeded", "k"), "at_least_once", None, "", "none"),
        (in_phase("failed", "k"), "at_most_once", FAILING, "", "none"),
    ],
)
def test_what_a_crash_cut_off_is_begun_again_failed_or_ended(
    node: NodeState, delivery: str, ending: Ending | None, cancelling: str, fate: str
) -> None:
    """Only a call can be doubled; only a run that was asked to stop leaves one undone."""
    policy = NodePolicy(delivery=delivery)  # type: ignore[arg-type]
    made = state(node, ending=ending, cancelling=cancelling)
    assert decider.after_crash(made, node, policy) == fate


@pytest.mark.parametrize(
    ("phase", "ending", "ready", "last"),
    [
        ("started", None, False, None),
        ("waiting", FAILING, False, None),
        ("retrying", None, False, None),
        ("succeeded", None, True, None),
        ("succeeded", None, False, e.RunCompleted(node="")),
        ("succeeded", FAILING, True, e.RunFailed(code="http_503", node="b")),
        ("succeeded", Ending("completed", "terminated", "a", 1), True, e.RunCompleted(node="a")),
        ("succeeded", Ending("failed", "cancelled", "", 1), True, e.RunCancelled(code="cancelled")),
    ],
)
def test_a_run_ends_once_nothing_of_it_is_open(
    phase: str, ending: Ending | None, ready: bool, last: e.Facts | None
) -> None:
    """What ends it is what was decided first; without a decision, that nothing is left."""
    made = state(in_phase(phase), ending=ending)
    assert decider.conclusion(made, anything_ready=ready) == last


def test_an_effect_key_outlives_attempts_and_recoveries() -> None:
    """The receiver can tell a repeat: run, node, iteration and number of the call."""
    assert decider.effect_key(state(), ("", "a"), {}) == "fl_run_b:a:-:1"
    assert (
        decider.effect_key(state(in_phase("retrying", "fl_run_b:a:-:1")), ("", "a"), {})
        == "fl_run_b:a:-:1"
    )


def test_a_call_in_doubt_is_made_again_under_the_key_of_the_run_that_made_it() -> None:
    """Only the node in doubt inherits; its neighbours have keys of this run."""
    made = state()
    made.requested = requested_facts(in_doubt="fl_run_a:a:-:1 fl_run_a:aa:-:1")
    keys = decider.inherited_keys(made)
    assert decider.effect_key(made, ("", "a"), keys) == "fl_run_a:a:-:1"
    assert decider.effect_key(made, ("", "b"), keys) == "fl_run_b:b:-:1"


@pytest.mark.parametrize(
    ("now", "cancelling", "past"), [(149, "", False), (150, "", True), (200, "cancelled", False)]
)
def test_the_time_of_a_run_ends_once(now: int, cancelling: str, past: bool) -> None:
    """A run that was asked to stop is not asked again by its own limit."""
    assert decider.is_past(state(cancelling=cancelling), now) is past


@pytest.mark.parametrize(
    ("timeout", "waits", "times_out"), [(None, 5, False), (9, 5, False), (2, 2, True)]
)
def test_a_wait_lasts_as_long_as_it_may(timeout: float | None, waits: int, times_out: bool) -> None:
    """A delay that is longer than the node's time-out ends by that, as a failure."""
    policy = NodePolicy(timeout=timeout)
    assert decider.wait_us(5 * SECOND_US, policy) == (waits * SECOND_US, times_out)
