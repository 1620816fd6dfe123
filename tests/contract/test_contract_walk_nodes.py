"""The walk through the contract's catalogue of nodes: each one documented, and run over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.example_kit import Stage, staged, wait_for_event
from tests.support.http_kit import create, followed, hook_path, run
from tests.support.service import Client, chain, node

ENGINE = Path(__file__).parents[2] / "engine"
DOCUMENTS = "\n".join(
    page.read_text("utf-8") for page in (ENGINE / "README.md", *sorted(ENGINE.glob("nodes/*.md")))
)
COMMON = "description continue_on_error retry timeout delivery"
"""The fields that every node may carry."""


class Kind(msgspec.Struct):
    """A component of the contract."""

    fields: str
    """What can be said of it."""
    data: dict[str, Any] = {}
    """An example that runs by itself; `URL` stands for the endpoint."""
    output: str = ""
    """The names in what it passes on."""
    handle: str = ""
    """The one that the example leaves by."""


OPERANDS = "left operator right"
COMPARED = "result left operator right"
TRIGGERS = {
    "manual_trigger": "input_schema",
    "webhook_trigger": "input_schema",
    "sync_request_trigger": "input_schema",
    "schedule_trigger": "input_schema",
    "workflow_trigger": "input_schema",
    "event_trigger": "input_schema",
}
NODES = {
    "webhook": Kind(
        "method url headers body",
        {"method": "PUT", "url": "URL/x", "headers": [{"key": "X-A", "value": "{{ run.id }}"}],
         "body": {"a": "{{ trigger.a }}"}},
        "status headers body",
    ),
    "altostrat_api": Kind(
        "method endpoint body",
        {"method": "POST", "endpoint": "/things", "body": {"a": 1}},
        "status headers body",
    ),
    "delay": Kind("duration unit", {"duration": 0.01, "unit": "seconds"}, "waited_seconds"),
    "iterator": Kind(
        "items nodes edges mode concurrency",
        {"items": [1, "x"], "mode": "parallel", "concurrency": 2, "edges": [],
         "nodes": [node("c", "number_condition", left="{{ item }}", operator="=", right=1)]},
        "results errors",
    ),
    "trigger_workflow": Kind(
        "workflow_id input wait",
        {"workflow_id": "CHILD", "input": {"n": "{{ trigger.a }}"}, "wait": True},
        "run_id status output",
    ),
    "terminate": Kind("status message", {"status": "completed", "message": "x"}, "status message"),
    "data_mapper": Kind("mappings", {"mappings": [{"target": "a.b", "source": "trigger.a"}]}, "a"),
    "json_parser": Kind("source", {"source": '{"x": 1}'}, "x"),
    "text_transform": Kind("template is_response", {"template": "hi"}, "text"),
    "string_transform": Kind(
        "source operations", {"source": "x", "operations": [{"op": "upper"}]}, "text"
    ),
    "date_transform": Kind(
        "source operations format", {"source": "now"}, "value iso unix timezone"
    ),
    "array_filter": Kind("items where sort map", {"items": [1, 2]}, "items count total"),
    "validate": Kind(
        "source schema", {"source": "trigger", "schema": {"required": ["none"]}},
        "valid errors value", "failure",
    ),
    "form": Kind(
        "fields actions timeout",
        {"fields": [{"name": "why", "visible_when": {
            "type": "string", "left": {"field": "what"}, "operator": "equals", "right": "x"}},
            {"name": "what"}],
         "actions": [{"id": "approve"}, {"id": "reject"}], "timeout": 600},
        "action values answered_by", "reject",
    ),
    "send_email": Kind(
        "to subject text password",
        {"to": "ann@mail.example", "subject": "x", "text": "y"},
        "message_id accepted refused",
    ),
    "string_condition": Kind(
        OPERANDS, {"left": "a", "operator": "equals", "right": "a"}, COMPARED, "true"
    ),
    "number_condition": Kind(
        OPERANDS, {"left": 1, "operator": "greater_than", "right": 2}, COMPARED, "false"
    ),
    "date_condition": Kind(
        OPERANDS, {"left": "2025-01-01", "operator": "before", "right": "2025-01-02"},
        COMPARED, "true",
    ),
    "boolean_condition": Kind(
        OPERANDS, {"left": True, "operator": "is_false"}, COMPARED, "false"
    ),
    "array_condition": Kind(
        OPERANDS, {"left": [], "operator": "is_empty"}, COMPARED, "true"
    ),
    "logical_group": Kind(
        "operator conditions",
        {"operator": "not", "conditions": [
            {"type": "boolean", "left": True, "operator": "is_true"}]},
        "result operator conditions", "false",
    ),
    "switch": Kind(
        "cases", {"value": 5, "cases": [{"handle": "one", "equals": 1}]},
        "value matched case", "default",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A service with a mail server and an API."""
    with staged(tmp_path_factory.mktemp("catalogue") / "data") as made:
        made.town.says("POST /token", (200, {"access_token": "token-1", "expires_in": 600}))
        yield made


