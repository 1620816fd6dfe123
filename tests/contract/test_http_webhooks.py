"""Webhooks in: whoever holds the token starts a run, and nothing secret gets into it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.support.http_kit import create, followed, hook_path, nothing_written, refused, run
from tests.support.service import Client, Service, chain, node


@pytest.fixture
def workflow(client: Client) -> str:
    """A workflow that repeats what was posted to it."""
    return create(
        client,
        chain(
            node("t", "webhook_trigger"),
            node("a", "text_transform", template="{{ webhook_payload }}"),
        ),
    )


@pytest.fixture
def hook(client: Client, workflow: str) -> str:
    """The path of its webhook."""
    return hook_path(client, workflow)


@pytest.fixture
def anyone(api: Service) -> Any:
    """A client without a token."""
    made = Client(api.port)
    yield made
    made.close()


def test_a_webhook_starts_a_run_with_its_body(client: Client, anyone: Client, hook: str) -> None:
    """202 `{}`, and the run's id in a header."""
    reply = anyone.post(hook, {"order": 7})
    assert (reply.status, reply.json) == (202, {})
    shown = followed(client, reply.headers["x-run-id"])
    assert (shown["status"], shown["origin"]) == ("completed", "webhook")
    assert shown["trigger_payload"]["webhook_payload"] == {"order": 7}
    assert shown["logs"][0]["output"]["trigger_type"] == "webhook"
    assert shown["logs"][1]["output"] == {"order": 7}


@pytest.mark.parametrize("payload", [[1, 2], "text", 7, True, None])
def test_any_json_is_a_payload(client: Client, anyone: Client, hook: str, payload: Any) -> None:
    """Senders are not ours to choose."""
    raw = b"" if payload is None else None
    reply = anyone.call("POST", hook, payload, raw=raw)
    shown = followed(client, reply.headers["x-run-id"])
    expected: Any = {} if payload is None else payload
    assert shown["trigger_payload"]["webhook_payload"] == expected


def test_credentials_among_the_headers_are_left_out(
    api: Service, client: Client, anyone: Client, hook: str
) -> None:
    """The trigger's output has the headers, without what would let a reader act as the sender."""
    secret = "do-not-keep-this-4711"
    headers = {
        "Authorization": f"Bearer {secret}",
        "Cookie": f"session={secret}",
        "X-Api-Key": secret,
        "X-Hub-Signature-256": f"sha256={secret}",
        "X-Custom-Token": secret,
        "Proxy-Authorization": secret,
        "X-Event": "order.created",
        "User-Agent": "shop/1.0",
    }
    reply = anyone.call("POST", hook, {"a": 1}, headers)
    shown = followed(client, reply.headers["x-run-id"])
    kept = shown["logs"][0]["output"]["headers"]
    assert (kept["x-event"], kept["user-agent"]) == ("order.created", "shop/1.0")
    assert secret not in str(shown)
    with closing(sqlite3.connect(f"file:{api.data / 'journal.db'}?mode=ro", uri=True)) as db:
        for table, column in (("event", "entry"), ("body", "data")):
            found = db.execute(
                f"SELECT count(*) FROM {table} WHERE instr({column}, ?)",
                (secret.encode(),),
            )
            assert found.fetchone() == (0,)


def test_the_token_stands_nowhere_in_clear(
    api: Service, client: Client, anyone: Client, workflow: str, hook: str
) -> None:
    """Neither in the files of the service nor in its log, also after it was used and refused."""
    token = hook.rsplit("/", 1)[1]
    anyone.post(hook, {})
    anyone.call("POST", hook, raw=b"{")
    client.call("PUT", f"/workflows/{workflow}", {"name": "later"})
    for name, data in api.files().items():
        assert token.encode() not in data, name
    assert token not in "".join(api.log)


@pytest.mark.parametrize("token", ["whsec_" + "0" * 26, "x", "whsec_***", "%00", "fl_1"])
def test_an_unknown_token_is_not_found(api: Service, anyone: Client, token: str) -> None:
    """404, and nothing is written."""
    with nothing_written(api):
        refused(anyone.post(f"/workflows/webhooks/{token}", {}), 404, "resource_missing")


def test_the_token_of_an_inactive_workflow_is_refused(
    api: Service, client: Client, anyone: Client, workflow: str, hook: str
) -> None:
    """409 while it is switched off, and good again afterwards."""
    client.call("PUT", f"/workflows/{workflow}", {"is_active": False})
    with nothing_written(api):
        refused(anyone.post(hook, {}), 409, "workflow_inactive")
    client.call("PUT", f"/workflows/{workflow}", {"is_active": True})
    assert anyone.post(hook, {}).status == 202


def test_a_token_that_the_workflow_no_longer_has_is_unknown(
    client: Client, anyone: Client, workflow: str, hook: str
) -> None:
    """Another trigger has no webhook, and a later one has a new token."""
    webhook_nodes = client.get(f"/workflows/{workflow}").json["nodes"]
    manual = [node("t", "manual_trigger"), webhook_nodes[1]]
    client.call("PUT", f"/workflows/{workflow}", {"nodes": manual})
    refused(anyone.post(hook, {}), 404, "resource_missing")
    client.call("PUT", f"/workflows/{workflow}", {"nodes": webhook_nodes})
    refused(anyone.post(hook, {}), 404, "resource_missing")
    assert anyone.post(hook_path(client, workflow), {}).status == 202


def test_a_payload_that_breaks_the_schema_is_refused(
    api: Service, client: Client, anyone: Client
) -> None:
    """The schema is about the body that was sent, not about the headers beside it."""
    schema = {"required": ["order"], "properties": {"order": {"type": "integer"}}}
    path = hook_path(
        client, create(client, chain(node("t", "webhook_trigger", input_schema=schema)))
    )
    with nothing_written(api):
        refused(anyone.post(path, {"order": "x"}), 422, "parameter_invalid")
        refused(anyone.post(path, {}), 422, "parameter_invalid")
    assert anyone.post(path, {"order": 1}).status == 202


def test_a_bad_body_is_refused(api: Service, anyone: Client, hook: str) -> None:
    """The same reading of bodies as everywhere."""
    with nothing_written(api):
        refused(anyone.call("POST", hook, raw=b"{"), 400, "invalid_json")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        refused(anyone.call("POST", hook, raw=b"a=1", headers=form), 415, "unsupported_media_type")
        refused(anyone.call("POST", hook, raw=b" " * (2**20 + 1)), 413, "payload_too_large")


def test_a_run_of_a_webhook_is_rerun_with_the_same_payload(
    client: Client, anyone: Client, hook: str
) -> None:
    """Body and headers are inherited, and it still counts as a webhook's payload."""
    first = followed(client, anyone.post(hook, {"order": 7}).headers["x-run-id"])
    new = client.post(f"/workflows/runs/{first['id']}/rerun", Prefer="wait=30").json["new_run"]
    assert (new["status"], new["origin"]) == ("completed", "rerun")
    assert new["trigger_payload"] == first["trigger_payload"]
    assert new["logs"][0]["output"]["trigger_type"] == "webhook"


def test_executing_by_hand_may_pass_a_webhook_payload(client: Client, workflow: str) -> None:
    """What a template reads as `webhook_payload` can be tried out without the token."""
    shown = run(client, workflow, {"webhook_payload": {"order": 7}})
    assert shown["logs"][1]["output"] == {"order": 7}
