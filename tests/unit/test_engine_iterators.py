"""Iterators: order, bounds, items that fail, nesting, and a crash at every event."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.definition import DefinitionError
from refold.engine.errors import NodeNotCompletedError
from refold.journal import events as e
from refold.projections.run_state import RunState
from tests.support.simulated import (
    HOST,
    TRIGGER,
    Endpoint,
    Reply,
    Simulated,
    call,
    edge,
    line,
    node,
    restarted,
)
from tests.support.virtual_time import run_virtually


def each(name: str, body: list[dict[str, Any]], edges: Any = (), **data: Any) -> dict[str, Any]:
    """Write an iterator over the trigger's list."""
    data.setdefault("items", "{{ trigger.list }}")
    return node(name, "iterator", nodes=body, edges=list(edges), **data)


def text(name: str, template: Any) -> dict[str, Any]:
    """Write a node that renders a template."""
    return node(name, "text_transform", template=template)


async def run_over(
    sim: Simulated, items: Any, iterator: dict[str, Any], *more: dict[str, Any]
) -> tuple[str, RunState, Any]:
    """Run an iterator over a list; return the run, its state and the iterator's output."""
    names = ("start", iterator["id"], *(after["id"] for after in more))
    workflow = await sim.define([TRIGGER, iterator, *more], line(*names))
    run_id = await sim.execute(workflow, {"list": items})
    state = await sim.ended(run_id)
    return run_id, state, (await sim.bodies(state)).get(iterator["id"])


def test_results_keep_the_order_of_the_items_and_each_item_sees_itself() -> None:
    """Whatever is quicker, the third result belongs to the third item."""

    async def scenario() -> None:
        sim = Simulated()
        body = [text("x", {"v": "{{ item }}", "i": "{{ index }}", "of": "{{ it.item }}"})]
        _, state, output = await run_over(sim, ["a", "b", "c"], each("it", body))
        assert state.status == "completed"
        assert output == {
            "results": [{"v": x, "i": i, "of": x} for i, x in enumerate("abc")],
            "errors": [],
        }
        inside = [(entry.node, entry.iteration) for entry in state.log if entry.iteration]
        assert inside == [("x", "0"), ("x", "1"), ("x", "2")]
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize(("mode", "bound", "most"), [("sequential", 7, 1), ("parallel", 3, 3)])
def test_no_more_items_are_under_way_than_may_be(mode: str, bound: int, most: int) -> None:
    """One after the other unless it says parallel, and then as many as it says."""

    async def scenario() -> None:
        open_now, highest = 0, 0

        def count(events: Any) -> None:
            nonlocal open_now, highest
            for event in events:
                open_now += isinstance(event.facts, e.IterationStarted)
                open_now -= isinstance(event.facts, e.IterationEnded)
                highest = max(highest, open_now)

        sim = Simulated()
        sim.journal.subscribe(count)
        iterator = each("it", [call("h")], mode=mode, concurrency=bound)
        _, state, output = await run_over(sim, list(range(10)), iterator)
        assert (state.status, highest, len(output["results"])) == ("completed", most, 10)
        assert sim.endpoint.faults == []
        await sim.close()

    run_virtually(scenario())


def test_items_that_fail_are_reported_one_by_one_and_the_run_goes_on() -> None:
    """Their log entries are warnings: nothing of the run failed."""

    async def scenario() -> None:
        sim = Simulated()
        check = node("c", "number_condition", left="{{ item }}", operator="less_than", right=5)
        iterator = each("it", [check, text("x", "{{ item }}")], [edge("c", "x", "true")])
        _, state, output = await run_over(sim, [1, "no", 9, 3], iterator, text("end", "over"))
        assert state.status == "completed"
        assert output["results"][0] == {"text": "1"} or output["results"][0] == {"value": 1}
        assert output["results"][1] is None
        assert output["results"][2]["result"] is False
        (error,) = output["errors"]
        assert (error["index"], error["node_id"], error["code"]) == (1, "c", "type_mismatch")
        statuses = {(entry.node, entry.iteration): entry.status for entry in state.log}
        assert statuses["c", "1"] == "warning"
        assert statuses["end", ""] == "success"
        await sim.close()

    run_virtually(scenario())


