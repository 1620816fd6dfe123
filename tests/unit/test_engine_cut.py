"""The consistent cut: what a resume keeps, runs, replays, and what it must not do twice."""

from __future__ import annotations

import pytest

from refold.engine.cut import check_compatible, cut, doubts, last_good, replayable, replayed
from refold.engine.errors import NodeNotCompletedError, StateError
from refold.engine.graph import Edge, Graph
from refold.journal import events as e
from refold.journal.envelope import source
from tests.support import run_events as r
from tests.support.run_events import graph

LINE = graph("t>a", "a>b", "b>c")
FORK = graph("t>a", "t>b", "a>j", "b>j", "j>k")
DONE = [r.succeeded("t"), r.succeeded("a")]


def test_in_a_straight_line_the_cut_is_the_nodes_up_to_the_chosen_one() -> None:
    """Everything after it runs, also what had succeeded."""
    state = r.folded(*DONE, r.succeeded("b"), r.failed("c"))
    assert cut(LINE, state, "a").kept == ("t", "a")
    assert cut(LINE, state, "a").executed == ("b", "c")
    assert cut(LINE, state, "b").executed == ("c",)


def test_from_the_trigger_only_the_trigger_is_kept() -> None:
    """Its success is replayed and everything after it runs."""
    made = cut(LINE, r.folded(*DONE, r.failed("b")), "t")
    assert (made.kept, made.executed) == (("t",), ("a", "b", "c"))


def test_from_the_leaf_of_a_line_nothing_runs() -> None:
    """The resumed run completes at once."""
    state = r.folded(*DONE, r.succeeded("b"), r.succeeded("c"))
    assert cut(LINE, state, "c").executed == ()


def test_a_finished_sibling_is_kept_whichever_branch_was_faster() -> None:
    """The cut is closed under 'happened before' and not a moment in time."""
    early = r.folded(r.succeeded("t"), r.succeeded("b"), r.succeeded("a"), r.failed("j"))
    late = r.folded(r.succeeded("t"), r.succeeded("a"), r.succeeded("b"), r.failed("j"))
    assert cut(FORK, early, "a").kept == cut(FORK, late, "a").kept == ("t", "a", "b")
    assert cut(FORK, early, "a").executed == ("j", "k")


def test_a_failed_or_interrupted_sibling_runs_again() -> None:
    """Whatever had not succeeded is not kept."""
    for outcome in (r.failed("b"), r.interrupted("b")):
        made = cut(FORK, r.folded(*DONE, r.started("b"), outcome), "a")
        assert (made.kept, made.executed) == (("t", "a"), ("b", "j", "k"))


def test_a_tolerated_sibling_is_kept() -> None:
    """The run had gone on with its failure, and so does the resumed one."""
    state = r.folded(*DONE, r.failed("b", tolerated=1), r.failed("j"))
    assert cut(FORK, state, "a").kept == ("t", "a", "b")


def test_a_terminate_is_never_kept() -> None:
    """Else the resumed run would end where the original did."""
    state = r.folded(*DONE, r.succeeded("b", ends="failed"))
    assert cut(FORK, state, "a").kept == ("t", "a")


def test_what_a_recorded_choice_excludes_is_not_planned() -> None:
    """Branch choices of kept nodes are those recorded."""
    made = graph("t>c", "c-true>a", "c-false>b", "a>d")
    state = r.folded(r.succeeded("t"), r.succeeded("c", "true"), r.failed("a"))
    assert cut(made, state, "c").executed == ("a", "d")


@pytest.mark.parametrize(
    "outcome",
    [
        r.failed("a"),
        r.failed("a", tolerated=1),
        r.interrupted("a"),
        r.succeeded("a", ends="completed"),
        r.started("a"),
        r.succeeded("t"),
    ],
)
def test_only_a_success_can_be_chosen(outcome: e.Facts) -> None:
    """Neither a tolerated failure, nor a terminate, nor what never ran."""
    with pytest.raises(NodeNotCompletedError, match="'a' did not succeed"):
        cut(LINE, r.folded(r.succeeded("t"), outcome), "a")


