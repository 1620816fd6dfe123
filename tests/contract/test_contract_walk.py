"""A walk through the contract, which stands here as data: each route, field, code and setting.

The tables are written down anew on purpose. Those of the project are what is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.http.settings import Settings
from tests.support.contract_walker import Given, Walker
from tests.support.http_kit import followed, key, quick
from tests.support.service import Client, Reply, Service, chain, node

ROOT = Path(__file__).parents[2]
READ, WRITE, EXECUTE = "workflows:read", "workflows:write", "workflows:execute"
VAULT_READ, VAULT_WRITE, JOURNAL = "vault:read", "vault:write", "journal:read"

LEFT_OUT = {
    "REFOLD_DATABASE_URL": "a journal in another database is an issue of its own",
}
"""What the contract has and this version has not, and why."""


EVENT = {"specversion": "1.0", "id": "1", "source": "/walk", "type": "walked"}
NODE = node("n", "text_transform", template="{{ trigger.x }}")
SYNC = chain(node("t", "sync_request_trigger"), NODE)

Row = tuple[str, str, str, int, str, Callable[[Walker], Given]]
ROUTES: list[Row] = [
    # method, path, scope, success, what the answer is, and what it takes to be called
    # §2
    ("POST", "/workflows/{workflowId}/execute", EXECUTE, 202, "Run",
     lambda w: Given(w.workflow(), {"context": {"name": "Ann"}})),
    ("GET", "/workflows/runs/{runId}", READ, 200, "Run", lambda w: Given(w.ended())),
    ("POST", "/workflows/runs/{runId}/rerun", EXECUTE, 202, "NewRun", lambda w: Given(w.ended())),
    ("POST", "/workflows/runs/{runId}/resume-from/{nodeId}", EXECUTE, 202, "NewRun",
     lambda w: Given(w.ended())),
    ("GET", "/workflows/{workflowId}/executions", READ, 200, "Page", lambda w: Given(w.ended())),
    ("POST", "/workflows/runs/{runId}/cancel", EXECUTE, 202, "Run", lambda w: Given(w.waiting())),
    ("POST", "/workflows/runs/{runId}/interactions/{nodeId}", EXECUTE, 202, "Run",
     lambda w: Given(w.asked(), {"action": "submit", "values": {}})),
    ("GET", "/workflows/runs/{runId}/events", JOURNAL, 200, "Events", lambda w: Given(w.ended())),
    ("GET", "/workflows/runs/{runId}/lineage", READ, 200, "Lineage", lambda w: Given(w.ended())),
    ("POST", "/workflows/{workflowId}/executions/resume", EXECUTE, 202, "BulkResume",
     lambda w: Given(w.ended(), {"filter": {}, "dry_run": True})),
    ("GET", "/workflows/runs/{runId}/diff/{otherRunId}", READ, 200, "Diff",
     lambda w: Given(w.pair())),
    ("GET", "/workflows/runs/{runId}/blame", READ, 200, "Blame", lambda w: Given(w.ended())),
    # §3
    ("GET", "/workflows", READ, 200, "[Workflow]", lambda w: Given(w.workflow())),
    ("POST", "/workflows", WRITE, 201, "Workflow", lambda w: Given({}, quick())),
    ("GET", "/workflows/{workflowId}", READ, 200, "Workflow", lambda w: Given(w.workflow())),
    ("PUT", "/workflows/{workflowId}", WRITE, 200, "Workflow",
     lambda w: Given(w.workflow(), {"name": "other"}, {"If-Match": '"1"'})),
    ("DELETE", "/workflows/{workflowId}", WRITE, 204, "", lambda w: Given(w.workflow())),
    ("GET", "/workflows/{workflowId}/versions", READ, 200, "[Version]",
     lambda w: Given(w.workflow())),
    ("GET", "/workflows/{workflowId}/versions/{version}", READ, 200, "Version",
     lambda w: Given({**w.workflow(), "version": "1"})),
    ("POST", "/workflows/validate", WRITE, 200, "Validation", lambda w: Given({}, quick())),
    ("POST", "/workflows/test-node", WRITE, 200, "NodeTest",
     lambda w: Given({}, {"node": NODE, "context": {"trigger": {"x": 1}}})),
    ("POST", "/workflows/sync/{workflowId}", EXECUTE, 200, "",
     lambda w: Given(w.workflow(SYNC), {"x": 1})),
    ("POST", "/workflows/webhooks/{token}", "", 202, "Empty", lambda w: Given(w.hook(), {"x": 1})),
    ("POST", "/workflows/events", EXECUTE, 202, "EventRuns",
     lambda w: Given({}, EVENT, {"Content-Type": "application/cloudevents+json"})),
    ("GET", "/workflows/{workflowId}/logs", READ, 200, "[Log]", lambda w: Given(w.ended())),
    ("GET", "/workflows/logs/recent", READ, 200, "[Log]", lambda w: Given(w.ended())),
    ("GET", "/workflows/{workflowId}/logs/stats", READ, 200, "Stats", lambda w: Given(w.ended())),
    ("GET", "/workflows/effects", READ, 200, "Effects", lambda w: Given(w.ended())),
    ("GET", "/workflows/vault", VAULT_READ, 200, "[VaultItem]", lambda w: Given(w.item())),
    ("POST", "/workflows/vault", VAULT_WRITE, 201, "VaultItem",
     lambda w: Given({}, {"name": "a-secret", "secret": "hush hush"})),
    ("GET", "/workflows/vault/{itemId}", VAULT_READ, 200, "VaultItem", lambda w: Given(w.item())),
    ("PUT", "/workflows/vault/{itemId}", VAULT_WRITE, 200, "VaultItem",
     lambda w: Given(w.item(), {"secret": "hush again"})),
    ("DELETE", "/workflows/vault/{itemId}", VAULT_WRITE, 204, "", lambda w: Given(w.item())),
    ("GET", "/workflows/authorization", WRITE, 200, "[Authorization]",
     lambda w: Given(w.authorization())),
    ("POST", "/workflows/authorization", WRITE, 200, "Authorization",
     lambda w: Given({}, w.grant())),
    ("DELETE", "/workflows/authorization/{authorizationId}", WRITE, 204, "",
     lambda w: Given(w.authorization())),
    # §4.15
    ("POST", "/journal/erasures", "admin", 200, "Erasure",
     lambda w: Given({}, {"run": w.ended()["runId"]})),
    # The journal
    ("GET", "/journal/checkpoint", JOURNAL, 200, "", lambda w: Given()),
    ("GET", "/journal/tile/{level}/{n}/{more}", JOURNAL, 200, "",
     lambda w: Given({**w.proven(), "level": "0", "n": "0.p", "more": "1"})),
    ("GET", "/journal/entries", JOURNAL, 200, "Entries", lambda w: Given()),
    ("GET", "/journal/events/{position}/proof", JOURNAL, 200, "InclusionProof",
     lambda w: Given({"position": "1"})),
    ("GET", "/journal/consistency", JOURNAL, 200, "ConsistencyProof",
     lambda w: Given(query="?from=1")),
    ("GET", "/workflows/runs/{runId}/bundle", JOURNAL, 200, "", lambda w: Given(w.ended())),
    # The service
    ("GET", "/healthz", "", 200, "", lambda w: Given()),
    ("GET", "/readyz", "", 200, "", lambda w: Given()),
    ("GET", "/metrics", JOURNAL, 200, "", lambda w: Given()),
    ("GET", "/projections", JOURNAL, 200, "Projections", lambda w: Given()),
    ("POST", "/projections/{projection}/rebuild", "admin", 202, "ProjectionTold",
     lambda w: Given({"projection": "event_triggers"})),
    ("GET", "/openapi.json", "", 200, "", lambda w: Given()),
    ("GET", "/docs", "", 200, "", lambda w: Given()),
]  # fmt: skip
PAGES = ("/openapi.json", "/docs")
"""Routes of the service that are documents themselves."""

FIELDS = {
    "Run": "id workflow_id workflow_version status trigger_payload error_message failed_node_id"
    " created_at started_at completed_at duration_in_seconds origin original_run_id"
    " resumed_from_node_id logs",
    "Log": "id execution_id node_id component_id status output created_at started_at attempt"
    " iteration replayed_from",
    "Workflow": "id name description version schedule_type schedule_value next_run_at is_active"
    " webhook_url created_at updated_at authorization",
    "VaultItem": "id name created_at expires_at",
    "Authorization": "id user_id provider status email created_at",
    "NewRun": "message original_run_id new_run",
    "Page": "data links meta",
    "Events": "data next",
    "Effects": "data next",
    "Entries": "data position next",
    "InclusionProof": "position leaf size root hashes checkpoint",
    "ConsistencyProof": "from to from_root to_root hashes checkpoint",
    "Version": "version created_at created_by",
    "Validation": "valid errors",
    "NodeTest": "status output",
    "BulkResume": "accepted refused",
    "EventRuns": "runs",
    "Stats": "log_statuses recent_runs total_runs success_rate",
    "Lineage": "runs succeeded",
    "Projections": "head data",
    "ProjectionTold": "name version position state",
    "Erasure": "complete erased streams runs out_of_reach",
    "Diff": "left right first_divergence trigger_payload definition nodes truncated",
    "Blame": "run_id compared_with compared_because diff",
    "Empty": "",
}
"""What an answer has at least; an array has it in each of its elements."""

CODES = {
    400: ("invalid_request_error", "invalid_json"),
    401: ("authentication_error", "unauthorized"),
    403: ("permission_error", "insufficient_scope"),
    404: ("invalid_request_error", "resource_missing node_not_found"),
    409: (
        "conflict_error",
        "workflow_inactive run_not_finished run_already_finished run_not_failed"
        " definition_incompatible idempotency_key_reused workflow_in_use payload_erased",
    ),
    413: ("invalid_request_error", "payload_too_large"),
    422: ("unprocessable_entity", "parameter_missing parameter_invalid node_not_completed"),
    429: ("rate_limit_error", "too_many_requests"),
    500: ("api_error", "internal_server_error"),
    503: ("api_error", "overloaded read_only"),
}

SETTINGS = [
    *("DATA", "HOST", "PORT", "PUBLIC_URL", "DATABASE_URL", "JWT_SECRET", "JWT_PUBLIC_KEY"),
    *("JWKS_URL", "JWT_ALGORITHMS", "JWT_ISSUER", "JWT_AUDIENCE", "EGRESS_ALLOW", "VAULT_KEY"),
    *("MAX_ACTIVE_RUNS", "LOG_FORMAT"),
]
LIMITS = {
    "RUN_SECONDS_MAX": 3600,
    "NODE_SECONDS_MAX": 300,
    "ITERATOR_ITEMS_MAX": 1000,
    "ITERATOR_DEPTH_MAX": 5,
    "DELAY_SECONDS_MAX": 900,
    "SUBWORKFLOW_DEPTH_MAX": 10,
    "NODES_MAX": 500,
    "OUTPUT_BYTES_MAX": 256 * 1024,
    "TEMPLATE_SECONDS_MAX": 1,
    "BODY_BYTES_MAX": 1024 * 1024,
}
"""The limits of §1 and §4.11, with their defaults."""


@pytest.fixture
def walker(client: Client, sink: Any) -> Walker:
    """Whoever walks."""
    return Walker(client, sink.url)


@pytest.fixture(scope="module")
def document(api: Service) -> Iterator[Any]:
    """The OpenAPI document as it is served."""
    client = api.client()
    yield client.get("/openapi.json").json
    client.close()


def _name(row: Row) -> str:
    return f"{row[0]} {row[1]}"


def has_fields(value: Any, what: str) -> None:
    """See that an answer is what the contract says."""
    for each in value if what.startswith("[") else [value]:
        assert set(FIELDS[what.strip("[]")].split()) <= set(each), (what, each)


@pytest.mark.parametrize("row", ROUTES, ids=_name)
def test_each_route_answers_with_its_success(
    api: Service, org: str, walker: Walker, row: Row
) -> None:
    """On a running service, with a token that has the route's scope and no other."""
    method, path, scope, success, what, need = row
    given = need(walker)
    at = re.sub(r"{(\w+)}", lambda name: given.params[name[1]], path) + given.query
    with closing(api.client(org, scope=scope) if scope else Client(api.port)) as caller:
        reply = caller.call(method, at, given.body, given.headers)
    assert reply.status == success, (reply.status, reply.body)
    if success == 204:
        assert reply.body == b""
    elif what:
        value = reply.json
        assert isinstance(value, list) == what.startswith("[")
        assert value or not what.startswith("["), "an empty list shows nothing"
        has_fields(value, what)


