"""What becomes of a run: branches, failures, tolerance, retries, terminate, limits of a node."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from refold.engine.limits import Limits
from refold.journal import events as e
from refold.projections.run_state import RunState
from tests.support.simulated import TRIGGER, Endpoint, Reply, Simulated, call, edge, line, node
from tests.support.virtual_time import START_US, run_virtually

TEXT = {"template": "x"}
SCRIPT = dict[str, list[Reply]]


class Ran:
    """A run that has ended, and the service that ran it."""

    def __init__(self, sim: Simulated, state: RunState, events: list[e.Facts]) -> None:
        self.sim = sim
        self.state = state
        self.events = events
        self.phases = {name: known.phase for name, known in state.nodes.items()}
        self.log = [(entry.node, entry.status, entry.attempt) for entry in state.log]
        self.seconds = (sim.clock.now_us() - START_US) / 1e6


def run(
    nodes: list[dict[str, Any]],
    edges: list[dict[str, Any]],
    script: SCRIPT | None = None,
    payload: dict[str, Any] | None = None,
    limits: Limits | None = None,
) -> tuple[Ran, dict[str, Any], str]:
    """Run a workflow to its end; return it, what its nodes show, and its error message."""

    async def scenario() -> tuple[Ran, dict[str, Any], str]:
        sim = Simulated(Endpoint(script or {}), limits)
        workflow = await sim.define([TRIGGER, *nodes], edges)
        run_id = await sim.execute(workflow, payload)
        state = await sim.ended(run_id)
        message = await sim.message(state) if state.message_at else ""
        events = [x.facts for x in await sim.journal.read_stream(run_id)]
        ran = Ran(sim, state, events)
        bodies = await sim.bodies(state)
        await sim.close()
        assert sim.endpoint.faults == []
        return ran, bodies, message

    return run_virtually(scenario())


def test_five_pure_nodes_cost_nine_events_and_two_commits() -> None:
    """The request is one commit, and everything up to the end the other."""
    names = ["a", "b", "c", "d", "e"]
    ran, _, _ = run([node(n, "text_transform", **TEXT) for n in names], line("start", *names))
    assert ran.state.status == "completed"
    assert [x.type for x in ran.events] == [
        "run.requested",
        "run.started",
        *["node.succeeded"] * 6,
        "run.completed",
    ]
    assert len(ran.sim.journal.commits) == 1 + 2


def test_a_step_appends_an_outcome_with_the_start_of_the_next_effect() -> None:
    """One append a scheduling step: three calls in a row are four appends after the request."""
    ran, _, _ = run([call("a"), call("b"), call("c")], line("start", "a", "b", "c"))
    assert len(ran.sim.journal.commits) == 2 + 4
    assert [x.node for x in ran.sim.endpoint.calls] == ["a", "b", "c"]


def test_branches_run_at_the_same_time() -> None:
    """Two calls of a second each, after a fork, take one second."""
    script: SCRIPT = {"a": [Reply(seconds=1)], "b": [Reply(seconds=1)]}
    ran, _, _ = run(
        [call("a"), call("b"), node("j", "text_transform", **TEXT)],
        line("start", "a", "j") + line("start", "b", "j"),
        script,
    )
    assert (ran.state.status, ran.seconds) == ("completed", 1.0)
    assert ran.log.count(("j", "success", 1)) == 1


def test_a_node_sees_outputs_upstream_of_it_and_no_others() -> None:
    """A finished sibling renders empty, since another time it might not have finished."""
    seen = {"up": "{{ a.body.value }}", "beside": "{{ b.body.value }}", "run": "{{ run.origin }}"}
    script: SCRIPT = {n: [Reply(body={"value": n})] for n in "ab"}
    _, bodies, _ = run(
        [call("a"), call("b"), node("t", "text_transform", template=seen)],
        line("start", "a", "t") + line("start", "b"),
        script,
    )
    assert bodies["t"] == {"up": "a", "beside": None, "run": "execute"}


def test_a_condition_takes_one_way_and_the_other_is_dead() -> None:
    """What only the dead way leads to leaves no trace in the journal."""
    ran, bodies, _ = run(
        [
            node("c", "number_condition", left="{{ trigger.n }}", operator="less_than", right=5),
            call("yes"),
            call("no"),
            call("both"),
        ],
        [
            edge("start", "c"),
            edge("c", "yes", "true"),
            edge("c", "no", "false"),
            *line("yes", "both"),
            *line("no", "both"),
        ],
        payload={"n": 3},
    )
    assert bodies["c"]["result"] is True
    assert set(ran.phases) == {"start", "c", "yes", "both"}


def test_an_untolerated_failure_ends_the_run_with_its_message() -> None:
    """Nothing starts after it."""
    ran, _, message = run(
        [call("a"), call("b")], line("start", "a", "b"), {"a": [Reply(status=503)]}
    )
    assert (ran.state.status, ran.state.failed_node) == ("failed", "a")
    assert message == "Webhook request failed: 503 Service Unavailable"
    assert ran.log[-1] == ("a", "error", 1)


def test_calls_on_the_wire_finish_and_are_logged_after_a_failure() -> None:
    """But what follows them never starts, and the run ends with the first failure."""
    script: SCRIPT = {
        "bad": [Reply(status=500, seconds=1)],
        "slow": [Reply(seconds=5)],
        "worse": [Reply(status=503, seconds=6)],
    }
    ran, _, message = run(
        [call("bad"), call("slow"), call("worse"), call("after")],
        line("start", "slow", "after") + line("start", "worse") + line("start", "bad"),
        script,
    )
    assert ran.log[1:] == [("bad", "error", 1), ("slow", "success", 1), ("worse", "error", 1)]
    assert ran.state.failed_node == "bad"
    assert "500" in message
    assert ran.seconds == 6.0


def test_waits_are_ended_by_a_failure() -> None:
    """Delays and retry waits are interrupted, which the log shows as a warning."""
    retry = {"max_attempts": 3, "initial_interval": 60}
    script: SCRIPT = {
        "bad": [Reply(status=500, seconds=1)],
        "again": [Reply(status=503, seconds=0.5)],
    }
    ran, bodies, _ = run(
        [call("bad"), call("again", retry=retry), node("d", "delay", duration=100)],
        line("start", "bad") + line("start", "again") + line("start", "d"),
        script,
    )
    assert ran.phases == {
        "start": "succeeded",
        "bad": "failed",
        "again": "interrupted",
        "d": "interrupted",
    }
    assert ("d", "warning", 1) in ran.log
    assert bodies["d"]["error"]["code"] == "run_failed"
    assert ran.seconds == 1.0


def test_of_two_waits_that_end_together_the_second_is_ended_by_the_first() -> None:
    """A retry that fails for good leaves no further attempt to the next in line."""
    retry = {"max_attempts": 2, "initial_interval": 1}
    ran, _, _ = run(
        [
            node(
                "bad",
                "number_condition",
                left="{{ run.id }}",
                operator="equals",
                right=1,
                retry=retry,
            ),
            call("again", retry=retry),
        ],
        line("start", "bad") + line("start", "again"),
        {"again": [Reply(status=503, seconds=0)]},
    )
    assert ran.seconds == 1.0
    assert ran.phases == {"start": "succeeded", "bad": "failed", "again": "interrupted"}
    assert len(ran.sim.endpoint.calls) == 1


@pytest.mark.parametrize("handle", [None, "error"])
def test_a_tolerated_failure_goes_on_and_is_the_node_s_value(handle: str | None) -> None:
    """By its error edge, or by a plain edge where it has no other."""
    ran, bodies, _ = run(
        [
            call("a", continue_on_error=True),
            node("t", "text_transform", template="{{ a.error.code }} {{ a.status }}"),
        ],
        [edge("start", "a"), edge("a", "t", handle)],
        {"a": [Reply(status=503)]},
    )
    assert ran.state.status == "completed"
    assert ran.log == [("start", "success", 1), ("a", "warning", 1), ("t", "success", 1)]
    assert bodies["t"] == {"text": "http_503 503"}


def test_on_success_the_error_edge_is_dead() -> None:
    """The handler of a failure that did not happen never runs."""
    ran, _, _ = run(
        [call("a", continue_on_error=True), call("handler"), call("next")],
        [edge("start", "a"), edge("a", "handler", "error"), edge("a", "next")],
    )
    assert set(ran.phases) == {"start", "a", "next"}


def test_a_retried_node_waits_and_uses_the_same_key() -> None:
    """Each attempt is an event and a log entry; the receiver can tell the repeats."""
    retry = {"max_attempts": 3, "initial_interval": 1, "backoff": 4, "on": ["http_503"]}
    ran, _, _ = run(
        [call("a", retry=retry)],
        line("start", "a"),
        {"a": [Reply(status=503, seconds=0), Reply(status=503, seconds=0), Reply(seconds=0)]},
    )
    assert ran.log[1:] == [("a", "warning", 1), ("a", "warning", 2), ("a", "success", 3)]
    assert ran.seconds == 5.0
    assert {x.key for x in ran.sim.endpoint.calls} == {f"{ran.state.run_id}:a:-:1"}


def test_a_failure_that_the_policy_does_not_name_is_not_retried() -> None:
    """`on` lists the codes that are worth another attempt."""
    ran, _, _ = run(
        [call("a", retry={"max_attempts": 3, "on": ["http_503"]})],
        line("start", "a"),
        {"a": [Reply(status=404)]},
    )
    assert ran.log[1:] == [("a", "error", 1)]


@pytest.mark.parametrize(("status", "log"), [("completed", "warning"), ("failed", "error")])
def test_terminate_ends_the_run_with_its_own_status(status: str, log: str) -> None:
    """Other branches are ended as by a failure: calls finish, waits don't, nothing starts."""
    ran, _, message = run(
        [
            node("end", "terminate", status=status, message="no {{ trigger.what }}"),
            call("slow"),
            node("d", "delay", duration=100),
            call("after"),
        ],
        line("start", "slow", "after") + line("start", "d") + line("start", "end"),
        {"slow": [Reply(status=500, seconds=2)]},
        {"what": "more"},
    )
    assert ran.state.status == status
    assert ran.phases["d"] == "interrupted"
    assert "after" not in ran.phases
    assert ("slow", log, 1) in ran.log
    if status == "failed":
        assert (ran.state.failed_node, message) == ("end", "no more")


