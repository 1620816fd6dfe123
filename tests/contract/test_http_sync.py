"""Synchronous calls: the run's result is the answer, and whatever happens the run is one."""

from __future__ import annotations

import http.client
import threading
from contextlib import closing
from typing import Any

import pytest

from tests.support.http_kit import (
    create,
    followed,
    held,
    key,
    nothing_written,
    quick,
    refused,
)
from tests.support.service import Client, Endpoint, Reply, Service, chain, node, token

RESOURCE, NOBODY = "resource_missing", "unauthorized"


def synchronous(*nodes: dict[str, Any], **trigger: Any) -> dict[str, Any]:
    """Write a workflow that answers."""
    return chain(node("t", "sync_request_trigger", **trigger), *nodes)


def responding(template: Any) -> dict[str, Any]:
    """Write a workflow that answers with a template, and does something else after it."""
    return synchronous(
        node("r", "text_transform", template=template, is_response=True),
        node("after", "text_transform", template="not this"),
    )


def test_the_answer_is_the_last_nodes_result(client: Client) -> None:
    """200, the run's id in a header, and the body as payload and as its root."""
    workflow = create(
        client,
        synchronous(
            node(
                "sum",
                "text_transform",
                template={"twice": "{{ payload.n | times: 2 }}", "n": "{{ trigger.n }}"},
            )
        ),
    )
    reply = client.post(f"/workflows/sync/{workflow}", {"n": 21})
    assert (reply.status, reply.json) == (200, {"twice": 42, "n": 21})
    assert reply.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in reply.headers
    shown = client.get(f"/workflows/runs/{reply.headers['x-run-id']}").json
    assert (shown["status"], shown["origin"]) == ("completed", "sync")
    assert shown["trigger_payload"] == {"n": 21}
    assert shown["logs"][0]["output"]["trigger_type"] == "sync"


@pytest.mark.parametrize(
    ("template", "answer"),
    [
        ("hello {{ payload.who }}", "hello Ada"),
        ('{"who": "{{ payload.who }}"}', {"who": "Ada"}),
        ({"text": "{{ payload.who }}"}, {"text": "Ada"}),
        ("{{ payload.list }}", [1, 2]),
        ("{{ payload.nothing }}", None),
    ],
)
def test_a_response_is_the_answer(client: Client, template: Any, answer: Any) -> None:
    """Whatever comes after it in the graph."""
    workflow = create(client, responding(template))
    reply = client.post(f"/workflows/sync/{workflow}", {"who": "Ada", "list": [1, 2]})
    assert (reply.status, reply.json) == (200, answer)


def test_several_ends_answer_with_an_object(client: Client) -> None:
    """By node id, and only the ends of the ways that were taken."""
    text = synchronous()
    text["nodes"] += [
        node("which", "boolean_condition", left="{{ payload.yes }}", operator="is_true"),
        node("a", "text_transform", template={"at": "a"}),
        node("b", "text_transform", template={"at": "b"}),
        node("c", "text_transform", template={"at": "c"}),
    ]
    text["edges"] = [
        {"id": "1", "source": "t", "target": "which"},
        {"id": "2", "source": "t", "target": "c"},
        {"id": "3", "source": "which", "target": "a", "sourceHandle": "true"},
        {"id": "4", "source": "which", "target": "b", "sourceHandle": "false"},
    ]
    workflow = create(client, text)
    for yes, end in ((True, "a"), (False, "b")):
        reply = client.post(f"/workflows/sync/{workflow}", {"yes": yes})
        assert reply.json == {end: {"at": end}, "c": {"at": "c"}}


def test_no_body_is_an_empty_payload(client: Client) -> None:
    """As for execute; a trigger alone answers with its own output."""
    workflow = create(client, synchronous())
    reply = client.post(f"/workflows/sync/{workflow}")
    assert reply.json == {"run_id": reply.headers["x-run-id"], "trigger_type": "sync"}


def test_a_failed_run_answers_500_and_names_it(client: Client, sink: Endpoint) -> None:
    """The message is the run's; a cancelled run is a failed one."""
    workflow = create(client, synchronous(node("n", "webhook", url=f"{sink.url}/503/x")))
    reply = client.post(f"/workflows/sync/{workflow}", {})
    refused(reply, 500, "run_failed")
    assert "503 Service Unavailable" in reply.json["message"]
    run = followed(client, reply.headers["x-run-id"])
    assert (run["status"], run["failed_node_id"]) == ("failed", "n")


