"""Forms, iterators and sub-workflows as a client meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.http_kit import create, followed, refused, run, started
from tests.support.service import Client, Endpoint, Service, chain, node, running

FORM = node(
    "f",
    "form",
    title="Let {{ trigger.who }} in?",
    fields=[{"name": "why", "required": True}],
    actions=[{"id": "approve"}, {"id": "reject", "validate": False}],
)


def asking() -> dict[str, Any]:
    """Write a workflow with a form and a way out of it for each button."""
    text = chain(node("t", "manual_trigger"), FORM)
    for name in ("approve", "reject"):
        text["nodes"].append(node(name, "text_transform", template="{{ f.values.why }}"))
        text["edges"].append({"id": name, "source": "f", "target": name, "sourceHandle": name})
    return text


def asked(client: Client) -> str:
    """Start a run and wait until it awaits a person; returns the run."""
    workflow = create(client, asking())
    reply = client.post(
        f"/workflows/{workflow}/execute", {"context": {"who": "Ada"}}, Prefer="wait=30"
    )
    assert reply.status == 202
    assert "preference-applied" not in reply.headers
    return str(reply.json["id"])


def test_a_run_that_awaits_a_person_says_so_and_shows_its_form(client: Client) -> None:
    """Whoever waits for its end learns at once that only a person can go on."""
    made = asked(client)
    shown = client.get(f"/workflows/runs/{made}").json
    assert (shown["status"], shown["completed_at"]) == ("awaiting_ui_interaction", None)
    (open_,) = client.get(f"/workflows/runs/{made}/interactions").json["data"]
    assert (open_["node_id"], open_["iteration"], open_["expires_at"]) == ("f", None, None)
    assert open_["form"]["title"] == "Let Ada in?"
    assert [action["id"] for action in open_["form"]["actions"]] == ["approve", "reject"]
    listed = client.get(
        f"/workflows/{shown['workflow_id']}/executions?status=awaiting_ui_interaction"
    ).json
    assert [(x["id"], x["status"]) for x in listed["data"]] == [(made, "awaiting_ui_interaction")]


def test_an_answer_goes_on_by_its_button_and_a_second_one_is_refused(client: Client) -> None:
    """202 with the run; who answered is in the journal."""
    made = asked(client)
    path = f"/workflows/runs/{made}/interactions/f"
    reply = client.post(path, {"action": "approve", "values": {"why": "good"}})
    assert (reply.status, reply.json["id"]) == (202, made)
    assert client.post(path, {"action": "reject"}).status == 409
    ended = followed(client, made)
    assert ended["status"] == "completed"
    assert [entry["node_id"] for entry in ended["logs"]] == ["t", "f", "approve"]
    assert ended["logs"][1]["output"]["answered_by"] == "me"
    assert client.get(f"/workflows/runs/{made}/interactions").json == {"data": []}
    events = client.get(f"/workflows/runs/{made}/events").json["data"]
    (said,) = [x for x in events if x["type"] == "interaction.submitted"]
    assert said["body"] == {"by": "me", "action": "approve", "values": {"why": "good"}}


@pytest.mark.parametrize(
    ("node_", "body", "status", "field"),
    [
        ("f", {"action": "approve"}, 422, "values.why"),
        ("f", {"action": "approve", "values": {"why": 5}}, 422, "values.why"),
        ("f", {"action": "approve", "values": {"why": "x", "more": 1}}, 422, "values.more"),
        ("f", {"action": "burn"}, 422, "action"),
        ("f", {"action": 5}, 422, "action"),
        ("f", {"values": {}}, 422, "action"),
        ("f", {"action": "approve", "iteration": [-1]}, 422, "iteration"),
        ("f", {"action": "reject", "iteration": [7]}, 409, ""),
        ("t", {"action": "reject"}, 404, ""),
        ("no", {"action": "reject"}, 404, ""),
    ],
)
def test_an_answer_that_fits_nothing_is_refused_and_the_form_stays_open(
    client: Client, node_: str, body: Any, status: int, field: str
) -> None:
    """Each fault by its field."""
    made = asked(client)
    reply = client.post(f"/workflows/runs/{made}/interactions/{node_}", body)
    assert reply.status == status, reply.body
    if field:
        assert any(path.startswith(field) for path in reply.json["errors"])
    assert len(client.get(f"/workflows/runs/{made}/interactions").json["data"]) == 1


def test_another_tenants_form_looks_like_an_unknown_one(client: Client, api: Service) -> None:
    """And is neither seen nor answered."""
    made = asked(client)
    stranger = api.client("other")
    path = f"/workflows/runs/{made}/interactions"
    refused(stranger.get(path), 404, "resource_missing")
    refused(stranger.post(f"{path}/f", {"action": "reject"}), 404, "resource_missing")
    stranger.close()


def test_a_form_is_still_open_after_a_kill(tmp_path: Path) -> None:
    """For days, if need be, and through restarts."""
    with running(tmp_path / "data") as service:
        client = service.client()
        made = asked(client)
        client.close()
        service.kill()
        service.start()
        again = service.client()
        assert again.get(f"/workflows/runs/{made}").json["status"] == "awaiting_ui_interaction"
        reply = again.post(f"/workflows/runs/{made}/interactions/f", {"action": "reject"})
        assert reply.status == 202
        assert followed(again, made)["status"] == "completed"
        again.close()


def test_an_iterators_nodes_are_in_the_log_with_their_path(client: Client, sink: Endpoint) -> None:
    """Results in order, failures one by one, each call under its own key."""
    hook = node("h", "webhook", url=f"{sink.url}/item", body={"n": "{{ item }}"})
    check = node("c", "number_condition", left="{{ item }}", operator="less_than", right=3)
    body = {
        "nodes": [check, hook],
        "edges": [{"id": "e", "source": "c", "target": "h", "sourceHandle": "true"}],
    }
    it = node("it", "iterator", items="trigger.list", mode="parallel", **body)
    text = chain(node("t", "manual_trigger"), it)
    before = len(sink.hits)
    done = run(client, create(client, text), {"list": [1, "x", 2, 5]})
    assert done["status"] == "completed"
    inside = {(e["node_id"], tuple(e["iteration"] or ())) for e in done["logs"]}
    assert {("h", (0,)), ("h", (2,)), ("c", (3,)), ("it", ())} <= inside
    output = done["logs"][-1]["output"]
    assert [x["index"] for x in output["errors"]] == [1]
    assert output["results"][0]["status"] == 200
    keys = {hit.key for hit in sink.hits[before:]}
    assert keys == {f"{done['id']}:h:0:1", f"{done['id']}:h:2:1"}


def test_a_sub_workflow_is_linked_to_its_parent(client: Client) -> None:
    """Its result comes back, and it can't be deleted while it is named."""
    inner = create(
        client,
        chain(
            node("t", "workflow_trigger"),
            node("x", "text_transform", template="hello {{ trigger.name }}"),
        ),
    )
    step = node("s", "trigger_workflow", workflow_id=inner, input={"name": "{{ trigger.name }}"})
    outer = create(client, chain(node("t", "manual_trigger"), step))
    done = run(client, outer, {"name": "Ada"})
    output = done["logs"][-1]["output"]
    assert output["output"] == {"text": "hello Ada"}
    below = client.get(f"/workflows/runs/{output['run_id']}").json
    assert (below["origin"], below["workflow_id"]) == ("subworkflow", inner)
    assert below["trigger_payload"] == {"name": "Ada"}
    refused(client.call("DELETE", f"/workflows/{inner}"), 409, "workflow_in_use")
    assert client.call("DELETE", f"/workflows/{outer}").status == 204
    assert client.call("DELETE", f"/workflows/{inner}").status == 204


def test_a_circle_of_workflows_is_refused(client: Client) -> None:
    """The fault names the node's field."""
    first = create(client, chain(node("t", "workflow_trigger")))
    step = node("s", "trigger_workflow", workflow_id=first)
    second = create(client, chain(node("t", "workflow_trigger"), step))
    back = node("s", "trigger_workflow", workflow_id=second)
    reply = client.call("PUT", f"/workflows/{first}", chain(node("t", "workflow_trigger"), back))
    refused(reply, 422, "parameter_invalid")
    assert "leads back" in reply.json["errors"]["nodes[1].data.workflow_id"][0]
    assert started(client, first)
