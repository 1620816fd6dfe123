"""Idempotency keys: the same call twice is one call, also across a crash."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_kit import (
    create,
    held,
    hook_path,
    key,
    nothing_written,
    quick,
    refused,
    run,
    slow,
)
from tests.support.service import Client, Reply, Service, chain, node, running


def _again(first: Reply, second: Reply) -> None:
    """See that the second answer is the first one again, and says so."""
    assert (second.status, second.body) == (first.status, first.body)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"


def _failed(client: Client) -> str:
    end = node("end", "terminate", status="failed")
    text = node("a", "text_transform", template="x")
    return str(run(client, create(client, chain(node("t", "manual_trigger"), text, end)))["id"])


def test_a_repeated_execute_returns_the_first_answer(api: Service, client: Client) -> None:
    """Byte for byte the pending run, though it has ended long since."""
    workflow = create(client, quick())
    path, once = f"/workflows/{workflow}/execute", key()
    first = client.post(path, {"context": {"name": "Ann"}}, Idempotency_Key=once)
    client.post(path, {"context": {"name": "Ann"}}, Idempotency_Key=once, Prefer="wait=30")
    with nothing_written(api):
        _again(first, client.post(path, {"context": {"name": "Ann"}}, Idempotency_Key=once))


def test_a_repeat_that_waits_waits_on_the_first_run(client: Client) -> None:
    """200 with that run, finished."""
    workflow = create(client, quick())
    path, once = f"/workflows/{workflow}/execute", key()
    first = client.post(path, Idempotency_Key=once)
    second = client.post(path, Idempotency_Key=once, Prefer="wait=30")
    assert (first.status, second.status) == (202, 200)
    assert second.json["id"] == first.json["id"]
    assert second.json["status"] == "completed"
    assert second.headers["idempotency-replayed"] == "true"


def test_the_order_and_the_spacing_of_a_body_do_not_matter(client: Client) -> None:
    """The digest is made over canonical JSON."""
    workflow = create(client, quick())
    path, headers = f"/workflows/{workflow}/execute", {"Idempotency-Key": key()}
    first = client.call("POST", path, raw=b'{"context":{"a":1,"b":2}}', headers=headers)
    second = client.call("POST", path, raw=b'{ "context": {"b": 2, "a": 1} }', headers=headers)
    _again(first, second)


def test_the_case_of_a_key_does_not_matter(client: Client) -> None:
    """A UUID is the same in either case."""
    path, once = f"/workflows/{create(client, quick())}/execute", key()
    first = client.post(path, Idempotency_Key=once)
    _again(first, client.post(path, Idempotency_Key=once.upper()))


def test_another_body_under_the_same_key_is_refused(api: Service, client: Client) -> None:
    """409: one of the two calls is a mistake."""
    path, once = f"/workflows/{create(client, quick())}/execute", key()
    client.post(path, {"context": {"n": 1}}, Idempotency_Key=once, Prefer="wait=30")
    with nothing_written(api):
        for body in ({"context": {"n": 2}}, {}, None):
            reply = client.post(path, body, Idempotency_Key=once)
            refused(reply, 409, "idempotency_key_reused")


def test_a_key_belongs_to_its_route_and_resource(client: Client) -> None:
    """The same key elsewhere is another call."""
    once = key()
    first, second = create(client, quick()), create(client, quick())
    ids = {
        client.post(f"/workflows/{each}/execute", Idempotency_Key=once).json["id"]
        for each in (first, second)
    }
    assert len(ids) == 2


def test_a_key_belongs_to_its_tenant(api: Service, client: Client) -> None:
    """Two tenants that draw the same key don't meet."""
    other, once = api.client("another-org"), key()
    ours = client.post("/workflows", quick(), Idempotency_Key=once)
    theirs = other.post("/workflows", quick(), Idempotency_Key=once)
    other.close()
    assert (ours.status, theirs.status) == (201, 201)
    assert ours.json["id"] != theirs.json["id"]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "1234",
        "123e4567e89b12d3a456426614174000",
        "{123e4567-e89b-12d3-a456-426614174000}",
        "123e4567-e89b-12d3-a456-42661417400g",
        "123e4567-e89b-12d3-a456_426614174000",
        "1_3e4567-e89b-12d3-a456-426614174000",
        "+23e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_a_key_that_is_no_uuid_is_refused(api: Service, client: Client, given: str) -> None:
    """422 on every call that takes a key."""
    workflow = create(client, chain(node("t", "webhook_trigger")))
    failed = _failed(client)
    with nothing_written(api):
        for path, body in (
            (f"/workflows/{workflow}/execute", None),
            (f"/workflows/runs/{failed}/rerun", None),
            (f"/workflows/runs/{failed}/resume-from/a", None),
            (f"/workflows/runs/{failed}/resume-from/a", {"dry_run": True}),
            ("/workflows", quick()),
            (hook_path(client, workflow), {}),
        ):
            errors = refused(
                client.post(path, body, Idempotency_Key=given), 422, "parameter_invalid"
            )
            assert list(errors) == ["Idempotency-Key"]