@pytest.fixture(scope="module")
def document(stage: Stage) -> Any:
    """The OpenAPI document as it is served."""
    client = stage.service.client()
    found = client.get("/openapi.json").json
    client.close()
    return found


@pytest.fixture
def user(stage: Stage, org: str) -> Iterator[Client]:
    """A client of this test's tenant."""
    made = stage.service.client(org)
    yield made
    made.close()


def fields_of(document: Any, schema: Any) -> set[str]:
    """Return the properties of a schema and of what it is made of."""
    schemas = document["components"]["schemas"]
    if "$ref" in schema:
        return fields_of(document, schemas[schema["$ref"].rsplit("/", 1)[1]])
    found = set(schema.get("properties", {}))
    return found.union(*(fields_of(document, part) for part in schema.get("allOf", ())))


@pytest.mark.parametrize("name", [*TRIGGERS, *NODES])
def test_each_component_is_described(document: Any, name: str) -> None:
    """In OpenAPI with its fields, and in the engine's pages with an example."""
    schemas = document["components"]["schemas"]
    told = schemas["Node"]["properties"]["data"]
    assert {"$ref": f"#/components/schemas/Node.{name}"} in told["oneOf"]
    assert told["discriminator"]["mapping"][name].endswith(f"/Node.{name}")
    own = TRIGGERS[name] if name in TRIGGERS else NODES[name].fields
    found = fields_of(document, schemas[f"Node.{name}"])
    assert {"componentId", *own.split(), *COMMON.split()} <= found
    (section,) = re.findall(rf"^### `{name}`\n(.*?)(?=^##|\Z)", DOCUMENTS, re.M | re.S)
    # That these examples work is the matter of the test of the engine's README.
    assert "```json" in section
    for field in own.split():
        assert f"`{field}" in section or field == "input_schema" or f'"{field}"' in section, field


def test_the_catalogue_is_the_contracts(document: Any) -> None:
    """Nothing that can be used is missing here."""
    mapping = document["components"]["schemas"]["Node"]["properties"]["data"]["discriminator"]
    assert set(mapping["mapping"]) == {*TRIGGERS, *NODES}


def example_of(user: Client, stage: Stage, name: str) -> dict[str, Any]:
    """Write a workflow with a component, a way out of it where it has handles, and a last node."""
    kind = NODES[name]
    text = json.dumps(kind.data).replace("URL", stage.url)
    if "CHILD" in text:
        child = chain(node("t", "workflow_trigger"), node("x", "text_transform", template="y"))
        text = text.replace("CHILD", create(user, child))
    made = chain(node("t", "manual_trigger"), node("n", name, **json.loads(text)))
    made["nodes"].append(node("z", "text_transform", template="{{ n }}"))
    made["edges"].append({"id": "z", "source": "n", "target": "z"})
    if kind.handle:
        made["edges"][-1]["sourceHandle"] = kind.handle
    if name == "altostrat_api":
        grant = {"provider": "p", "grant_type": "client_credentials", "client_id": "c",
                 "client_secret": "hush hush", "token_url": f"{stage.url}/token"}  # fmt: skip
        made["authorization_id"] = user.post("/workflows/authorization", grant).json["id"]
    return made


