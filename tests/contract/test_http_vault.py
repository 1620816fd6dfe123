"""The vault over HTTP: secrets go in and never come out, and stay within their tenant."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.http_kit import create, key, nothing_written, refused
from tests.support.service import Client, Reply, Service, chain, node

SECRET = "s3cr3t-that-nobody-may-read-again"
VAULT = "/workflows/vault"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(name="stranger")
def _stranger(api: Service, org: str) -> Iterator[Client]:
    """A client of another tenant."""
    made = api.client(f"{org}-other")
    yield made
    made.close()


def made(client: Client, name: str, **fields: Any) -> dict[str, Any]:
    """Make an item and return what was answered."""
    reply = client.post(VAULT, {"name": name, "secret": SECRET, **fields})
    assert reply.status == 201, reply.body
    found: dict[str, Any] = reply.json
    return found


def test_an_item_is_made_listed_read_changed_and_deleted(client: Client) -> None:
    """The whole life of it, without its secret in any answer."""
    assert client.get(VAULT).json == []
    reply = client.post(VAULT, {"name": "billing-token", "secret": SECRET})
    item = reply.json
    assert reply.status == 201
    assert reply.headers["location"] == f"{VAULT}/{item['id']}"
    assert list(item) == ["id", "name", "created_at", "updated_at", "expires_at"]
    assert re.fullmatch(r"vlt_[0-9a-z]{26}", item["id"])
    assert MOMENT.fullmatch(item["created_at"])
    assert (item["name"], item["expires_at"]) == ("billing-token", None)
    path = f"{VAULT}/{item['id']}"
    assert client.get(VAULT).json == [item]
    assert client.get(path).json == item
    later = {"name": "renamed", "secret": "x" * 2000, "expires_at": "2199-12-31T23:59:59Z"}
    changed = client.call("PUT", path, later)
    assert changed.status == 200
    assert changed.json["name"] == "renamed"
    assert changed.json["expires_at"] == "2199-12-31T23:59:59.000000Z"
    assert changed.json["created_at"] == item["created_at"] < changed.json["updated_at"]
    assert client.get(path).json == changed.json
    assert client.call("PUT", path, {"expires_at": None}).json["expires_at"] is None
    for shown in (reply, changed, client.get(VAULT), client.get(path)):
        assert SECRET not in shown.body.decode()
        assert "xxxx" not in shown.body.decode()
    gone = client.call("DELETE", path)
    assert (gone.status, gone.body) == (204, b"")
    refused(client.get(path), 404, "resource_missing")
    refused(client.call("DELETE", path), 404, "resource_missing")
    refused(client.call("PUT", path, {"name": "again"}), 404, "resource_missing")
    assert client.get(VAULT).json == []


@pytest.mark.parametrize(
    ("method", "path", "body", "scope"),
    [
        ("GET", VAULT, None, "vault:read"),
        ("POST", VAULT, {"name": "abc", "secret": "x"}, "vault:write"),
        ("GET", f"{VAULT}/vlt_1", None, "vault:read"),
        ("PUT", f"{VAULT}/vlt_1", {"secret": "x"}, "vault:write"),
        ("DELETE", f"{VAULT}/vlt_1", None, "vault:write"),
        ("POST", f"{VAULT}/rotate", None, "admin"),
    ],
)
def test_each_route_needs_its_own_scope(
    api: Service, org: str, method: str, path: str, body: Any, scope: str
) -> None:
    """Whoever may change workflows may not touch secrets, and an admin may not read their names."""
    every = "workflows:read workflows:write workflows:execute vault:read vault:write admin"
    without = api.client(org, scope=" ".join(s for s in every.split() if s != scope))
    nobody = Client(api.port)
    with nothing_written(api):
        refused(without.call(method, path, body), 403, "insufficient_scope")
        refused(nobody.call(method, path, body), 401, "unauthorized")
    without.close()
    nobody.close()


def test_another_tenant_s_item_answers_exactly_like_an_unknown_one(
    api: Service, client: Client, stranger: Client
) -> None:
    """Byte for byte, on every route, and without leaving a trace."""
    foreign = made(stranger, "token")["id"]
    client.get(VAULT)
    with nothing_written(api):
        for method, body in (("GET", None), ("PUT", {"secret": "stolen"}), ("DELETE", None)):
            replies = [
                client.call(method, f"{VAULT}/{item_id}", body, {"X-Request-Id": "same"})
                for item_id in (foreign, "vlt_" + "0" * 26, "vlt_", "%00", "fl_run_1")
            ]
            assert {(reply.status, reply.body) for reply in replies} == {(404, replies[0].body)}
    assert client.get(VAULT).json == []
    assert stranger.get(f"{VAULT}/{foreign}").status == 200


def test_a_foreign_id_costs_what_an_unknown_one_costs(client: Client, stranger: Client) -> None:
    """Both are looked up among the tenant's own items and nowhere else."""
    foreign, unknown = made(stranger, "token")["id"], "vlt_" + "0" * 26
    times: dict[str, list[float]] = {foreign: [], unknown: []}
    for _ in range(150):
        for item_id, taken in times.items():
            began = time.perf_counter()
            client.get(f"{VAULT}/{item_id}")
            taken.append(time.perf_counter() - began)
    one, other = (statistics.median(taken) for taken in times.values())
    assert 0.5 < one / other < 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "name"),
        ({"secret": "x"}, "name"),
        ({"name": "abc"}, "secret"),
        ({"name": "ab", "secret": "x"}, "name"),
        ({"name": "a" * 51, "secret": "x"}, "name"),
        ({"name": "a b", "secret": "x"}, "name"),
        ({"name": "abc\n", "secret": "x"}, "name"),
        ({"name": "abc\u0000", "secret": "x"}, "name"),
        ({"name": "\u202etxt", "secret": "x"}, "name"),
        ({"name": "{{ vault }}", "secret": "x"}, "name"),
        ({"name": "vlt_abc", "secret": "x"}, "name"),
        ({"name": ["abc"], "secret": "x"}, "name"),
        ({"name": None, "secret": "x"}, "name"),
        ({"name": "abc", "secret": ""}, "secret"),
        ({"name": "abc", "secret": "x" * 2001}, "secret"),
        ({"name": "abc", "secret": 7}, "secret"),
        ({"name": "abc", "secret": {"a": 1}}, "secret"),
        ({"name": "abc", "secret": "x", "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "abc", "secret": "x", "expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"name": "abc", "secret": "x", "expires_at": "2255-12-31T23:59:59Z"}, "expires_at"),
        ({"name": "abc", "secret": "x", "expires_at": "1970-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "abc", "secret": "x", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "abc", "secret": "x", "expires_at": 4_000_000_000}, "expires_at"),
        ({"name": "abc", "secret": "x", "id": "vlt_1"}, "id"),
    ],
)
def test_a_bad_item_is_refused_by_field_and_nothing_is_written(
    api: Service, client: Client, body: dict[str, Any], path: str
) -> None:
    """Whatever is wrong, the refusal holds nothing of the secret."""
    known = made(client, "known")["id"]
    with nothing_written(api):
        reply = client.post(VAULT, body)
        assert reply.status == 422, reply.body
        assert list(reply.json["errors"]) == [path]
        assert "xxxx" not in reply.body.decode()
        if path in body and body[path] is not None:
            refused_change = client.call("PUT", f"{VAULT}/{known}", {path: body[path]})
            assert refused_change.status == 422, refused_change.body