def test_a_call_that_takes_too_long_times_out() -> None:
    """By the node's own limit where it has one."""
    ran, bodies, _ = run([call("a", timeout=2)], line("start", "a"), {"a": [Reply(seconds=100)]})
    assert ran.seconds == 2.0
    assert bodies["a"]["error"]["code"] == "timeout"
    assert ran.sim.endpoint.on_wire == 0


def test_the_service_s_limit_holds_beside_the_node_s_own() -> None:
    """A node can't ask for more time than the operator gives."""
    ran, _, _ = run(
        [call("a", timeout=1000)],
        line("start", "a"),
        {"a": [Reply(seconds=900)]},
        limits=Limits(node_seconds_max=30),
    )
    assert (ran.state.status, ran.seconds) == ("failed", 30.0)


def test_a_delay_longer_than_its_time_out_fails() -> None:
    """When the time-out has passed, and not before or after."""
    ran, bodies, _ = run([node("d", "delay", duration=10, timeout=4)], line("start", "d"))
    assert ran.seconds == 4.0
    assert bodies["d"]["error"]["code"] == "timeout"


def test_a_delay_beyond_the_service_s_limit_fails_at_once() -> None:
    """Passing a limit is a clear failure of the node."""
    ran, bodies, _ = run(
        [node("d", "delay", duration="{{ trigger.n }}")],
        line("start", "d"),
        payload={"n": 100},
        limits=Limits(delay_seconds_max=60),
    )
    assert bodies["d"]["error"]["code"] == "delay_invalid"
    assert "60" in bodies["d"]["error"]["message"]
    assert ran.seconds == 0