def test_an_item_that_fails_ends_what_waits_in_it_and_no_other() -> None:
    """A delay beside the failure is ended; the neighbour's delay is not."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h1": [Reply(503)]}))
        headers = [{"key": "X-Run", "value": "{{ run.id }}"}]
        hook = node("h", "webhook", url=HOST + "h{{ item }}", headers=headers)
        body = [hook, node("d", "delay", duration=60), text("x", "{{ item }}")]
        iterator = each("it", body, [edge("d", "x")], mode="parallel", concurrency=2)
        _, state, output = await run_over(sim, [1, 2], iterator)
        assert state.status == "completed"
        assert [error["index"] for error in output["errors"]] == [0]
        ended = [x.iteration for x in state.log if x.node == "d" and x.status == "warning"]
        assert ended == ["0"]
        await sim.close()

    run_virtually(scenario())


def test_retries_and_tolerance_hold_inside() -> None:
    """An attempt of an item is repeated under the same key; its neighbours have their own."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(503), Reply(200)]}))
        retry = {"max_attempts": 2, "initial_interval": 1}
        run_id, state, output = await run_over(sim, [1], each("it", [call("h", retry=retry)]))
        assert (state.status, output["errors"]) == ("completed", [])
        assert [sent.key for sent in sim.endpoint.calls] == [f"{run_id}:h:0:1"] * 2
        await sim.close()

    run_virtually(scenario())


def test_iterators_nest_and_see_the_items_around_them() -> None:
    """The path of an item is the path of its iterator and its own index."""

    async def scenario() -> None:
        sim = Simulated()
        leaf = text("x", "{{ outer.item.name }}-{{ item }}-{{ index }}")
        inner = each("inner", [leaf], items="{{ item.of }}")
        outer = each("outer", [inner], mode="parallel")
        lists: list[dict[str, Any]] = [
            {"name": "a", "of": [1, 2]},
            {"name": "b", "of": []},
            {"name": "c", "of": [3]},
        ]
        _, state, output = await run_over(sim, lists, outer)
        assert state.status == "completed"
        texts = [[x["text"] for x in end["results"]] for end in output["results"]]
        assert texts == [["a-1-0", "a-2-1"], [], ["c-3-0"]]
        paths = [entry.iteration for entry in state.log if entry.node == "x"]
        assert sorted(paths) == ["0.0", "0.1", "2.0"]
        await sim.close()

    run_virtually(scenario())


def test_a_terminate_inside_ends_the_whole_run() -> None:
    """It says what it says wherever it stands."""

    async def scenario() -> None:
        sim = Simulated()
        stop = node("stop", "terminate", status="failed", message="enough of {{ item }}")
        _, state, output = await run_over(sim, [1, 2, 3], each("it", [stop]))
        assert (state.status, state.failed_node, output is None) == ("failed", "stop", False)
        assert await sim.message(state) == "enough of 1"
        assert state.nodes["it"].phase == "interrupted"
        await sim.close()

    run_virtually(scenario())


def test_a_cancelled_run_begins_no_further_item() -> None:
    """What waits inside is ended, and the iterator after it."""

    async def scenario() -> None:
        sim = Simulated()
        iterator = each("it", [node("d", "delay", duration=60)])
        workflow = await sim.define([TRIGGER, iterator], line("start", "it"))
        run_id = await sim.execute(workflow, {"list": [1, 2, 3]})
        await sim.until(run_id, lambda known: ("0", "d") in known.open)
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert (state.status, [x.node for x in state.log]) == ("failed", ["start", "d", "it"])
        assert not state.open
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ("text", "a string"),
        ({"a": 1}, "an object"),
        (None, "nothing"),
        (list(range(1001)), "1001 items; the limit is 1000"),
    ],
)
def test_what_is_no_list_or_too_long_fails_the_node(items: Any, says: str) -> None:
    """The message names what came instead."""

    async def scenario() -> None:
        sim = Simulated()
        _, state, _ = await run_over(sim, items, each("it", [text("x", "x")]))
        assert (state.status, state.failed_node) == ("failed", "it")
        assert says in await sim.message(state)
        await sim.close()

    run_virtually(scenario())