@pytest.mark.parametrize("row", ROUTES, ids=_name)
def test_each_route_is_documented(document: Any, row: Row) -> None:
    """In OpenAPI with its scope and its success, and in the room's README."""
    method, path, scope, success, _, _ = row
    readme = (ROOT / "http" / "README.md").read_text("utf-8")
    if path in PAGES:
        assert f"`{path}`" in readme
        return
    operation = document["paths"][path][method.lower()]
    assert str(success) in operation["responses"]
    assert ("security" in operation) == bool(scope)
    assert f"Scope: `{scope}`" in operation["description"] or not scope
    shown = f"`{scope}`" if scope else "none"
    (line,) = [x for x in readme.splitlines() if x.startswith(f"| `{method} {path}` |")]
    assert line.split(" | ")[1] == shown
    assert str(success) in line.split(" | ")[2]


NOTES: dict[str, Callable[[Walker], bool]] = {
    "a run begins as pending, without logs": lambda w: (
        w.client.post(f"/workflows/{w.workflow()['workflowId']}/execute").json.items()
        >= {"status": "pending", "logs": []}.items()
    ),
    "a rerun says what it did": lambda w: (
        w.client.post(f"/workflows/runs/{w.ended()['runId']}/rerun").json["message"]
        == "Workflow re-run initiated successfully."
    ),
    "a resume says from where": lambda w: (
        w.client.post(f"/workflows/runs/{w.ended()['runId']}/resume-from/a").json["message"]
        == "Workflow resumed successfully from node 'a'."
    ),
    "a dry run plans": lambda w: (
        w.client.post(f"/workflows/runs/{w.ended()['runId']}/resume-from/a", {"dry_run": True}).json
        == {"replayed": ["t", "a"], "executed": ["b"], "definition": "original"}
    ),
    "a run embeds its workflow": lambda w: (
        "nodes" in w.client.get(f"/workflows/runs/{w.ended()['runId']}?include=workflow")
        .json["workflow"]
    ),
    "a run's logs have their fields": lambda w: (
        set(FIELDS["Log"].split())
        <= set(w.client.get(f"/workflows/runs/{w.ended()['runId']}").json["logs"][0])
    ),
    "lists are paged": lambda w: set(w.client.get("/workflows?page=1").json) == {
        "data", "links", "meta"
    },
    "Prefer: wait is honoured": lambda w: (
        w.client.post(f"/workflows/{w.workflow()['workflowId']}/execute", None, Prefer="wait=30")
        .headers["preference-applied"] == "wait=30"
    ),
    "a repeat says that it is one": lambda w: _repeated(w).headers["idempotency-replayed"]
    == "true",
    "another version is refused": lambda w: (
        w.client.call("PUT", f"/workflows/{w.workflow()['workflowId']}", {"name": "x"},
                      {"If-Match": '"7"'}).status == 412
    ),
    "a request id comes back": lambda w: (
        w.client.get("/workflows", **{"X-Request-Id": "walk-1"}).headers["x-request-id"] == "walk-1"
    ),
    "events come as NDJSON": lambda w: _events(w, "application/x-ndjson").body.count(b"\n") > 3,
    "events come as a live tail": lambda w: b"event: run.failed" in _events(
        w, "text/event-stream"
    ).body,
    "an API key may call synchronously": lambda w: _by_api_key(w).status == 200,
    "a webhook names its run": lambda w: (
        w.client.post(f"/workflows/webhooks/{w.hook()['token']}", {}).headers["x-run-id"][:7]
        == "fl_run_"
    ),
    "an answer comes back as of its position": lambda w: not _is_another(w),
    "a cancelled run is failed": lambda w: _cancelled(w) == "Run cancelled by me",
}  # fmt: skip
"""Promises of the tables' last column, each with a proof."""