@pytest.mark.parametrize("name", NODES)
def test_each_component_runs_in_a_workflow(user: Client, stage: Stage, name: str) -> None:
    """With the output of the contract, which the next node sees, by the handle that it chose."""
    kind = NODES[name]
    workflow = create(user, example_of(user, stage, name))
    if name == "form":
        made = user.post(f"/workflows/{workflow}/execute", None, Prefer="wait=30").json["id"]
        path = f"/workflows/runs/{made}/interactions/n"
        assert user.post(path, {"action": "reject", "values": {}}).status == 202
        ended = followed(user, made)
    else:
        ended = run(user, workflow, {"a": 5})
    assert ended["status"] == "completed", ended["error_message"]
    (entry,) = [log for log in ended["logs"] if log["node_id"] == "n"]
    assert (entry["component_id"], entry["status"]) == (name, "success")
    assert set(entry["output"]) >= set(kind.output.split())
    after = [log["output"] for log in ended["logs"] if log["node_id"] == "z"]
    assert after == ([] if name == "terminate" else [entry["output"]])


def started_by(user: Client, stage: Stage, name: str) -> str:
    """Start a run by the trigger of this name, as its own way in does; returns the run."""
    data = {"event_type": "walked"} if name == "event_trigger" else {}
    tick = node("x", "webhook", url=f"{stage.url}/tick")
    text = chain(node("t", name, **data), tick)
    if name == "schedule_trigger":
        text |= {"schedule_type": "interval", "schedule_value": "1 second"}
    workflow = create(user, text)
    if name == "webhook_trigger":
        return user.post(hook_path(user, workflow), {"a": 5}).headers["x-run-id"]
    if name == "sync_request_trigger":
        return user.post(f"/workflows/sync/{workflow}", {"a": 5}).headers["x-run-id"]
    if name == "event_trigger":
        event = {"specversion": "1.0", "id": "1", "source": "/walk", "type": "walked"}
        sent = {"Content-Type": "application/cloudevents+json"}
        return str(user.call("POST", "/workflows/events", event, sent).json["runs"][0])
    if name == "workflow_trigger":
        outer = chain(node("t", "manual_trigger"), node("n", "trigger_workflow",
                      workflow_id=workflow))  # fmt: skip
        return str(run(user, create(user, outer))["logs"][-1]["output"]["run_id"])
    if name == "schedule_trigger":
        stage.town.wait("POST /tick")
        user.call("PUT", f"/workflows/{workflow}", {"is_active": False})
        page = user.get(f"/workflows/{workflow}/executions?origin=schedule").json["data"]
        return str(page[-1]["id"])
    return str(run(user, workflow, {"a": 5})["id"])


ORIGINS = {
    "manual_trigger": "execute",
    "webhook_trigger": "webhook",
    "sync_request_trigger": "sync",
    "schedule_trigger": "schedule",
    "workflow_trigger": "subworkflow",
    "event_trigger": "event",
}


@pytest.mark.parametrize("name", TRIGGERS)
def test_each_trigger_starts_a_run_in_its_own_way(user: Client, stage: Stage, name: str) -> None:
    """And passes on the payload, with the type of the trigger and the run beside it."""
    stage.town.calls.clear()
    run_id = started_by(user, stage, name)
    wait_for_event(user, run_id, "run.completed")
    ended = user.get(f"/workflows/runs/{run_id}").json
    assert (ended["status"], ended["origin"]) == ("completed", ORIGINS[name])
    first = ended["logs"][0]
    assert first["component_id"] == name
    assert first["output"].items() >= ended["trigger_payload"].items()
    assert first["output"]["run_id"] == run_id
    assert first["output"]["trigger_type"]
