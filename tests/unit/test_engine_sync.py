"""Synchronous workflows: what they may hold, and what they answer."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.definition import Definition, compile_definition
from refold.engine.nodes.catalogue import CATALOGUE
from refold.engine.sync_answers import answer_of, answering_nodes
from refold.engine.sync_rules import check_sync
from refold.projections.node_state import NodeState
from tests.support.service import chain, node


def compiled(*nodes: dict[str, Any], trigger: str = "sync_request_trigger") -> Definition:
    """Compile a chain that begins with a trigger `t`."""
    text = chain(node("t", trigger), *nodes)
    return compile_definition(text["nodes"], text["edges"], nodes_max=100)


def settled(*names: str) -> dict[str, NodeState]:
    """Say that these nodes succeeded, one after the other."""
    return {
        name: NodeState(name, "x", "succeeded", 1, 0, body_at=at)
        for at, name in enumerate(names, 1)
    }


def response(template: Any, output: Any) -> Any:
    """Return what a response with this template answers when it came to this output."""
    definition = compiled(
        node("r", "text_transform", template=template, is_response=True),
        node("after", "text_transform", template="x"),
    )
    nodes = answering_nodes(definition, settled("t", "r", "after"))
    assert nodes == ["r"]
    return answer_of(definition, nodes, {"r": output})


BODY: dict[str, Any] = {"nodes": [node("inner", "text_transform", template="x")], "edges": []}
WAITING: dict[str, dict[str, Any]] = {
    "delay": {"duration": 1},
    "form": {"title": "?", "fields": [], "actions": [{"id": "ok", "label": "OK"}]},
    "iterator": {"items": "{{ trigger.items }}", **BODY},
}


@pytest.mark.parametrize("component", [name for name in WAITING if name in CATALOGUE])
def test_what_waits_by_its_nature_is_refused(component: str) -> None:
    """With its place; with any other trigger it is fine."""
    nodes = [node("a", "text_transform", template="x"), node("w", component, **WAITING[component])]
    [(path, [fault])] = check_sync(compiled(*nodes)).items()
    assert path == "nodes[2].data.componentId"
    assert f"'{component}'" in fault
    assert check_sync(compiled(*nodes, trigger="manual_trigger")) == {}


def test_the_rest_is_allowed() -> None:
    """A call may be slow too, and nobody can know it beforehand."""
    assert check_sync(compiled(node("a", "webhook", url="https://example.com"))) == {}


@pytest.mark.parametrize(
    ("template", "output", "answer"),
    [
        ("hello", {"text": "hello"}, "hello"),
        ("{{ x }}", {"value": 5}, 5),
        ("{{ x }}", {"value": None}, None),
        ("{{ x }}", {"value": [1, 2]}, [1, 2]),
        ("{{ x }}", {"a": 1}, {"a": 1}),
        ('{"a": {{ x }}}', {"text": '{"a": 5}'}, {"a": 5}),
        ("[1, 2]", {"text": "[1, 2]"}, [1, 2]),
        ('{"a": 1, "a": 2}', {"text": '{"a": 1, "a": 2}'}, '{"a": 1, "a": 2}'),
        ("NaN", {"text": "NaN"}, "NaN"),
        ("", {"text": ""}, ""),
        (["{{ x }}"], {"value": [5]}, [5]),
        # What is written as an object is answered as it is, whatever its fields are called.
        ({"text": "{{ x }}"}, {"text": "5"}, {"text": "5"}),
        ({"value": 5}, {"value": 5}, {"value": 5}),
    ],
)
def test_a_response_answers_with_what_its_template_came_to(
    template: Any, output: Any, answer: Any
) -> None:
    """Not with the wrapping that later nodes see."""
    assert response(template, output) == answer


def test_the_response_that_settled_last_answers() -> None:
    """One that failed and was tolerated is none."""
    definition = compiled(
        node("a", "text_transform", template="a", is_response=True),
        node("b", "text_transform", template="b", is_response=True),
        node("c", "text_transform", template="c"),
    )
    assert answering_nodes(definition, settled("t", "a", "b", "c")) == ["b"]
    assert answering_nodes(definition, settled("t", "b", "a", "c")) == ["a"]
    nodes = settled("t", "a", "b", "c")
    nodes["b"].phase = "tolerated"
    assert answering_nodes(definition, nodes) == ["a"]


def test_without_a_response_the_result_of_the_run_answers() -> None:
    """As it was recorded: an object stays one, with `text` or without."""
    definition = compiled(node("a", "text_transform", template="a"))
    nodes = answering_nodes(definition, settled("t", "a"))
    assert nodes == ["a"]
    assert answer_of(definition, nodes, {"a": {"text": "a"}}) == {"text": "a"}
