"""The trigger nodes: the first output, and payloads checked against a schema."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

from refold.engine.cloud_events import TEXT_LENGTH_MAX, TYPE_LENGTH_MAX
from refold.engine.component import ConfigError, TriggerNode
from refold.engine.nodes.catalogue import CATALOGUE, compile_node
from refold.engine.nodes.triggers import (
    FAULTS_MAX,
    EventTrigger,
    ManualTrigger,
    TriggerConfig,
    WebhookTrigger,
)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["user"],
    "properties": {
        "user": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "integer"}, "tags": {"items": {"type": "string"}}},
        },
        "code": {"pattern": "^[a-z]+$"},
    },
}


TRIGGERS = [name for name, kind in CATALOGUE.items() if issubclass(kind, TriggerNode)]


def trigger(name: str, **data: Any) -> Any:
    """Compile a trigger; an event trigger gets a type."""
    given = {"event_type": "*"} if name == "event_trigger" else {}
    return compile_node({"data": {"componentId": name, **given, **data}}, "n")


def event_trigger(**data: Any) -> EventTrigger:
    """Compile an event trigger."""
    made = trigger("event_trigger", **data)
    assert isinstance(made, EventTrigger)
    return made


@pytest.mark.parametrize("name", TRIGGERS)
def test_the_first_output_is_the_payload_and_two_names(name: str) -> None:
    """A payload can't pretend to belong to another run."""
    node = trigger(name)
    payload = {"a": 1, "run_id": "forged", "trigger_type": "forged"}
    outcome = node.start(payload, "manual", "fl_run_1")
    expected = {"a": 1, "run_id": "fl_run_1", "trigger_type": "manual"}
    assert outcome.output | expected == outcome.output
    assert payload["run_id"] == "forged"
    assert node.check_payload({"anything": [1]}) == []


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ({}, "payload.user: is a required property"),
        ({"user": {}}, "payload.user.id: is a required property"),
        ({"user": {"id": "x"}}, 'payload.user.id: value is not of type "integer"'),
        ({"user": {"id": 1, "tags": ["a", 5]}}, "payload.user.tags[1]: value is not of type"),
        ({"user": {"id": 1}, "code": "hunter2"}, "payload.code: value does not match"),
    ],
)
def test_a_payload_that_breaks_the_schema_is_told_where(
    payload: dict[str, Any], fault: str
) -> None:
    """The message names the place and the rule, and never the value."""
    [message] = ManualTrigger(TriggerConfig(input_schema=SCHEMA)).check_payload(payload)
    assert message.startswith(fault)
    assert "hunter2" not in message


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_trigger_has_a_schema(name: str) -> None:
    """A payload that breaks it is told where, by whichever way it comes."""
    assert trigger(name, input_schema=SCHEMA).check_payload({}) == [
        "payload.user: is a required property"
    ]


@pytest.mark.parametrize("schema", [5, "x", [1], {"type": 5}, {"properties": []}])
@pytest.mark.parametrize("name", TRIGGERS)
def test_every_trigger_refuses_a_schema_that_is_none(name: str, schema: object) -> None:
    """By the name of the field, when it is saved."""
    with pytest.raises(ConfigError) as caught:
        trigger(name, input_schema=schema)
    assert all(path.startswith("n.data.input_schema") for path in caught.value.errors)


@pytest.mark.parametrize(
    ("data", "event_type", "source", "fits"),
    [
        ({"event_type": "order.paid"}, "order.paid", "/shop", True),
        ({"event_type": "order.paid"}, "order.paid.late", "/shop", False),
        ({"event_type": "order.paid"}, "Order.paid", "/shop", False),
        ({"event_type": "order.*"}, "order.paid", "/shop", True),
        ({"event_type": "order.*"}, "order.", "/shop", True),
        ({"event_type": "order.*"}, "order", "/shop", False),
        ({"event_type": "*"}, "anything", "/shop", True),
        ({"event_type": "*", "source": "/shop"}, "a", "/shop", True),
        ({"event_type": "*", "source": "/shop"}, "a", "/shop/2", False),
        ({"event_type": "*", "source": "/shop/*"}, "a", "/shop/2", True),
        ({"event_type": "*", "source": "/shop/*"}, "a", "/shop", False),
        ({"event_type": "a.b"}, "a-b", "/", False),
    ],
)
def test_an_event_trigger_takes_a_type_or_all_that_begin_alike(
    data: dict[str, str], event_type: str, source: str, fits: bool
) -> None:
    """The star stands at the end, and nothing else is a pattern."""
    assert event_trigger(**data).accepts(event_type, source) is fits


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"event_type": None}, "event_type"),
        ({"event_type": ""}, "event_type"),
        ({"event_type": 5}, "event_type"),
        ({"event_type": "a*b"}, "event_type"),
        ({"event_type": "**"}, "event_type"),
        ({"event_type": "x" * (TYPE_LENGTH_MAX + 1)}, "event_type"),
        ({"event_type": "a", "source": 5}, "source"),
        ({"event_type": "a", "source": "*/x"}, "source"),
        ({"event_type": "a", "source": "x" * (TEXT_LENGTH_MAX + 1)}, "source"),
    ],
)
def test_an_event_trigger_that_can_not_be_is_refused(data: dict[str, Any], field: str) -> None:
    """The refusal names the field."""
    with pytest.raises(ConfigError) as caught:
        event_trigger(**data)
    assert list(caught.value.errors) == [f"n.data.{field}"]