def test_refusals_are_not_remembered(client: Client) -> None:
    """Once the reason is gone, the same call goes through."""
    workflow, once = create(client, quick()), key()
    client.call("PUT", f"/workflows/{workflow}", {"is_active": False})
    path = f"/workflows/{workflow}/execute"
    refused(client.post(path, Idempotency_Key=once), 409, "workflow_inactive")
    client.call("PUT", f"/workflows/{workflow}", {"is_active": True})
    made = client.post(path, Idempotency_Key=once)
    assert made.status == 202
    assert "idempotency-replayed" not in made.headers


def test_a_repeat_works_after_the_state_has_changed(client: Client) -> None:
    """The answer was given; a deactivation or an edit since then doesn't take it back."""
    workflow, once = create(client, quick()), key()
    path = f"/workflows/{workflow}/execute"
    first = client.post(path, {"context": {"n": 1}}, Idempotency_Key=once)
    strict = quick(input_schema={"required": ["other"]})
    client.call("PUT", f"/workflows/{workflow}", {"is_active": False, "nodes": strict["nodes"]})
    _again(first, client.post(path, {"context": {"n": 1}}, Idempotency_Key=once))


@pytest.mark.parametrize("route", ["rerun", "resume-from/a"])
def test_rerun_and_resume_are_repeated_too(api: Service, client: Client, route: str) -> None:
    """With the embedded workflow and its runs as they were then."""
    failed, once = _failed(client), key()
    path = f"/workflows/runs/{failed}/{route}"
    first = client.post(path, Idempotency_Key=once)
    run(client, first.json["new_run"]["workflow_id"])
    again = client.post(path, Idempotency_Key=once, Prefer="wait=30")
    assert again.json["new_run"]["id"] == first.json["new_run"]["id"]
    client.call("PUT", f"/workflows/{again.json['new_run']['workflow_id']}", {"name": "later"})
    with nothing_written(api):
        _again(first, client.post(path, Idempotency_Key=once))
        reply = client.post(path, {"definition": "current"}, Idempotency_Key=once)
        refused(reply, 409, "idempotency_key_reused")


def test_a_repeated_rerun_is_the_same_for_every_token(api: Service, org: str) -> None:
    """It embeds the workflow, whose webhook address only some may see: there nobody does."""
    owner = api.client(org)
    hook = chain(node("t", "webhook_trigger"))
    finished, once = run(owner, create(owner, hook))["id"], key()
    path = f"/workflows/runs/{finished}/rerun"
    first = owner.post(path, Idempotency_Key=once)
    executor = api.client(org, scope="workflows:execute")
    _again(first, executor.post(path, Idempotency_Key=once))
    assert first.json["new_run"]["workflow"]["webhook_url"].endswith("/whsec_***")
    owner.close()
    executor.close()


