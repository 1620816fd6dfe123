"""Who may do what: tokens, scopes route by route, and tenants that can't see one another."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import jwt
import pytest

from refold.http.auth import SCOPES
from refold.http.endpoint import Endpoint
from refold.http.endpoints import ENDPOINTS
from tests.support.http_kit import calling, create, nothing_written, quick, refused, run
from tests.support.service import SECRET, Client, Service, token
from tests.support.service import Endpoint as Sink

OPEN = {"/healthz", "/readyz", "/workflows/webhooks/{token}"}
GUARDED = [endpoint for endpoint in ENDPOINTS if endpoint.path not in OPEN]


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def _path(endpoint: Endpoint, **known: str) -> str:
    return re.sub(r"{(\w+)}", lambda name: known.get(name[1], "fl_unknown"), endpoint.path)


def _unsigned(claims: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def test_every_route_but_the_open_ones_names_a_scope() -> None:
    """A new route without a scope would be a hole that nobody sees."""
    assert {e.path for e in ENDPOINTS if not e.scope} == OPEN
    assert {e.scope for e in GUARDED} <= SCOPES


@pytest.mark.parametrize("endpoint", GUARDED, ids=_name)
def test_a_call_without_a_token_is_refused(api: Service, endpoint: Endpoint) -> None:
    """401 tells how to authenticate, and nothing about whether the thing exists."""
    client = Client(api.port)
    reply = client.call(endpoint.method, _path(endpoint) + "?page=x&%ff=1", raw=b"{")
    refused(reply, 401, "unauthorized")
    assert reply.headers["www-authenticate"] == "Bearer"
    client.close()


@pytest.mark.parametrize("endpoint", GUARDED, ids=_name)
def test_a_token_with_every_scope_but_the_routes_own_is_refused(
    api: Service, endpoint: Endpoint
) -> None:
    """Scopes grant what they name; even `admin` implies no other."""
    client = Client(api.port, token(scope=" ".join(SCOPES - {endpoint.scope})))
    with nothing_written(api):
        reply = client.call(endpoint.method, _path(endpoint), raw=b"{")
        refused(reply, 403, "insufficient_scope")
    assert endpoint.scope in reply.json["message"]
    client.close()


@pytest.mark.parametrize("endpoint", GUARDED, ids=_name)
def test_a_token_with_the_routes_scope_alone_passes(api: Service, endpoint: Endpoint) -> None:
    """What a client must be given can be read off the table of routes."""
    client = Client(api.port, token("lonely", scope=endpoint.scope))
    reply = client.call(endpoint.method, _path(endpoint), body={})
    assert reply.status not in (401, 403), reply.body
    client.close()


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic bWU6bWU=",
        "Bearer a.b.c",
        "Bearer " + "x" * 9000,
        f"Bearer {_unsigned({'sub': 'me', 'exp': 4102444800, 'scope': 'workflows:read'})}",
        f"Bearer {token(ttl=60)[:-4]}AAAA",
        f"Bearer {token(ttl=60)} {token(ttl=60)}",
    ],
)
def test_an_unusable_token_is_refused(api: Service, given: str) -> None:
    """Missing, malformed, unsigned, forged or doubled: one status and one code."""
    client = Client(api.port)
    reply = client.get("/workflows", Authorization=given)
    refused(reply, 401, "unauthorized")
    assert "eyJ" not in reply.body.decode()
    client.close()


def test_the_scheme_is_known_in_any_case(api: Service, org: str) -> None:
    """RFC 9110: authentication schemes have no case."""
    client = Client(api.port)
    assert client.get("/workflows", Authorization=f"bearer {token(org)}").status == 200
    client.close()


def test_open_routes_need_no_token(api: Service) -> None:
    """Probes and documents must work before anybody has a token."""
    client = Client(api.port)
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert client.get(path).status == 200
    client.close()


def test_another_tenants_ids_answer_like_unknown_ones(
    api: Service, client: Client, sink: Sink
) -> None:
    """Byte for byte, on every route: not even existence leaks."""
    workflow = create(client, calling(sink, "ok", "503/x"))
    failed = run(client, workflow)["id"]
    stranger = api.client("a-stranger")
    unknown = {"workflowId": "fl_" + "0" * 26, "runId": "fl_run_" + "0" * 26}
    with nothing_written(api):
        for endpoint in GUARDED:
            if "Id}" not in endpoint.path:
                continue
            body = {"name": "xyz"} if endpoint.method == "PUT" else None
            foreign = stranger.call(
                endpoint.method,
                _path(endpoint, workflowId=workflow, runId=failed, nodeId="n1", version="1"),
                body,
            )
            missing = stranger.call(
                endpoint.method, _path(endpoint, **unknown, nodeId="n1", version="1"), body
            )
            refused(foreign, 404, "resource_missing")
            assert foreign.body == missing.body, _name(endpoint)
    stranger.close()


def test_lists_hold_only_what_is_ones_own(api: Service, client: Client) -> None:
    """The other tenant's workflows are in no list and no count."""
    create(client, quick())
    stranger = api.client("an-empty-one")
    assert stranger.get("/workflows").json == []
    assert stranger.get("/workflows?page=1").json["meta"]["total"] == 0
    assert len(client.get("/workflows").json) == 1
    stranger.close()


def test_the_tenant_is_the_organisation_else_the_subject(api: Service, org: str) -> None:
    """Two people of one organisation share; a person without one is alone."""
    mine, ours = api.client(org, "ann"), api.client(org, "bob")
    workflow = create(mine, quick())
    assert ours.get(f"/workflows/{workflow}").status == 200
    claims = {"sub": "ann", "exp": 4102444800, "permissions": ["workflows:read"]}
    alone = Client(api.port, jwt.encode(claims, SECRET, "HS256"))
    assert alone.get("/workflows").json == []
    assert alone.get(f"/workflows/{workflow}").status == 404
    for each in (mine, ours, alone):
        each.close()


@pytest.mark.parametrize(
    "identifier",
    [
        "x",
        "fl_",
        "fl_run_",
        "FL_RUN_0",
        "fl_run_" + "0" * 300,
        "%00",
        "%f0%9f%92%a9",
        "a%0Ab",
        "..",
    ],
)
def test_an_id_that_exists_nowhere_is_not_found(client: Client, identifier: str) -> None:
    """Whatever its alphabet, it is an unknown id and not a malformed one."""
    refused(client.get(f"/workflows/{identifier}"), 404, "resource_missing")
    refused(client.get(f"/workflows/runs/{identifier}"), 404, "resource_missing")
    refused(client.post(f"/workflows/{identifier}/execute"), 404, "resource_missing")


def test_a_workflows_id_is_no_runs_id(client: Client) -> None:
    """`fl_` is a prefix of `fl_run_`; each route knows its own kind only."""
    workflow = create(client, quick())
    made = run(client, workflow)["id"]
    refused(client.get(f"/workflows/runs/{workflow}"), 404, "resource_missing")
    refused(client.get(f"/workflows/{made}"), 404, "resource_missing")
    refused(client.get(f"/workflows/{made}/executions"), 404, "resource_missing")