def test_an_output_beyond_the_limit_is_a_failure_without_it() -> None:
    """The journal never holds it; the failure can be tolerated like any other."""
    ran, bodies, _ = run(
        [call("a", continue_on_error=True)],
        line("start", "a"),
        {"a": [Reply(body={"text": "x" * 2000})]},
        limits=Limits(output_bytes_max=1000),
    )
    assert ran.state.status == "completed"
    assert bodies["a"]["error"]["code"] == "output_too_large"
    assert "1000" in bodies["a"]["error"]["message"]


def test_of_a_failure_beyond_the_limit_the_error_is_kept() -> None:
    """What was received is left out."""
    _, bodies, message = run(
        [call("a")],
        line("start", "a"),
        {"a": [Reply(status=500, body={"text": "x" * 2000})]},
        limits=Limits(output_bytes_max=1000),
    )
    assert bodies["a"]["error"]["code"] == "http_500"
    assert bodies["a"]["truncated"] is True
    assert "500" in message


def test_a_run_that_takes_too_long_is_ended() -> None:
    """As a cancelled one, with a code and a message of its own."""
    ran, bodies, message = run(
        [call("a"), node("d", "delay", duration=800)],
        line("start", "a") + line("start", "d"),
        {"a": [Reply(seconds=200)]},
        limits=Limits(run_seconds_max=100),
    )
    assert (ran.state.status, ran.state.failed_node) == ("failed", "")
    assert message == "Run exceeded its time limit of 100 s"
    assert bodies["d"]["error"]["code"] == bodies["a"]["error"]["code"] == "run_timeout"
    # The call had the grace of a cancelled run.
    assert ran.seconds == 110.0
    assert ran.state.nodes["a"].in_doubt


def test_a_long_chain_of_pure_nodes_is_cut_into_commits() -> None:
    """No commit holds more than 256 events, and the run completes all the same."""
    names = [f"n{index}" for index in range(400)]
    ran, _, _ = run([node(n, "text_transform", **TEXT) for n in names], line("start", *names))
    assert ran.state.status == "completed"
    sizes = [b - a for a, b in pairwise(ran.sim.journal.commits)]
    assert max(sizes) <= 256
    assert len(ran.state.log) == 401


def test_a_secret_is_revealed_to_the_call_alone() -> None:
    """Neither what is journaled of the request nor what came back holds it, in any later node."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(body={"echo": "canary-4711-secret"})]}))
        sim.secrets["key"] = "canary-4711-secret"
        show = node("x", "text_transform", template="{{ vault.key | upcase }} {{ a.echo }}")
        a = call("a", {"key": "{{ vault.key }}", "more": "Bearer {{ vault.key }}"})
        workflow = await sim.define([TRIGGER, a, show], line("start", "a", "x"))
        run_id = await sim.execute(workflow)
        state = await sim.ended(run_id)
        assert state.status == "completed"
        assert b"canary-4711-secret" in sim.endpoint.bodies[0]
        events = await sim.journal.read_all(limit=100)
        bodies = await sim.journal.read_bodies([event.position for event in events])
        stored = b"".join(body.data for body in bodies.values())
        assert b"***" in stored
        assert b"canary" not in stored.lower()
        await sim.close()

    run_virtually(scenario())
