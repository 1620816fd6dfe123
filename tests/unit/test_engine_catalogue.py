"""The catalogue: from a node of a definition to an instance, with a path for each fault."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.component import ConfigError, NodeConfig
from refold.engine.nodes.catalogue import CATALOGUE, compile_node, component_of
from refold.engine.nodes.conditions import StringCondition
from refold.engine.nodes.control import Delay, Terminate

EXAMPLES: dict[str, dict[str, Any]] = {
    "manual_trigger": {},
    "webhook_trigger": {"input_schema": {"type": "object"}},
    "sync_request_trigger": {},
    "schedule_trigger": {"timezone": "Europe/Rome", "payload": {"team": "ops"}},
    "workflow_trigger": {},
    "event_trigger": {"event_type": "order.*"},
    "webhook": {"url": "https://example.com/{{ trigger.id }}"},
    "altostrat_api": {"endpoint": "/sites/{{ trigger.id }}"},
    "send_email": {"to": "ann@mail.example", "subject": "Hi", "text": "{{ trigger.text }}"},
    "delay": {"duration": 5},
    "terminate": {"status": "failed"},
    "text_transform": {"template": "Hi {{ trigger.name }}"},
    "data_mapper": {"mappings": [{"target": "a.b", "source": "trigger.name"}]},
    "json_parser": {"source": "{{ a }}"},
    "string_transform": {"source": "{{ a }}", "operations": [{"op": "trim"}]},
    "date_transform": {"source": "now", "operations": [{"op": "start_of", "unit": "day"}]},
    "array_filter": {"items": "trigger.items", "sort": [{"by": "name"}]},
    "validate": {"source": "trigger", "schema": {"type": "object"}},
    "string_condition": {"left": "{{ a }}", "operator": "equals", "right": "x"},
    "number_condition": {"left": "{{ a }}", "operator": "between", "min": 1, "max": 2},
    "boolean_condition": {"left": "{{ a }}", "operator": "is_true"},
    "date_condition": {"left": "{{ a }}", "operator": "within_last", "amount": 2, "unit": "days"},
    "array_condition": {"left": "{{ a }}", "operator": "length", "comparison": ">", "right": 2},
    "logical_group": {
        "operator": "not",
        "conditions": [{"type": "boolean", "left": "{{ a }}", "operator": "is_true"}],
    },
    "switch": {"value": "{{ a }}", "cases": [{"handle": "x", "equals": 1}]},
    "form": {"fields": [{"name": "reason"}], "actions": [{"id": "approve"}], "timeout": 60},
    "iterator": {"items": "trigger.items", "nodes": [{"id": "a", "type": "terminate"}]},
    "trigger_workflow": {"workflow_id": f"fl_{'a' * 26}", "input": {"n": "{{ trigger.n }}"}},
}


def test_every_component_has_an_example_here() -> None:
    """A component that is added must be added to these tests."""
    assert set(CATALOGUE) == set(EXAMPLES)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_a_component_compiles_from_its_data(name: str) -> None:
    """Unknown fields are kept in the definition and ignored here."""
    data = {"componentId": name, "label": "My node", "colour": 3, **EXAMPLES[name]}
    node = compile_node({"id": "n1", "type": "action", "data": data}, "nodes[0]")
    assert type(node) is CATALOGUE[name]
    assert node.component == name
    assert issubclass(node.config_type, NodeConfig)


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ({"type": "action", "data": {"componentId": "delay"}}, "delay"),
        ({"type": "delay", "data": {}}, "delay"),
        ({"type": "delay"}, "delay"),
        ({"type": "delay", "data": {"componentId": None}}, "delay"),
        ({"type": "delay", "data": {"componentId": ""}}, "delay"),
        ({"type": "delay", "data": {"componentId": 5}}, "delay"),
        ({"data": {}}, None),
        ({"type": 5}, None),
        ({"type": "", "data": []}, None),
    ],
)
def test_the_component_is_named_by_the_data_or_the_type(
    node: dict[str, Any], name: str | None
) -> None:
    """Older clients name the component in `type`."""
    assert component_of(node) == name


@pytest.mark.parametrize(
    ("name", "data", "faulty"),
    [
        ("webhook", {}, ["url"]),
        ("webhook", {"url": 5, "method": "BREW"}, ["method", "url"]),
        ("switch", {"value": 1, "cases": [{"equals": 1}]}, ["cases[0]"]),
        ("switch", {"value": 1, "cases": [{"handle": 5, "equals": 1}]}, ["cases[0].handle"]),
        ("switch", {"value": "{{", "cases": []}, ["value"]),
        ("string_condition", {"left": "x", "operator": "is_empty", "ignore_case": "yes"},
         ["ignore_case"]),
        ("text_transform", {"template": {"a": ["{{ x"]}}, ["template.a[0]"]),
        ("delay", {"duration": 1, "unit": "weeks"}, ["unit"]),
        ("delay", {"duration": None}, ["duration"]),
        ("manual_trigger", {"input_schema": {"type": "no"}}, ["input_schema.type"]),
        ("manual_trigger", {"input_schema": []}, ["input_schema"]),
        ("schedule_trigger", {"timezone": "Mars/Base"}, ["timezone"]),
        ("altostrat_api", {"endpoint": "https://other.example/"}, ["endpoint"]),
        ("send_email", {"to": "ann", "subject": "x", "text": "y"}, ["to"]),
        ("iterator", {"items": "not a path", "nodes": []}, ["items", "nodes"]),
        ("trigger_workflow", {"workflow_id": "{{ trigger.id }}"}, ["workflow_id"]),
        ("nobody", {}, ["componentId"]),
    ],
)  # fmt: skip
def test_each_faulty_field_has_its_own_entry(
    name: str, data: dict[str, Any], faulty: list[str]
) -> None:
    """The paths are those of the request, so that an editor can mark the fields."""
    with pytest.raises(ConfigError) as caught:
        compile_node({"id": "n3", "data": {"componentId": name, **data}}, "nodes[2]")
    assert sorted(caught.value.errors) == [f"nodes[2].data.{field}" for field in faulty]
    assert all(messages for messages in caught.value.errors.values())


def test_a_node_that_names_no_component_is_refused() -> None:
    """So is one whose data is no object."""
    with pytest.raises(ConfigError) as caught:
        compile_node({"id": "n"}, "nodes[0]")
    assert caught.value.errors == {"nodes[0].data.componentId": ["is required"]}
    with pytest.raises(ConfigError) as caught:
        compile_node({"type": "delay", "data": [1]}, "nodes[0]")
    assert caught.value.errors == {"nodes[0].data": ["must be an object"]}


def test_a_null_in_an_optional_field_counts_as_absent() -> None:
    """Editors store null where nothing was entered."""
    data: dict[str, Any] = {"status": None, "message": None}
    assert isinstance(compile_node({"type": "terminate", "data": data}, "nodes[0]"), Terminate)
    assert isinstance(
        compile_node({"type": "delay", "data": {"duration": 1, "unit": None}}, "nodes[0]"), Delay
    )
    data = {"left": None, "operator": "is_empty", "right": None, "ignore_case": None}
    node = compile_node({"type": "string_condition", "data": data}, "nodes[0]")
    assert isinstance(node, StringCondition)
    assert node.run({}).handle == "true"