@pytest.mark.parametrize("what", NOTES)
def test_each_note_holds(walker: Walker, what: str) -> None:
    """The tests of the feature itself say more; this one says that it is there."""
    assert NOTES[what](walker)


def _repeated(w: Walker) -> Reply:
    path, same = f"/workflows/{w.workflow()['workflowId']}/execute", key()
    w.client.post(path, None, Idempotency_Key=same)
    return w.client.post(path, None, Idempotency_Key=same)


def _events(w: Walker, accept: str) -> Reply:
    return w.client.get(f"/workflows/runs/{w.ended()['runId']}/events", Accept=accept)


def _by_api_key(w: Walker) -> Reply:
    made = w.client.post("/workflows/vault", {"name": "api-key:walk"}).json["key"]
    assert made.startswith("wfk_")
    path = f"/workflows/sync/{w.workflow(SYNC)['workflowId']}"
    with closing(Client(w.client.port)) as caller:
        return caller.call("POST", path, {"x": 1}, {"X-Api-Key": made})


def _is_another(w: Walker) -> bool:
    made = w.ended()
    path = f"/workflows/{made['workflowId']}/executions"
    first = w.client.get(path)
    w.client.post(f"/workflows/runs/{made['runId']}/rerun")
    position = first.headers["x-refold-position"]
    again, now = w.client.get(f"{path}?as_of=p{position}"), w.client.get(path)
    return again.body != first.body or now.body == first.body