def test_an_empty_list_has_no_results() -> None:
    """Nothing is run for nothing."""

    async def scenario() -> None:
        sim = Simulated()
        _, state, output = await run_over(sim, [], each("it", [text("x", "x")]))
        assert (state.status, output) == ("completed", {"results": [], "errors": []})
        await sim.close()

    run_virtually(scenario())


def test_a_resume_keeps_an_iterator_whole_and_never_begins_inside_of_one() -> None:
    """Every event of its items is replayed with it; its results are what later nodes see."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"after": [Reply(503)]}))
        iterator = each("it", [call("h"), text("x", "{{ h.ok }}{{ item }}")], line("h", "x"))
        after = call("after", {"got": "{{ it.results }}"})
        run_id, state, _ = await run_over(sim, [1, 2], iterator, after)
        assert state.status == "failed"
        calls = len(sim.endpoint.calls)
        sim.endpoint.script = {}
        resumed = await sim.ended(await sim.resume(run_id, "it"))
        assert resumed.status == "completed"
        assert [sent.node for sent in sim.endpoint.calls[calls:]] == ["after"]
        replayed = [(x.node, x.iteration) for x in resumed.log if x.source_id]
        assert replayed == [(x.node, x.iteration) for x in state.log if x.node != "after"]
        with pytest.raises(NodeNotCompletedError):
            await sim.resume(run_id, "h")
        await sim.close()

    run_virtually(scenario())


NESTED = each(
    "outer",
    [
        call("h", {"item": "{{ item }}"}),
        node("d", "delay", duration=2),
        each("inner", [call("g", continue_on_error=True)], items=[1, 2], mode="parallel"),
        text("x", "{{ item }} {{ inner.results | size }}"),
    ],
    [edge("h", "d"), edge("h", "inner"), edge("d", "x"), edge("inner", "x")],
    mode="parallel",
    concurrency=2,
)


def _script() -> Endpoint:
    return Endpoint({"g": [Reply(200), Reply(503), Reply(200), Reply(503)] * 3})


def test_a_crash_at_any_event_continues_with_the_items_that_are_left() -> None:
    """No item is lost or run twice, and no call is made under a second key."""

    async def scenario() -> None:
        sim = Simulated(_script())
        run_id, whole, output = await run_over(sim, ["a", "b", "c"], NESTED, text("end", "over"))
        assert (whole.status, len(output["results"])) == ("completed", 3)
        await sim.close()
        for head in range(3, sim.journal.head):
            after = await restarted(sim, head, endpoint=_script())
            state = await after.ended(run_id)
            found = (await after.bodies(state))["outer"]
            assert (state.status, len(found["results"])) == ("completed", 3), head
            assert [end["text"] for end in found["results"]] == ["a 2", "b 2", "c 2"], head
            ended = [
                (x.facts.iteration, x.facts.node)
                for x in await after.journal.read_stream(run_id)
                if isinstance(x.facts, e.IterationEnded)
            ]
            assert len(ended) == len(set(ended)) == 9, head
            once = [(x.node, x.iteration) for x in state.log if x.status == "success"]
            assert len(once) == len(set(once)), head
            assert after.endpoint.faults == [], head
            await after.close()

    run_virtually(scenario())


def test_iterators_nest_five_deep_and_no_deeper() -> None:
    """The sixth is refused by its path."""

    def nested(depth: int) -> dict[str, Any]:
        body = text("x", "x") if depth == 1 else nested(depth - 1)
        return each(f"it{depth}", [body], items=[1])

    async def scenario() -> None:
        sim = Simulated()
        _, state, _ = await run_over(sim, [], nested(5))
        assert state.status == "completed"
        assert state.inner["0.0.0.0.0", "x"].phase == "succeeded"
        with pytest.raises(DefinitionError, match="1 fault"):
            await sim.define([TRIGGER, nested(6)], line("start", "it6"))
        await sim.close()

    run_virtually(scenario())
