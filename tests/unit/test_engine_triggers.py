"""The trigger nodes: the first output, and payloads checked against a schema."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

from refold.engine.component import ConfigError
from refold.engine.nodes.triggers import FAULTS_MAX, ManualTrigger, TriggerConfig, WebhookTrigger

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


@pytest.mark.parametrize("kind", [ManualTrigger, WebhookTrigger])
def test_the_first_output_is_the_payload_and_two_names(
    kind: type[ManualTrigger | WebhookTrigger],
) -> None:
    """A payload can't pretend to belong to another run."""
    node = kind(TriggerConfig())
    payload = {"a": 1, "run_id": "forged", "trigger_type": "forged"}
    outcome = node.start(payload, "manual", "fl_run_1")
    assert outcome.output == {"a": 1, "run_id": "fl_run_1", "trigger_type": "manual"}
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
