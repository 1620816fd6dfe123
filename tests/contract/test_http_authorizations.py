"""Stored grants over HTTP, and the two nodes that need the operator's API and mail server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.support.http_kit import create, key, nothing_written, quick, refused, run
from tests.support.service import Client, Endpoint, Hit, Service, chain, endpoint, node, running
from tests.support.smtp_server import Box, smtp_thread

SECRET = "hush-client-secret"
UNKNOWN = "auth_" + "0" * 26


class Provider:
    """A token endpoint and the API behind it, in one place."""

    def __init__(self) -> None:
        self.count = 0
        self.refuses = False

    def __call__(self, hit: Hit) -> tuple[int, Any]:
        """Give a token, or take one."""
        if hit.path == "/token":
            assert parse_qs(hit.body.decode())["client_secret"] == [SECRET]
            if self.refuses:
                return 400, {"error": "invalid_grant", "error_description": SECRET}
            self.count += 1
            return 200, {"access_token": f"hush-token-{self.count}", "expires_in": 600}
        return 200, {"path": hit.path, "token": hit.headers.get("authorization")}


def grant(url: str, **parts: Any) -> dict[str, Any]:
    """Write a grant as a client sends it."""
    return {
        "provider": "acme-crm", "grant_type": "client_credentials", "token_url": f"{url}/token",
        "client_id": "client", "client_secret": SECRET, "client_auth": "post", **parts,
    }  # fmt: skip


def stored(client: Client, url: str, **parts: Any) -> dict[str, Any]:
    """Store a grant and return it as it is shown."""
    made = client.post("/workflows/authorization", grant(url, **parts))
    assert made.status == 200, made.body
    found: dict[str, Any] = made.json
    return found


def delete(client: Client, id_: str) -> Any:
    """Delete a grant."""
    return client.call("DELETE", f"/workflows/authorization/{id_}")


@pytest.fixture(scope="module")
def provider() -> Iterator[tuple[Endpoint, Provider]]:
    """A provider and its API."""
    answer = Provider()
    with endpoint(answer) as made:
        yield made, answer


def test_a_grant_is_stored_listed_and_deleted_without_its_secrets(
    client: Client, sink: Endpoint
) -> None:
    """The six fields of the contract, and nothing that went in as a secret."""
    made = stored(client, sink.url, email="ann@acme.example", scope="a b", audience="x")
    assert set(made) == {"id", "user_id", "provider", "status", "email", "created_at"}
    assert made["id"].startswith("auth_")
    assert (made["user_id"], made["provider"], made["status"]) == ("me", "acme-crm", "active")
    assert made["email"] == "ann@acme.example"
    other = stored(client, sink.url)
    assert other["email"] is None
    assert client.get("/workflows/authorization").json == [made, other]
    gone = delete(client, made["id"])
    assert (gone.status, gone.body) == (204, b"")
    assert client.get("/workflows/authorization").json == [other]
    refused(delete(client, made["id"]), 404, "resource_missing")


def test_another_tenants_grant_is_unknown(api: Service, client: Client, sink: Endpoint) -> None:
    """In lists, deletions and workflows it looks exactly like an id that exists nowhere."""
    made = stored(client, sink.url)
    stranger = api.client("stranger-of-grants")
    assert stranger.get("/workflows/authorization").json == []
    answers = [delete(stranger, made["id"]), delete(stranger, UNKNOWN)]
    assert answers[0].body == answers[1].body
    assert refused(answers[0], 404, "resource_missing") == {}
    for named in (made["id"], UNKNOWN, "", "fl_" + "0" * 26, "ü"):
        faults = refused(
            stranger.post("/workflows", {**quick(), "authorization_id": named}),
            422, "parameter_invalid",
        )  # fmt: skip
        assert faults == {"authorization_id": ["there is no such authorization"]}
    stranger.close()


def test_reading_workflows_is_not_enough(api: Service) -> None:
    """A list of grants says which systems a tenant can reach."""
    reader = api.client("acme", scope="workflows:read workflows:execute vault:write admin")
    refused(reader.get("/workflows/authorization"), 403, "insufficient_scope")
    refused(reader.post("/workflows/authorization", {}), 403, "insufficient_scope")
    refused(delete(reader, UNKNOWN), 403, "insufficient_scope")
    reader.close()


@pytest.mark.parametrize(
    ("parts", "field"),
    [({"provider": ""}, "provider"), ({"provider": "x" * 101}, "provider"),
     ({"provider": "a\nb"}, "provider"), ({"provider": None}, "provider"),
     ({"grant_type": "password"}, "grant_type"), ({"client_id": ""}, "client_id"),
     ({"client_secret": ""}, "client_secret"), ({"client_secret": 7}, "client_secret"),
     ({"client_secret": "hush" * 2000}, "client_secret"), ({"client_auth": "none"}, "client_auth"),
     ({"scope": "a\r\nb"}, "scope"), ({"scope": ""}, "scope"), ({"audience": ""}, "audience"),
     ({"email": "hush"}, "email"), ({"refresh_token": "hush"}, "refresh_token"),
     ({"grant_type": "refresh_token"}, "refresh_token"), ({"more": 1}, "more"),
     ({"token_url": "http://auth.example/"}, "token_url"), ({"token_url": "x"}, "token_url"),
     ({"token_url": "https://10.0.0.1/"}, "token_url"), ({"token_url": 7}, "token_url")],
)  # fmt: skip
def test_a_bad_grant_is_refused_by_its_field_and_nothing_of_it_is_repeated(
    api: Service, client: Client, sink: Endpoint, parts: dict[str, Any], field: str
) -> None:
    """What was meant as a secret must not come back in a fault."""
    with nothing_written(api):
        reply = client.post("/workflows/authorization", grant(sink.url, **parts))
        assert list(refused(reply, 422, "parameter_invalid")) == [field]
    assert b"hush" not in reply.body


def test_each_missing_field_is_named(client: Client) -> None:
    """A body of nothing says what a grant needs."""
    faults = refused(client.post("/workflows/authorization", {}), 422, "parameter_missing")
    assert set(faults) == {"provider", "grant_type", "token_url", "client_id", "client_secret"}
    refused(client.post("/workflows/authorization", []), 422, "parameter_invalid")
    refused(client.call("POST", "/workflows/authorization"), 422, "parameter_missing")


def test_a_repeat_of_a_create_stores_one_grant(client: Client, sink: Endpoint) -> None:
    """As for all creations, the first answer comes again, byte for byte."""
    same = key()
    body = grant(sink.url)
    first, second = (
        client.post("/workflows/authorization", body, Idempotency_Key=same) for _ in range(2)
    )
    assert first.body == second.body
    assert second.headers["idempotency-replayed"] == "true"
    assert len(client.get("/workflows/authorization").json) == 1
    reused = client.post("/workflows/authorization", {**body, "scope": "x"}, Idempotency_Key=same)
    refused(reused, 409, "idempotency_key_reused")


def test_a_workflow_shows_its_grant_and_keeps_it_from_being_deleted(
    client: Client, sink: Endpoint
) -> None:
    """Until its current version names another one, or none, or it is deleted itself."""
    first, second = stored(client, sink.url), stored(client, sink.url)
    assert client.get(f"/workflows/{create(client, quick())}").json["authorization"] is None
    made = client.post("/workflows", {**quick(), "authorization_id": first["id"]})
    assert made.status == 201
    workflow = made.json["id"]
    assert made.json["authorization"] == first
    assert client.get(f"/workflows/{workflow}").json["authorization"] == first
    named = {shown["id"]: shown["authorization"] for shown in client.get("/workflows").json}
    assert named[workflow] == first
    refused(delete(client, first["id"]), 409, "workflow_in_use")
    path = f"/workflows/{workflow}"
    changed = client.call("PUT", path, {"authorization_id": second["id"]})
    assert changed.json["authorization"] == second
    assert delete(client, first["id"]).status == 204
    assert client.get(f"{path}/versions/1").json["workflow"]["authorization"] is None
    faults = refused(
        client.call("PUT", path, {"authorization_id": first["id"]}), 422, "parameter_invalid"
    )
    assert list(faults) == ["authorization_id"]
    assert client.call("PUT", path, {"authorization_id": None}).json["authorization"] is None
    assert delete(client, second["id"]).status == 204


def test_a_workflow_that_calls_the_api_needs_a_grant(client: Client, sink: Endpoint) -> None:
    """It is told when it is saved or validated, not when a run fails."""
    definition = chain(node("t", "manual_trigger"), node("a", "altostrat_api", endpoint="/sites"))
    faults = refused(client.post("/workflows", definition), 422, "parameter_invalid")
    assert faults == {"authorization_id": ["is required by node 'a' (altostrat_api)"]}
    judged = client.post("/workflows/validate", definition).json
    assert judged == {
        "valid": False, "errors": ["authorization_id: is required by node 'a' (altostrat_api)"],
    }  # fmt: skip
    whole = {**definition, "authorization_id": stored(client, sink.url)["id"]}
    assert client.post("/workflows/validate", whole).json["valid"]
    workflow = create(client, whole)
    path = f"/workflows/{workflow}"
    refused(client.call("PUT", path, {"authorization_id": None}), 422, "parameter_invalid")


def test_a_run_calls_the_api_and_sends_a_mail_and_no_secret_reaches_the_disk(
    tmp_path: Path, provider: tuple[Endpoint, Provider]
) -> None:
    """The whole way, through a real process: settings, grant, token, request, mail, journal."""
    sink, answer = provider
    box = Box()
    with (
        smtp_thread(box) as port,
        running(
            tmp_path / "data", EGRESS_ALLOW="127.0.0.1", API_BASE_URL=f"{sink.url}/v1",
            SMTP_HOST="127.0.0.1", SMTP_PORT=str(port), SMTP_SECURITY="none",
            SMTP_FROM="Refold <refold@sender.example>",
        ) as service,
    ):  # fmt: skip
        client = service.client()
        auth = stored(client, sink.url)
        workflow = create(client, _reporting(auth["id"]))
        done = run(client, workflow, {"site": "s 1", "who": "ann@b.example"})
        assert done["status"] == "completed", done
        api, sent = (log["output"] for log in done["logs"][1:3])
        assert api["body"] == {"path": "/v1/sites/s%201?on=true", "token": "Bearer ***"}
        assert sink.hits[-1].headers["authorization"] == "Bearer hush-token-1"
        assert sent["accepted"] == ["ann@b.example"]
        assert box.mails[0].content.endswith(b"\r\n\r\n/v1/sites/s%201?on=true\r\n")
        answer.refuses = True
        # A second process knows of no token, and hears that the grant is no good any more.
        client.close()
        service.stop()
        service.start()
        client = service.client()
        failed = run(client, workflow, {"site": "s", "who": "ann@b.example"})
        assert (failed["status"], failed["failed_node_id"]) == ("failed", "a")
        assert "(invalid_grant)" in failed["error_message"]
        assert client.get("/workflows/authorization").json[0]["status"] == "refused"
        client.close()
        log = "".join(service.log)
    stored_bytes = b"".join(p.read_bytes() for p in (tmp_path / "data").iterdir() if p.is_file())
    for secret in (SECRET, "hush-token"):
        assert secret.encode() not in stored_bytes
        assert secret not in log
    with closing(sqlite3.connect(tmp_path / "data" / "journal.db")) as db:
        entries = [json.loads(entry) for (entry,) in db.execute("SELECT entry FROM event")]
    assert "authorization.refused" in {entry["type"] for entry in entries}


def _reporting(authorization_id: str) -> dict[str, Any]:
    """Write a workflow that asks the API and mails what it said."""
    return {
        **chain(
            node("t", "manual_trigger"),
            node("a", "altostrat_api", endpoint="/sites/{{ trigger.site }}", query={"on": True}),
            node(
                "m", "send_email", to="{{ trigger.who }}", subject="Site", text="{{ a.body.path }}"
            ),
        ),
        "authorization_id": authorization_id,
    }
