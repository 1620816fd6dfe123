"""Signed webhooks: only who knows the secret starts runs, and a copy of a call starts none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from refold.engine.signatures import sign, signed_text
from tests.support.http_kit import (
    create,
    followed,
    hook_path,
    key,
    nothing_written,
    quick,
    refused,
)
from tests.support.service import Client, Reply, Service, chain, node, token

SECRET, OLD = "the shop's new secret", "the shop's old secret"
BODY = json.dumps({"order": 7}).encode()


@pytest.fixture
def anyone(api: Service) -> Iterator[Client]:
    """A client without a token."""
    with closing(Client(api.port)) as made:
        yield made


def store(client: Client, name: str, secret: str) -> str:
    """Put a secret into the vault and return its id."""
    made = client.post("/workflows/vault", {"name": name, "secret": secret})
    assert made.status == 201, made.body
    return str(made.json["id"])


def signed(client: Client, *secrets: str, **config: Any) -> tuple[str, str]:
    """Create a workflow with a signed webhook; return it and the webhook's path."""
    signature = {"secrets": list(secrets), **config}
    workflow = create(
        client,
        chain(
            node("t", "webhook_trigger", signature=signature),
            node("a", "text_transform", template="{{ webhook_payload }}"),
        ),
    )
    return workflow, hook_path(client, workflow)


def call(
    anyone: Client,
    path: str,
    secret: str = SECRET,
    *,
    at: int | None = None,
    body: bytes = BODY,
    same: str | None = None,
) -> Reply:
    """Call a webhook as a sender who has the secret."""
    stamp = str(int(time.time()) if at is None else at)
    headers = {"X-Signature": sign(secret, signed_text(body, stamp, same))}
    headers["X-Signature-Timestamp"] = stamp
    if same:
        headers["Idempotency-Key"] = same
    return anyone.call("POST", path, raw=body, headers=headers)


def test_a_signed_call_starts_a_run(api: Service, client: Client, anyone: Client) -> None:
    """The body is the payload as ever, and neither signature nor secret is kept."""
    store(client, "shop", SECRET)
    _, path = signed(client, "{{ vault.shop }}")
    reply = call(anyone, path)
    assert (reply.status, reply.json) == (202, {})
    shown = followed(client, reply.headers["x-run-id"])
    assert (shown["status"], shown["logs"][1]["output"]) == ("completed", {"order": 7})
    assert not [name for name in shown["logs"][0]["output"]["headers"] if "signature" in name]
    for name, data in api.files().items():
        assert SECRET.encode() not in data, name
    assert SECRET not in "".join(api.log)


def test_everything_else_is_refused_alike(api: Service, client: Client, anyone: Client) -> None:
    """One status and one body, so that nobody learns which part was right."""
    store(client, "shop", SECRET)
    _, path = signed(client, "{{ vault.shop }}")
    now = int(time.time())
    with nothing_written(api):
        replies = [
            anyone.post(path, {"order": 7}),
            call(anyone, path, OLD),
            call(anyone, path, ""),
            call(anyone, path, at=now - 400),
            call(anyone, path, at=now + 400),
            anyone.call("POST", path, raw=b"{", headers={"X-Signature": "sha256=" + "0" * 64}),
            anyone.call("POST", path, raw=BODY, headers={"X-Signature": sign(SECRET, BODY)}),
        ]
        for reply in replies:
            refused(reply, 401, "unauthorized")
            assert reply.body == replies[0].body
            assert reply.headers["www-authenticate"].startswith("HMAC-SHA256")
        refused(call(anyone, "/workflows/webhooks/whsec_none"), 404, "resource_missing")
    assert call(anyone, path).status == 202


def test_what_is_wrong_inside_is_told_to_those_who_signed_only(
    api: Service, client: Client, anyone: Client
) -> None:
    """Bad JSON, a switched off workflow and a broken schema are no news for strangers."""
    store(client, "shop", SECRET)
    workflow, path = signed(client, "{{ vault.shop }}")
    refused(call(anyone, path, body=b"{"), 400, "invalid_json")
    client.call("PUT", f"/workflows/{workflow}", {"is_active": False})
    with nothing_written(api):
        refused(call(anyone, path), 409, "workflow_inactive")
        refused(call(anyone, path, OLD), 401, "unauthorized")


def test_a_copied_call_gets_the_first_answer_and_starts_nothing(
    client: Client, anyone: Client
) -> None:
    """The signature itself is the key, so it holds after a restart too."""
    store(client, "shop", SECRET)
    workflow, path = signed(client, "{{ vault.shop }}")
    now = int(time.time())
    first = call(anyone, path, at=now)
    copy = call(anyone, path, at=now)
    assert (copy.status, copy.body) == (202, first.body)
    assert copy.headers["x-run-id"] == first.headers["x-run-id"]
    assert copy.headers["idempotency-replayed"] == "true"
    later = call(anyone, path, at=now - 1)
    other = call(anyone, path, at=now, body=b"{}")
    assert len({reply.headers["x-run-id"] for reply in (first, later, other)}) == 3
    assert len(client.get(f"/workflows/{workflow}/executions").json["data"]) == 3