def test_replayed_are_all_node_events_of_kept_nodes_in_journal_order() -> None:
    """Earlier failed attempts too, and nothing of the run itself."""
    events = r.recorded(
        r.requested_facts(),
        r.RUN_STARTED,
        r.succeeded("t"),
        r.started("a"),
        r.failed("a", retried=1),
        r.retry_scheduled("a"),
        r.started("b"),
        r.started("a", 2),
        r.succeeded("a", attempt=2),
        r.failed("b"),
        e.RunFailed(code="http_503", node="b"),
    )
    kept = replayable(events, ["t", "a"])
    assert [event.version for event in kept] == [3, 4, 5, 6, 8, 9]


def test_a_replayed_event_names_its_source_and_shares_its_body() -> None:
    """A verifier can follow it to the original, and an erasure reaches it."""
    original = r.recorded(r.succeeded("a"))[0]
    copy = replayed(original, "new")
    assert copy.src == source(original) == f"{r.RUN}@1#{original.leaf.hex()}"
    assert (copy.body, copy.body_at) == (None, original.body_at)
    assert isinstance(copy.facts, e.NodeSucceeded)
    assert (copy.facts.source_id, copy.facts.ended_at) == (original.id, 20)


def test_a_call_without_an_outcome_keeps_its_key() -> None:
    """A definite failure gets a new one, and so does what is kept not matter."""
    state = r.folded(
        r.started("a", key="x:a:-:1"),
        r.interrupted("a", in_doubt=1),
        r.started("b", key="x:b:-:1"),
        r.failed("b"),
        r.started("c", key="x:c:-:1"),
        r.failed("c", "interrupted", tolerated=1),
    )
    assert doubts(state, ["c"]) == ("x:a:-:1",)


def test_an_inherited_doubt_lasts_until_a_call_of_ones_own() -> None:
    """A resume of a resume that never got to the node still can't know."""
    state = r.folded(
        r.failed("rendering"), r.started("called", key="y:called:-:1"), r.failed("called")
    )
    state.requested = r.requested_facts(in_doubt="x:a:-:1 x:rendering:-:1 x:called:-:1")
    assert doubts(state, []) == ("x:a:-:1", "x:rendering:-:1")


def test_the_last_good_node_is_the_one_whose_cut_keeps_most() -> None:
    """The newest success with nothing settled below it."""
    assert last_good(LINE, r.folded(*DONE, r.succeeded("b"), r.failed("c"))) == "b"
    assert last_good(FORK, r.folded(*DONE, r.failed("b"))) == "a"
    with pytest.raises(NodeNotCompletedError):
        last_good(LINE, r.folded(r.failed("t")))


STATE = r.folded(*DONE, r.failed("b"))
COMPONENTS = dict.fromkeys("tabc", "webhook")


@pytest.mark.parametrize(
    ("new", "components", "changed"),
    [
        (LINE, COMPONENTS, ""),
        (graph("t>a", "a>x", "x>c"), COMPONENTS, ""),
        (graph("t>a", "b>a", "t>b"), COMPONENTS, ""),
        (graph("t>b", "b>a"), COMPONENTS, "'a'"),
        (Graph("t", "tabc", [Edge("t", "a", "true")]), COMPONENTS, "'a'"),
        (LINE, {**COMPONENTS, "a": "delay"}, "'a'"),
        (graph("t>x"), {"t": "webhook", "x": "webhook"}, "'a'"),
    ],
)
def test_an_edited_workflow_carries_on_if_what_is_kept_is_still_there(
    new: Graph, components: dict[str, str], changed: str
) -> None:
    """Same component, same ways in from kept nodes; all that is not kept may have changed."""
    made = cut(LINE, STATE, "a")
    if not changed:
        check_compatible(LINE, new, components, made, STATE)
        return
    with pytest.raises(StateError, match=changed) as caught:
        check_compatible(LINE, new, components, made, STATE)
    assert caught.value.code == "definition_incompatible"