@pytest.mark.parametrize(
    ("signature", "field"),
    [
        ({}, "signature"),
        ("x", "signature"),
        ({"secrets": ["in clear"]}, "signature.secrets[0]"),
        ({"secrets": []}, "signature.secrets"),
        ({"secrets": ["vlt_" + "0" * 26], "tolerance": 5}, "signature"),
        ({"secrets": ["vlt_" + "0" * 26], "tolerance_seconds": "5"}, "signature.tolerance_seconds"),
    ],
)
def test_a_signature_that_can_not_be_is_refused(signature: object, field: str) -> None:
    """A webhook whose author misspelt its protection would be open to all."""
    with pytest.raises(ConfigError) as caught:
        trigger("webhook_trigger", signature=signature)
    assert list(caught.value.errors) == [f"n.data.{field}"]
    assert "in clear" not in str(caught.value.errors)


def test_a_webhook_knows_how_its_calls_are_signed() -> None:
    """Null is what editors store for nothing."""
    made = trigger("webhook_trigger", signature={"secrets": ["{{ vault.a }}"]})
    assert isinstance(made, WebhookTrigger)
    assert made.signature is not None
    assert (made.signature.references, made.signature.tolerance_seconds) == (["a"], 300)
    assert trigger("webhook_trigger", signature=None).signature is None


def test_a_good_payload_has_no_faults() -> None:
    """Fields that the schema doesn't name are allowed, as JSON Schema says."""
    node = ManualTrigger(TriggerConfig(input_schema=SCHEMA))
    assert node.check_payload({"user": {"id": 1}, "more": None}) == []


def test_the_number_of_faults_is_limited() -> None:
    """A payload of a thousand faults gets an answer of a readable size."""
    node = ManualTrigger(TriggerConfig(input_schema={"additionalProperties": {"type": "string"}}))
    assert len(node.check_payload({str(index): index for index in range(999)})) == FAULTS_MAX


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"properties": {"a": {"minimum": "x"}}},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"$schema": "http://127.0.0.1:9/meta.json"},
        {"$ref": "#/$defs/nobody"},
        {"pattern": "(?=look)ahead"},
        {"pattern": "a{999}{999}{999}"},
    ],
)
def test_a_schema_that_can_not_work_is_refused(schema: dict[str, Any]) -> None:
    """Nothing is fetched, and patterns that could take exponential time don't compile."""
    with pytest.raises(ConfigError) as caught:
        ManualTrigger(TriggerConfig(input_schema=schema))
    [(path, [message])] = caught.value.errors.items()
    assert path.startswith("input_schema")
    assert len(message) <= 300
    assert "\n" not in message


def test_no_reference_is_fetched() -> None:
    """A schema comes from a client, who must not make the service call addresses of its choice."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(ConfigError, match="not followed"):
            ManualTrigger(TriggerConfig(input_schema={"$ref": url}))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_pattern_takes_linear_time() -> None:
    """The classic slow pattern against the classic slow text ends at once."""
    schema = {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    node = ManualTrigger(TriggerConfig(input_schema=schema))
    assert len(node.check_payload({"a": "a" * 50_000 + "!"})) == 1


def test_a_schema_that_refers_to_itself_ends() -> None:
    """A circle of references is legal, and must not take the process with it."""
    for schema in ({"$ref": "#"}, {"allOf": [{"$ref": "#"}]}):
        assert ManualTrigger(TriggerConfig(input_schema=schema)).check_payload({"a": 1}) == []


def test_without_a_schema_the_checker_is_not_loaded() -> None:
    """An instance whose workflows have no schema does not pay for it."""
    code = (
        "import sys; from refold.engine.nodes.triggers import *\n"
        "ManualTrigger(TriggerConfig()).check_payload({})\n"
        "assert 'jsonschema_rs' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