def test_a_key_is_signed_and_tells_calls_apart(client: Client, anyone: Client) -> None:
    """A captured call can't be made another one by a key of the thief's choice."""
    store(client, "shop", SECRET)
    _, path = signed(client, "{{ vault.shop }}")
    now, one, two = int(time.time()), key(), key()
    first = call(anyone, path, at=now, same=one)
    assert call(anyone, path, at=now - 5, same=one).headers["x-run-id"] == first.headers["x-run-id"]
    assert call(anyone, path, at=now, same=two).headers["x-run-id"] != first.headers["x-run-id"]
    headers = {
        "X-Signature": sign(SECRET, signed_text(BODY, str(now), one)),
        "X-Signature-Timestamp": str(now),
        "Idempotency-Key": key(),
    }
    refused(anyone.call("POST", path, raw=BODY, headers=headers), 401, "unauthorized")


def test_without_tolerance_the_body_alone_is_signed(client: Client, anyone: Client) -> None:
    """The form of GitHub, in which two calls with one body are two."""
    _, path = signed(client, store(client, "hub", SECRET), tolerance_seconds=0)
    headers = {"X-Signature": sign(SECRET, BODY)}
    replies = [anyone.call("POST", path, raw=BODY, headers=headers) for _ in range(2)]
    assert [reply.status for reply in replies] == [202, 202]
    assert len({reply.headers["x-run-id"] for reply in replies}) == 2
    bad = {"X-Signature": sign(SECRET, BODY + b" ")}
    refused(anyone.call("POST", path, raw=BODY, headers=bad), 401, "unauthorized")


def test_a_sender_changes_over_from_one_secret_to_the_next(
    api: Service, client: Client, anyone: Client
) -> None:
    """Both are good while both stand there; one that is gone from the vault accepts nothing."""
    new, old = store(client, "new", SECRET), store(client, "old", OLD)
    _, path = signed(client, new, "{{ vault.old }}")
    assert call(anyone, path, SECRET).status == call(anyone, path, OLD).status == 202
    assert client.call("DELETE", f"/workflows/vault/{old}").status == 204
    refused(call(anyone, path, OLD), 401, "unauthorized")
    assert call(anyone, path, SECRET, body=b"[1]").status == 202
    assert client.call("DELETE", f"/workflows/vault/{new}").status == 204
    with nothing_written(api):
        for secret in (SECRET, OLD, ""):
            refused(call(anyone, path, secret), 401, "unauthorized")
    assert any("the vault lacks 2 secrets" in line for line in api.log)


def test_another_tenants_vault_is_no_help(client: Client, anyone: Client, api: Service) -> None:
    """A reference is looked up where the workflow is at home."""
    with closing(api.client("a-stranger-with-a-vault")) as other:
        item = store(other, "shop", SECRET)
    for reference in ("{{ vault.shop }}", item):
        _, path = signed(client, reference)
        refused(call(anyone, path), 401, "unauthorized")


def test_a_secret_in_clear_is_refused_on_save(client: Client) -> None:
    """By its place, and without being repeated."""
    text = chain(node("t", "webhook_trigger", signature={"secrets": ["hunter22"]}))
    reply = client.post("/workflows", text)
    errors = refused(reply, 422, "parameter_invalid")
    assert list(errors) == ["nodes[0].data.signature.secrets[0]"]
    assert "hunter22" not in reply.body.decode()


def test_a_token_is_renewed_and_the_old_one_is_unknown_at_once(
    client: Client, anyone: Client
) -> None:
    """A new version that says the same; whoever may write sees the new address."""
    workflow = create(client, chain(node("t", "webhook_trigger")))
    old = hook_path(client, workflow)
    assert anyone.post(old, {}).status == 202
    reply = client.post(f"/workflows/{workflow}/webhook-token")
    assert (reply.status, reply.json["version"]) == (200, 2)
    assert reply.headers["etag"] == '"2"'
    url = str(reply.json["webhook_url"])
    new = url[url.index("/workflows") :]
    assert new == hook_path(client, workflow) != old
    refused(anyone.post(old, {}), 404, "resource_missing")
    assert anyone.post(new, {}).status == 202
    stale = client.call("POST", f"/workflows/{workflow}/webhook-token", headers={"If-Match": '"1"'})
    refused(stale, 412, "version_mismatch")
    assert hook_path(client, workflow) == new


def test_a_token_is_renewed_by_those_who_may_write_it_only(api: Service, client: Client) -> None:
    """And only where there is a webhook."""
    workflow = create(client, chain(node("t", "webhook_trigger")))
    path = f"/workflows/{workflow}/webhook-token"
    manual = create(client, quick())
    with (
        closing(api.client("somebody-else")) as other,
        closing(Client(api.port, token(scope="workflows:read"))) as reader,
        nothing_written(api),
    ):
        refused(other.post(path), 404, "resource_missing")
        refused(reader.post(path), 403, "insufficient_scope")
        refused(client.post(f"/workflows/{manual}/webhook-token"), 409, "definition_incompatible")