def test_a_tolerated_failure_may_answer_otherwise(client: Client, sink: Endpoint) -> None:
    """The way for an author who wants more than 500."""
    text = synchronous(
        node("n", "webhook", url=f"{sink.url}/503/x", continue_on_error=True),
        node("r", "text_transform", template={"code": "{{ n.error.code }}"}, is_response=True),
    )
    reply = client.post(f"/workflows/sync/{create(client, text)}", {})
    assert (reply.status, reply.json) == (200, {"code": "http_503"})


def test_a_run_that_takes_longer_goes_on(client: Client) -> None:
    """504 names it; the same call with the same key waits for it and gets its result."""
    with held() as (gate, url):
        workflow = create(client, synchronous(node("n", "webhook", url=url)))
        path, same = f"/workflows/sync/{workflow}", key()
        late = client.post(path, {}, **{"Prefer": "wait=1", "Idempotency-Key": same})
        refused(late, 504, "run_still_running")
        gate.release.set()
        run = followed(client, late.headers["x-run-id"])
        assert run["status"] == "completed"
        again = client.post(path, {}, **{"Idempotency-Key": same})
    assert (again.status, again.json["body"]) == (200, {"ok": True})
    assert again.headers["x-run-id"] == late.headers["x-run-id"]
    assert again.headers["idempotency-replayed"] == "true"


def test_a_caller_who_hangs_up_cancels_nothing(api: Service, client: Client, org: str) -> None:
    """The run is the workflow's, not the connection's."""
    with held() as (gate, url):
        workflow = create(client, synchronous(node("n", "webhook", url=url)))
        connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
        bearer = {"Authorization": f"Bearer {token(org)}"}
        connection.request("POST", f"/workflows/sync/{workflow}", headers=bearer)
        assert gate.arrived.wait(20)
        connection.close()
        gate.release.set()
        [run] = client.get(f"/workflows/{workflow}/executions").json["data"]
        assert followed(client, run["id"])["status"] == "completed"


def test_a_repeat_gets_the_same_result_and_makes_no_second_run(
    client: Client, sink: Endpoint
) -> None:
    """Also a failed one, also while the first is under way, and also of an edited workflow."""
    good = create(client, synchronous(node("n", "webhook", url=f"{sink.url}/ok")))
    bad = create(client, synchronous(node("n", "webhook", url=f"{sink.url}/503/x")))
    for workflow, status in ((good, 200), (bad, 500)):
        path, same = f"/workflows/sync/{workflow}", {"Idempotency-Key": key()}
        first = client.post(path, {"a": 1}, **same)
        client.call("PUT", f"/workflows/{workflow}", {**quick(), "is_active": False})
        again = client.post(path, {"a": 1}, **same)
        assert (first.status, again.status, again.body) == (status, status, first.body)
        assert again.headers["x-run-id"] == first.headers["x-run-id"]
        assert again.headers["idempotency-replayed"] == "true"
        refused(client.post(path, {"a": 2}, **same), 409, "idempotency_key_reused")
        assert len(client.get(f"/workflows/{workflow}/executions").json["data"]) == 1


def test_two_calls_with_one_key_at_once_are_one_run(api: Service, client: Client, org: str) -> None:
    """Whoever comes second waits with the first."""
    with held() as (gate, url):
        workflow = create(client, synchronous(node("n", "webhook", url=url)))
        same: dict[str, str] = {"Idempotency-Key": key()}
        replies: list[Reply] = []

        def call() -> None:
            other = api.client(org)
            replies.append(other.post(f"/workflows/sync/{workflow}", {}, **same))
            other.close()

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        assert gate.arrived.wait(20)
        gate.release.set()
        for caller in callers:
            caller.join(20)
    assert [reply.status for reply in replies] == [200] * 3
    assert len({(reply.headers["x-run-id"], reply.body) for reply in replies}) == 1


