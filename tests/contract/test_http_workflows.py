"""Definitions: create, read, change, delete, versions, and every fault told with its path."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_kit import (
    create,
    followed,
    held,
    hook_path,
    key,
    nothing_written,
    quick,
    refused,
    run,
    slow,
    started,
)
from tests.support.service import Client, Service, chain, node

FIELDS = [
    "id",
    "name",
    "description",
    "version",
    "nodes",
    "edges",
    "schedule_type",
    "schedule_value",
    "next_run_at",
    "is_active",
    "webhook_url",
    "created_at",
    "updated_at",
    "authorization",
]
FAULTY: list[tuple[dict[str, Any], set[str]]] = [
    ({"nodes": [], "edges": []}, {"nodes"}),
    ({"nodes": "x", "edges": {}}, {"nodes", "edges"}),
    ({"nodes": [1, {}], "edges": ["x"]}, {"nodes[0]", "edges[0]"}),
    ({"nodes": [{"id": "a"}], "edges": []}, {"nodes[0].data.componentId", "nodes"}),
    ({"nodes": [node("a", "teleport")], "edges": []}, {"nodes[0].data.componentId", "nodes"}),
    (
        {"nodes": [node("t", "manual_trigger"), node("u", "manual_trigger")], "edges": []},
        {"nodes[1]"},
    ),
    (
        {"nodes": [node("t", "manual_trigger"), node("t", "terminate")], "edges": []},
        {"nodes[1].id"},
    ),
    ({"nodes": [node("run", "manual_trigger")], "edges": []}, {"nodes[0].id"}),
    (
        {
            "nodes": [
                node("t", "manual_trigger"),
                node("a", "webhook", url="ftp://x", method="STEAL"),
                node("b", "text_transform", template="{{ broken"),
                node("c", "delay", duration=-1, unit="years"),
                node("d", "webhook", url="https://x.example", retry={"max_attempts": 0}),
            ],
            "edges": [
                {"id": "1", "source": "t", "target": "nowhere"},
                {"id": "2", "source": "a", "target": "t"},
                {"id": "3", "source": "t", "target": "b", "sourceHandle": "true"},
            ],
        },
        {
            "nodes[1].data.method",
            "nodes[2].data.template",
            "nodes[3].data.unit",
            "nodes[4].data.retry.max_attempts",
            "edges[0].target",
            "edges[1].target",
            "edges[2].sourceHandle",
        },
    ),
    (
        {
            "nodes": [
                node("t", "manual_trigger"),
                node("a", "text_transform", template="x"),
                node("b", "text_transform", template="x"),
            ],
            "edges": [
                {"id": "1", "source": "t", "target": "a"},
                {"id": "2", "source": "a", "target": "b"},
                {"id": "3", "source": "b", "target": "a"},
            ],
        },
        {"edges"},
    ),
    (
        {
            "nodes": [
                node("t", "manual_trigger"),
                node("c", "boolean_condition", left=True, operator="is_true"),
                node("a", "terminate"),
            ],
            "edges": [
                {"id": "1", "source": "t", "target": "c"},
                {"id": "2", "source": "c", "target": "a"},
            ],
        },
        {"edges[1].sourceHandle"},
    ),
    (
        {
            "nodes": [
                node("t", "manual_trigger"),
                node(
                    "a",
                    "webhook",
                    url="https://x.example",
                    delivery="at_most_once",
                    retry={"max_attempts": 2},
                ),
            ],
            "edges": [],
        },
        {"nodes[1].data.delivery"},
    ),
]


def test_a_created_workflow_is_shown_whole(client: Client) -> None:
    """201 with every field of the contract and where to find it."""
    made = client.post("/workflows", quick() | {"description": "says hi"})
    assert made.status == 201
    shown = made.json
    assert list(shown) == FIELDS
    assert shown["id"].startswith("fl_")
    assert len(shown["id"]) == len("fl_") + 26
    assert made.headers["location"] == f"/workflows/{shown['id']}"
    assert (shown["version"], shown["is_active"]) == (1, True)
    assert shown["description"] == "says hi"
    assert shown["created_at"] == shown["updated_at"]
    assert shown["webhook_url"] is None
    assert client.get(f"/workflows/{shown['id']}").json == shown


def test_unknown_fields_of_nodes_and_edges_are_kept(client: Client) -> None:
    """Editors store colours and places beside the configuration, and get them back."""
    text: dict[str, Any] = {
        "name": "é 🎈",
        "nodes": [
            node("t", "manual_trigger", label="Start", ui={"colour": [1, 2.5, None]})
            | {"position": {"x": 1.5, "y": -2}, "selected": False},
            {"id": "a", "type": "text_transform", "data": {"template": "x", "z": "\u2028"}},
        ],
        "edges": [
            {"id": "e", "source": "t", "target": "a", "animated": True, "sourceHandle": None}
        ],
    }
    workflow = create(client, text)
    shown = client.get(f"/workflows/{workflow}").json
    assert {name: shown[name] for name in text} == text
    assert run(client, workflow)["status"] == "completed"


def test_the_list_holds_workflows_without_their_definition(client: Client) -> None:
    """An array by default, oldest first; the paged envelope where it is asked for."""
    ids = [create(client, quick() | {"name": f"w{n}"}) for n in range(5)]
    shown = client.get("/workflows").json
    assert [entry["id"] for entry in shown] == ids
    expected = [name for name in FIELDS if name not in ("nodes", "edges")]
    assert all(list(entry) == expected for entry in shown)
    page = client.get("/workflows?page=2&per_page=2").json
    assert [entry["id"] for entry in page["data"]] == ids[2:4]
    assert (page["meta"]["total"], page["meta"]["last_page"]) == (5, 3)
    assert page["links"]["next"] == "/workflows?per_page=2&page=3"
    refused(client.get("/workflows?page=0"), 422, "parameter_invalid")


def test_a_change_makes_a_new_version_of_the_fields_sent(client: Client) -> None:
    """Everything else stays as it was."""
    workflow = create(client, quick() | {"description": "first"})
    before = client.get(f"/workflows/{workflow}").json
    made = client.call("PUT", f"/workflows/{workflow}", {"name": "second"})
    assert made.status == 200
    assert made.headers["etag"] == '"2"'
    changed = made.json
    assert changed["updated_at"] > before["updated_at"]
    assert changed == before | {
        "name": "second",
        "version": 2,
        "updated_at": changed["updated_at"],
    }
    assert (
        client.call("PUT", f"/workflows/{workflow}", {"description": None}).json["description"]
        is None
    )
    assert client.get(f"/workflows/{workflow}").json["version"] == 3


def test_a_change_under_a_stale_version_is_refused(api: Service, client: Client) -> None:
    """`If-Match` keeps two editors from overwriting one another."""
    workflow = create(client, quick())
    path = f"/workflows/{workflow}"
    current = client.get(path).headers["etag"]
    assert current == '"1"'
    accepted = client.call("PUT", path, {"name": "b"}, {"If-Match": current})
    assert accepted.json["version"] == 2
    with nothing_written(api):
        for stale in (current, "3", '"0"'):
            reply = client.call("PUT", path, {"name": "c"}, {"If-Match": stale})
            refused(reply, 412, "version_mismatch")
        reply = client.call("PUT", path, {"name": "c"}, {"If-Match": "newest"})
        assert list(refused(reply, 422, "parameter_invalid")) == ["If-Match"]
    assert client.call("PUT", path, {"name": "c"}, {"If-Match": "*"}).status == 200


def test_every_version_stays_readable(api: Service, client: Client, org: str) -> None:
    """With who made it and when; the whole definition one by one."""
    workflow = create(client, quick())
    editor = api.client(org, sub="editor")
    editor.call("PUT", f"/workflows/{workflow}", {"name": "second", "is_active": False})
    editor.close()
    path = f"/workflows/{workflow}/versions"
    listed = client.get(path).json
    assert [(v["version"], v["created_by"]) for v in listed] == [(1, "me"), (2, "editor")]
    assert [set(v) for v in listed] == [{"version", "created_at", "created_by"}] * 2
    first, second = client.get(f"{path}/1").json, client.get(f"{path}/2").json
    assert (first["workflow"]["name"], first["workflow"]["is_active"]) == ("chain", True)
    assert (second["workflow"]["name"], second["workflow"]["is_active"]) == ("second", False)
    assert second["workflow"] == client.get(f"/workflows/{workflow}").json
    for missing in ("0", "3", "999999999"):
        refused(client.get(f"{path}/{missing}"), 404, "resource_missing")
    for bad in ("x", "-1", "1.0", "9999999999"):
        refused(client.get(f"{path}/{bad}"), 422, "parameter_invalid")


def test_a_deleted_workflow_is_gone_and_so_are_its_runs(client: Client) -> None:
    """404 everywhere, save the journal, which forgets nothing."""
    workflow = create(client, chain(node("t", "webhook_trigger")))
    hook = hook_path(client, workflow)
    finished = run(client, workflow)["id"]
    reply = client.call("DELETE", f"/workflows/{workflow}")
    assert (reply.status, reply.body) == (204, b"")
    assert "content-length" not in reply.headers
    for method, path in (
        ("GET", f"/workflows/{workflow}"),
        ("PUT", f"/workflows/{workflow}"),
        ("DELETE", f"/workflows/{workflow}"),
        ("POST", f"/workflows/{workflow}/execute"),
        ("GET", f"/workflows/{workflow}/executions"),
        ("POST", f"/workflows/{workflow}/executions/resume"),
        ("GET", f"/workflows/{workflow}/versions"),
        ("GET", f"/workflows/{workflow}/versions/1"),
        ("GET", f"/workflows/runs/{finished}"),
        ("POST", f"/workflows/runs/{finished}/rerun"),
        ("POST", f"/workflows/runs/{finished}/resume-from/t"),
        ("POST", f"/workflows/runs/{finished}/cancel"),
        ("POST", hook),
    ):
        refused(client.call(method, path, {}), 404, "resource_missing")
    assert client.get("/workflows").json == []
    events = client.get(f"/workflows/runs/{finished}/events")
    assert [e["type"] for e in events.json["data"]][-1] == "run.completed"


def test_a_workflow_with_an_unfinished_run_is_not_deleted(api: Service, client: Client) -> None:
    """409, until the run has ended; a waiting one counts too."""
    with held() as (gate, url):
        call = node("a", "webhook", url=url)
        workflow = create(client, chain(node("t", "manual_trigger"), call))
        made = started(client, workflow)
        assert gate.arrived.wait(20)
        with nothing_written(api):
            reply = client.call("DELETE", f"/workflows/{workflow}")
            refused(reply, 409, "workflow_in_use")
            assert made in reply.json["message"]
        gate.release.set()
        followed(client, made)
    assert client.call("DELETE", f"/workflows/{workflow}").status == 204
    waiting = create(client, slow())
    started(client, waiting)
    refused(client.call("DELETE", f"/workflows/{waiting}"), 409, "workflow_in_use")


@pytest.mark.parametrize(("text", "paths"), FAULTY)
def test_each_fault_of_a_definition_is_told_with_its_path(
    api: Service, client: Client, text: dict[str, Any], paths: set[str]
) -> None:
    """On create, on change and on validate alike, and all of them at once."""
    workflow = create(client, quick())
    with nothing_written(api):
        made = refused(client.post("/workflows", {"name": "x", **text}), 422, "parameter_invalid")
        changed = client.call("PUT", f"/workflows/{workflow}", text)
        assert refused(changed, 422, "parameter_invalid") == made
        checked = client.post("/workflows/validate", {"name": "x", **text})
    assert set(made) == paths
    assert checked.status == 200
    assert checked.json["valid"] is False
    assert {line.split(": ", 1)[0] for line in checked.json["errors"]} == paths


def test_faults_of_fields_and_of_the_definition_come_together(api: Service, client: Client) -> None:
    """One round trip tells everything there is to repair."""
    text = {
        "name": "",
        "nodes": [node("t", "manual_trigger"), node("a", "webhook")],
        "edges": [],
        "is_active": "yes",
        "colour": "red",
        "schedule_type": "interval",
        "schedule_value": "soon",
    }
    with nothing_written(api):
        errors = refused(client.post("/workflows", text), 422, "parameter_invalid")
    assert set(errors) == {"name", "is_active", "colour", "schedule_value", "nodes[1].data.url"}
    workflow = create(client, quick())
    reply = client.call("PUT", f"/workflows/{workflow}", text)
    assert refused(reply, 422, "parameter_invalid") == errors


@pytest.mark.parametrize(
    ("body", "code", "paths"),
    [
        (None, "parameter_missing", set[str]()),
        ({}, "parameter_missing", {"name", "nodes", "edges"}),
        ({"name": "x"}, "parameter_missing", {"nodes", "edges"}),
        ([], "parameter_invalid", {""}),
    ],
)
def test_a_body_without_the_required_fields_is_refused(
    api: Service, client: Client, body: Any, code: str, paths: set[str]
) -> None:
    """`parameter_missing` where nothing else is wrong."""
    with nothing_written(api):
        assert set(refused(client.post("/workflows", body), 422, code)) == paths


@pytest.mark.parametrize("body", [None, [], "x"])
def test_what_is_no_object_cant_be_validated(client: Client, body: Any) -> None:
    """A body that no definition can stand in is a bad request, not an invalid definition."""
    code = "parameter_missing" if body is None else "parameter_invalid"
    refused(client.post("/workflows/validate", body), 422, code)
    reply = client.call("POST", "/workflows/validate", raw=b"{")
    refused(reply, 400, "invalid_json")


def test_a_good_definition_validates_and_is_not_saved(api: Service, client: Client) -> None:
    """Validation writes nothing."""
    with nothing_written(api):
        reply = client.post("/workflows/validate", quick())
    assert reply.json == {"valid": True, "errors": []}
    assert client.get("/workflows").json == []


def test_a_workflow_with_too_many_nodes_is_refused(api: Service, client: Client) -> None:
    """500 nodes are the limit, told as one fault."""
    nodes = [node("t", "manual_trigger")]
    nodes += [node(f"n{i}", "text_transform", template="x") for i in range(500)]
    with nothing_written(api):
        reply = client.post("/workflows", {"name": "x", "nodes": nodes, "edges": []})
        assert set(refused(reply, 422, "parameter_invalid")) == {"nodes"}
    del nodes[-1]
    assert client.post("/workflows", {"name": "x", "nodes": nodes, "edges": []}).status == 201


def test_the_webhook_address_is_shown_to_writers_and_masked_for_others(
    api: Service, client: Client, org: str
) -> None:
    """Whoever may only read must not be able to start runs."""
    made = client.post("/workflows", chain(node("t", "webhook_trigger")), Idempotency_Key=key())
    address = made.json["webhook_url"]
    token = address.rsplit("/", 1)[1]
    assert token.startswith("whsec_")
    assert len(token) >= len("whsec_") + 26
    workflow = made.json["id"]
    reader = api.client(org, scope="workflows:read workflows:execute journal:read")
    finished = run(client, workflow)["id"]
    for path in (
        f"/workflows/{workflow}",
        f"/workflows/{workflow}/versions/1",
        "/workflows",
        f"/workflows/runs/{finished}?include=workflow",
    ):
        assert address in client.get(path).body.decode()
        shown = reader.get(path).body.decode()
        assert token not in shown
        assert "whsec_***" in shown
    reader.close()


def test_a_webhook_token_stays_when_the_workflow_changes(client: Client) -> None:
    """Its address stands in other people's systems."""
    workflow = create(client, chain(node("t", "webhook_trigger")))
    before = client.get(f"/workflows/{workflow}").json["webhook_url"]
    changed = client.call("PUT", f"/workflows/{workflow}", {"name": "other"})
    assert changed.json["webhook_url"] == before
    manual = quick()
    gone = client.call("PUT", f"/workflows/{workflow}", {"nodes": manual["nodes"], "edges": []})
    assert gone.json["webhook_url"] is None