def _cancelled(w: Walker) -> Any:
    run_id = w.waiting()["runId"]
    w.client.post(f"/workflows/runs/{run_id}/cancel")
    return followed(w.client, run_id)["error_message"]


@pytest.mark.parametrize(
    ("status", "type_", "code"),
    [(s, type_, code) for s, (type_, codes) in CODES.items() for code in codes.split()],
)
def test_each_error_code_is_explained(client: Client, status: int, type_: str, code: str) -> None:
    """Where `doc_url` leads, with its status and type."""
    page = client.get("/docs").body.decode()
    row = re.search(rf'<tr id="{code}">(.*?)</tr>', page)
    if code in LEFT_OUT:
        assert row is None, "it has come: take it off the list"
        return
    assert row is not None
    assert f"<td>{status}</td>" in row[1]
    assert f"<code>{type_}</code>" in row[1]


@pytest.mark.parametrize("name", [*SETTINGS, *LIMITS])
def test_each_setting_is_one(name: str) -> None:
    """As a variable, as a flag where it is no secret, and in the root's README."""
    known = {setting.variable: setting for setting in Settings.DECLARED}
    if f"REFOLD_{name}" in LEFT_OUT:
        assert f"REFOLD_{name}" not in known, "it has come: take it off the list"
        return
    setting = known[f"REFOLD_{name}"]
    assert setting.secret or setting.flag == "--" + name.lower().replace("_", "-")
    assert f"`{name}`" in (ROOT / "README.md").read_text("utf-8")
    if name in LIMITS:
        assert getattr(Settings(), setting.name) == LIMITS[name]


@pytest.mark.parametrize("path", [path for path in LEFT_OUT if path.startswith("/")])
def test_what_is_left_out_is_not_there_yet(client: Client, path: str) -> None:
    """What has come must be walked through."""
    assert client.get(path.replace("…", "x")).status == 404
    assert client.get(path.replace("/…", "")).status == 404