def test_an_api_key_is_as_good_as_a_token(api: Service, client: Client) -> None:
    """For this route alone, and only until it is deleted."""
    made = client.post("/workflows/vault", {"name": "api-key:shop"}).json
    workflow = create(client, responding("hi"))
    path = f"/workflows/sync/{workflow}"
    with closing(Client(api.port)) as caller, closing(api.client("somebody-else")) as other:
        key_header = {"X-Api-Key": made["key"]}
        reply = caller.post(path, {}, **key_header)
        assert (reply.status, reply.json) == (200, "hi")
        shown = client.get(f"/workflows/runs/{reply.headers['x-run-id']}").json
        assert made["key"] not in str(shown)
        foreign = create(other, responding("not yours"))
        with nothing_written(api):
            refused(caller.post(f"/workflows/sync/{foreign}", {}, **key_header), 404, RESOURCE)
            refused(caller.post(f"/workflows/{workflow}/execute", {}, **key_header), 401, NOBODY)
            refused(caller.call("GET", "/workflows", headers=key_header), 401, NOBODY)
            refused(caller.post(path, {}, **{"X-Api-Key": "wfk_wrong"}), 401, NOBODY)
            refused(caller.post(path, {}, **{"X-Api-Key": ""}), 401, NOBODY)
            # A bad key is not made good by a token beside it.
            refused(client.post(path, {}, **{"X-Api-Key": "wfk_wrong"}), 401, NOBODY)
        assert client.call("DELETE", f"/workflows/vault/{made['id']}").status == 204
        refused(caller.post(path, {}, **key_header), 401, NOBODY)


def test_what_can_not_be_called_is_refused(api: Service, client: Client) -> None:
    """Unknown, another's, another trigger, switched off, a bad body: nothing is written."""
    workflow = create(client, synchronous(input_schema={"required": ["a"]}))
    path = f"/workflows/sync/{workflow}"
    manual = create(client, quick())
    with (
        closing(api.client("somebody-else")) as other,
        closing(Client(api.port, token(scope="workflows:read"))) as reader,
        closing(Client(api.port)) as nobody,
        nothing_written(api),
    ):
        refused(client.post("/workflows/sync/fl_none", {}), 404, "resource_missing")
        refused(other.post(path, {"a": 1}), 404, "resource_missing")
        refused(client.post(f"/workflows/sync/{manual}", {}), 409, "definition_incompatible")
        refused(client.post(path, {}), 422, "parameter_invalid")
        refused(client.call("POST", path, [1]), 422, "parameter_invalid")
        refused(client.call("POST", path, raw=b"null"), 422, "parameter_invalid")
        refused(client.call("POST", path, raw=b"{"), 400, "invalid_json")
        form = {"Content-Type": "text/plain"}
        refused(client.call("POST", path, raw=b"a", headers=form), 415, "unsupported_media_type")
        refused(client.post(path, {"a": 1}, **{"Idempotency-Key": "x"}), 422, "parameter_invalid")
        refused(reader.post(path, {"a": 1}), 403, "insufficient_scope")
        refused(nobody.post(path, {"a": 1}), 401, "unauthorized")
    client.call("PUT", f"/workflows/{workflow}", {"is_active": False})
    refused(client.post(path, {"a": 1}), 409, "workflow_inactive")


@pytest.mark.parametrize("change", [False, True])
def test_a_workflow_that_waits_by_its_nature_is_not_saved(client: Client, change: bool) -> None:
    """Neither new nor as a version, and validation says so too."""
    bad = synchronous(node("w", "delay", duration=1))
    fault = "nodes[1].data.componentId"
    if change:
        workflow = create(client, quick())
        reply = client.call("PUT", f"/workflows/{workflow}", bad)
    else:
        reply = client.post("/workflows", bad)
    assert list(refused(reply, 422, "parameter_invalid")) == [fault]
    checked = client.post("/workflows/validate", bad).json
    assert (checked["valid"], [line.split(":")[0] for line in checked["errors"]]) == (
        False,
        [fault],
    )


def test_a_sync_workflow_may_be_executed_as_any_other(client: Client) -> None:
    """Any trigger type may be executed by hand."""
    workflow = create(client, responding("hi {{ payload.a }}"))
    run = client.post(
        f"/workflows/{workflow}/execute", {"context": {"a": 1}}, Prefer="wait=30"
    ).json
    assert run["status"] == "completed"
    assert run["logs"][1]["output"] == {"text": "hi 1"}