def test_a_name_is_taken_once(api: Service, client: Client, stranger: Client) -> None:
    """409 within a tenant; another one has its own names."""
    made(client, "token")
    other = made(client, "other")["id"]
    with nothing_written(api):
        refused(client.post(VAULT, {"name": "token", "secret": "x"}), 409, "vault_name_taken")
        change = client.call("PUT", f"{VAULT}/{other}", {"name": "token"})
        refused(change, 409, "vault_name_taken")
    made(stranger, "token")


def test_an_api_key_is_shown_once(api: Service, client: Client) -> None:
    """In the answer that made it; a repeat of the call shows null in its place."""
    once = {"Idempotency_Key": key()}
    body = {"name": "api-key:partner"}
    first = client.post(VAULT, body, **once)
    shown = first.json["key"]
    assert re.fullmatch(r"wfk_[0-9a-z]{26}", shown)
    again = client.post(VAULT, body, **once)
    assert (again.status, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json == {**first.json, "key": None}
    item = {name: value for name, value in first.json.items() if name != "key"}
    assert client.get(VAULT).json == [item]
    assert client.get(f"{VAULT}/{item['id']}").json == item
    for name, data in api.files().items():
        assert shown.encode() not in data, name
    assert shown not in "".join(api.log)


def test_a_repeated_call_makes_one_item(client: Client) -> None:
    """Byte for byte the same answer; another body with that key is refused."""
    once = {"Idempotency_Key": key()}
    body = {"name": "token", "secret": SECRET}
    first, again = client.post(VAULT, body, **once), client.post(VAULT, body, **once)
    assert (again.status, again.body) == (201, first.body)
    assert len(client.get(VAULT).json) == 1
    other = client.post(VAULT, {"name": "token", "secret": "another"}, **once)
    refused(other, 409, "idempotency_key_reused")


def test_a_secret_stands_in_no_file_and_in_no_line_of_the_log(api: Service, client: Client) -> None:
    """Neither while it is there, nor after it was changed, deleted and refused."""
    client.post(VAULT, {"name": "x", "secret": SECRET})
    item = made(client, "token")["id"]
    client.call("PUT", f"{VAULT}/{item}", {"secret": SECRET + "2", "name": "y"})
    client.call("PUT", f"{VAULT}/{item}", {"secret": SECRET + "2"})
    client.post(VAULT, {"name": "token", "secret": SECRET})
    for name, data in api.files().items():
        assert SECRET.encode() not in data, name
    client.call("DELETE", f"{VAULT}/{item}")
    for name, data in api.files().items():
        assert SECRET.encode() not in data, name
    assert SECRET not in "".join(api.log)


def test_an_api_key_executes_synchronously_and_nothing_else(
    api: Service, client: Client, stranger: Client
) -> None:
    """In its own tenant only, and no longer than the item is there."""
    definition = chain(
        node("t", "sync_request_trigger"),
        node("a", "text_transform", template="hi {{ payload.name }}", is_response=True),
    )
    mine, foreign = create(client, definition), create(stranger, definition)
    item = client.post(VAULT, {"name": "api-key:partner"}).json
    holder = Client(api.port)
    header = {"X-Api-Key": item["key"]}

    def sync(workflow: str, headers: dict[str, str]) -> Reply:
        return holder.call("POST", f"/workflows/sync/{workflow}", {"name": "Ada"}, headers)

    assert sync(mine, header).status == 200
    refused(sync(foreign, header), 404, "resource_missing")
    for method, path in (
        ("GET", VAULT),
        ("GET", "/workflows"),
        ("POST", f"/workflows/{mine}/execute"),
        ("POST", f"{VAULT}/rotate"),
    ):
        refused(holder.call(method, path, None, header), 401, "unauthorized")
    for bad in ("", "wfk_" + "0" * 26, item["key"][:-1], "x" * 5000):
        refused(sync(mine, {"X-Api-Key": bad}), 401, "unauthorized")
    client.call("PUT", f"{VAULT}/{item['id']}", {"name": "api-key:renamed"})
    assert sync(mine, header).status == 200
    client.call("DELETE", f"{VAULT}/{item['id']}")
    refused(sync(mine, header), 401, "unauthorized")
    holder.close()