def test_a_repeated_create_does_not_show_the_secret_again(api: Service, client: Client) -> None:
    """The 201 with version 1, and null where the webhook's token stood."""
    hook, once = chain(node("t", "webhook_trigger")), key()
    first = client.post("/workflows", hook, Idempotency_Key=once)
    assert "/workflows/webhooks/whsec_" in first.json["webhook_url"]
    client.call("PUT", f"/workflows/{first.json['id']}", {"name": "second"})
    with nothing_written(api):
        second = client.post("/workflows", hook, Idempotency_Key=once)
    assert (second.status, second.headers["idempotency-replayed"]) == (201, "true")
    assert second.json == first.json | {"webhook_url": None}
    assert (second.json["version"], second.json["name"]) == (1, "chain")


def test_two_calls_at_once_are_one_run(api: Service, client: Client, org: str) -> None:
    """Whoever comes second waits for the first, and both get the same bytes."""
    workflow = create(client, slow())
    path, once = f"/workflows/{workflow}/execute", key()
    replies: list[Reply] = []
    together = threading.Barrier(8)

    def call() -> None:
        each = api.client(org)
        together.wait(20)
        replies.append(each.post(path, {"context": {"n": 1}}, Idempotency_Key=once))
        each.close()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {(reply.status, reply.body) for reply in replies} == {(202, replies[0].body)}
    assert sum("idempotency-replayed" in reply.headers for reply in replies) == 7
    assert client.get(f"/workflows/{workflow}/executions").json["meta"]["total"] == 1


def test_a_repeat_while_the_run_is_active_waits_on_it(api: Service, client: Client) -> None:
    """A client that lost its connection asks again and gets the same run's end."""
    with held() as (gate, url):
        call = node("a", "webhook", url=url)
        workflow = create(client, chain(node("t", "manual_trigger"), call))
        path, once = f"/workflows/{workflow}/execute", key()
        first = client.post(path, Idempotency_Key=once)
        assert gate.arrived.wait(20)
        threading.Timer(0.2, gate.release.set).start()
        second = client.post(path, Idempotency_Key=once, Prefer="wait=30")
    assert second.status == 200
    assert second.json["id"] == first.json["id"]
    assert second.json["logs"][1]["output"]["status"] == 200


def test_repeats_survive_a_kill(tmp_path: Path) -> None:
    """Key and digest are in the journal, so a crash between call and repeat changes nothing."""
    with running(tmp_path / "data") as service:
        client = service.client()
        workflow, failed = create(client, slow()), _failed(client)
        hook = hook_path(client, create(client, chain(node("t", "webhook_trigger"))))
        other = {"definition": "current"}
        calls: list[tuple[str, Any, Any]] = [
            ("/workflows", quick(), quick() | {"name": "other"}),
            (f"/workflows/{workflow}/execute", {"context": {"n": 1}}, {"context": {"n": 2}}),
            (f"/workflows/runs/{failed}/rerun", None, other),
            (f"/workflows/runs/{failed}/resume-from/a", None, other),
            (hook, {"n": 1}, {"n": 2}),
        ]
        once = key()
        firsts = [client.post(path, body, Idempotency_Key=once) for path, body, _ in calls]
        assert [first.status for first in firsts] == [201, 202, 202, 202, 202]
        client.close()
        service.kill()
        service.start()
        client = service.client()
        for first, (path, body, another) in zip(firsts, calls, strict=True):
            second = client.post(path, body, Idempotency_Key=once)
            _again(first, second)
            assert second.headers.get("x-run-id") == first.headers.get("x-run-id")
            reply = client.post(path, another, Idempotency_Key=once)
            refused(reply, 409, "idempotency_key_reused")
        assert client.get(f"/workflows/{workflow}/executions").json["meta"]["total"] == 1
        client.close()
