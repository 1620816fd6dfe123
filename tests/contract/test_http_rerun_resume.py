"""Rerun and resume-from: what they keep, what they execute, and every way they are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_kit import (
    calling,
    create,
    held,
    nothing_written,
    quick,
    refused,
    run,
    slow,
    started,
)
from tests.support.service import Client, Endpoint, Service, chain, node

WAIT = {"Prefer": "wait=30"}


def _resume(client: Client, run_id: str, node_id: str, **body: Any) -> Any:
    path = f"/workflows/runs/{run_id}/resume-from/{node_id}"
    return client.call("POST", path, body or None, WAIT)


def _paths(sink: Endpoint, since: int) -> list[str]:
    return [hit.path for hit in sink.hits[since:]]


@pytest.fixture
def failed(client: Client, sink: Endpoint) -> dict[str, Any]:
    """A run whose third node, `n2`, got a 503, and whose fourth, `n3`, was never reached."""
    return run(client, create(client, calling(sink, "one", "503/two", "three")), {"name": "Ann"})


def test_rerun_starts_over_with_the_same_payload(
    client: Client, sink: Endpoint, failed: dict[str, Any]
) -> None:
    """A new run, the trigger executed, the definition and its runs embedded."""
    made = client.post(f"/workflows/runs/{failed['id']}/rerun")
    assert made.status == 202
    assert list(made.json) == ["message", "original_run_id", "new_run"]
    assert made.json["message"] == "Workflow re-run initiated successfully."
    assert made.json["original_run_id"] == failed["id"]
    new = made.json["new_run"]
    assert (new["status"], new["logs"], new["origin"]) == ("pending", [], "rerun")
    assert new["trigger_payload"] == {"name": "Ann"}
    assert new["original_run_id"] == failed["id"]
    assert new["resumed_from_node_id"] is None
    workflow = new["workflow"]
    assert workflow["id"] == failed["workflow_id"]
    assert len(workflow["nodes"]) == 4
    assert [r["id"] for r in workflow["runs"]] == [new["id"], failed["id"]]
    assert [r["status"] for r in workflow["runs"]] == ["pending", "failed"]
    assert all("logs" not in r and "workflow" not in r for r in workflow["runs"])


def test_rerun_waits_like_execute(client: Client, sink: Endpoint, failed: dict[str, Any]) -> None:
    """200 with the finished run in the same envelope."""
    before = len(sink.hits)
    made = client.call("POST", f"/workflows/runs/{failed['id']}/rerun", None, WAIT)
    assert made.status == 200
    assert made.headers["preference-applied"] == "wait=30"
    new = made.json["new_run"]
    assert (new["status"], len(new["logs"])) == ("failed", 3)
    assert new["logs"][0]["output"]["run_id"] == new["id"]
    assert _paths(sink, before) == ["/one", "/503/two"]
    assert made.json["new_run"]["workflow"]["id"] == failed["workflow_id"]


def test_rerun_takes_the_current_definition_unless_told_otherwise(
    client: Client, sink: Endpoint, failed: dict[str, Any]
) -> None:
    """`original` is the pinned version."""
    workflow = failed["workflow_id"]
    repaired = calling(sink, "one", "two", "three")
    client.call("PUT", f"/workflows/{workflow}", {"nodes": repaired["nodes"]})
    path = f"/workflows/runs/{failed['id']}/rerun"
    current = client.call("POST", path, None, WAIT).json["new_run"]
    original = client.call("POST", path, {"definition": "original"}, WAIT).json["new_run"]
    assert (current["workflow_version"], current["status"]) == (2, "completed")
    assert current["workflow"]["version"] == 2
    assert (original["workflow_version"], original["status"]) == (1, "failed")
    assert original["workflow"]["version"] == 1


def test_rerun_checks_the_payload_against_the_current_schema(api: Service, client: Client) -> None:
    """422, unless the pinned definition is asked for."""
    workflow = create(client, quick())
    finished = run(client, workflow, {"name": "Ann"})["id"]
    strict = quick(input_schema={"required": ["site"]})
    client.call("PUT", f"/workflows/{workflow}", {"nodes": strict["nodes"]})
    path = f"/workflows/runs/{finished}/rerun"
    with nothing_written(api):
        assert "context" in refused(client.post(path), 422, "parameter_invalid")
    assert client.post(path, {"definition": "original"}).status == 202


def test_rerun_of_a_rerun_has_the_first_payload(client: Client) -> None:
    """The payload stands once, in the run that it was sent for."""
    first = run(client, create(client, quick()), {"name": "Ann"})
    second = client.post(f"/workflows/runs/{first['id']}/rerun", Prefer="wait=30").json["new_run"]
    third = client.post(f"/workflows/runs/{second['id']}/rerun", Prefer="wait=30").json["new_run"]
    assert third["trigger_payload"] == {"name": "Ann"}
    assert third["original_run_id"] == second["id"]
    assert third["logs"][1]["output"] == {"text": "hi Ann"}


def test_an_unfinished_run_is_neither_rerun_nor_resumed(api: Service, client: Client) -> None:
    """409 with the code of each route."""
    made = started(client, create(client, slow()))
    for _ in range(50):
        if client.get(f"/workflows/runs/{made}").json["logs"]:
            break
    with held() as (gate, url):
        call = node("a", "webhook", url=url)
        made = started(client, create(client, chain(node("t", "manual_trigger"), call)))
        assert gate.arrived.wait(20)
        with nothing_written(api):
            refused(client.post(f"/workflows/runs/{made}/rerun"), 409, "run_not_finished")
            refused(_resume(client, made, "t"), 409, "run_not_failed")


@pytest.mark.parametrize("body", [{"definition": "newest"}, {"definiton": "current"}, [1]])
def test_a_bad_body_is_refused(
    api: Service, client: Client, failed: dict[str, Any], body: Any
) -> None:
    """Unknown fields and values are refused before anything is written."""
    with nothing_written(api):
        for path in ("rerun", "resume-from/n1"):
            reply = client.post(f"/workflows/runs/{failed['id']}/{path}", body)
            assert len(refused(reply, 422, "parameter_invalid")) == 1


def test_resume_executes_what_comes_after_the_chosen_node(
    client: Client, sink: Endpoint, failed: dict[str, Any]
) -> None:
    """What succeeded up to there is replayed, not repeated; the rest runs."""
    workflow = failed["workflow_id"]
    repaired = calling(sink, "one", "two", "three")
    client.call("PUT", f"/workflows/{workflow}", {"nodes": repaired["nodes"]})
    before = len(sink.hits)
    made = _resume(client, failed["id"], "n1", definition="current")
    assert made.status == 200
    assert list(made.json) == ["message", "original_run_id", "new_run"]
    assert made.json["message"] == "Workflow resumed successfully from node 'n1'."
    new = made.json["new_run"]
    assert (new["status"], new["origin"]) == ("completed", "resume")
    assert (new["original_run_id"], new["resumed_from_node_id"]) == (failed["id"], "n1")
    assert new["workflow_version"] == 2
    assert _paths(sink, before) == ["/two", "/three"]
    assert [entry["node_id"] for entry in new["logs"]] == ["t", "n1", "n2", "n3"]


def test_replayed_entries_say_where_they_come_from(client: Client, failed: dict[str, Any]) -> None:
    """A new id, the original's times and output, and a link to the entry they copy."""
    new = _resume(client, failed["id"], "n1").json["new_run"]
    for old, copy in zip(failed["logs"][:2], new["logs"][:2], strict=True):
        assert copy["replayed_from"] == {"run_id": failed["id"], "log_id": old["id"]}
        assert copy["id"] != old["id"]
        assert copy["execution_id"] == new["id"]
        for field in ("node_id", "output", "created_at", "started_at", "status", "attempt"):
            assert copy[field] == old[field]
    assert new["logs"][2]["replayed_from"] is None
    assert new["status"] == "failed"


def test_a_replayed_success_can_be_chosen_again(client: Client, failed: dict[str, Any]) -> None:
    """Resume of a resume, and its entries point to the run in between."""
    second = _resume(client, failed["id"], "n1").json["new_run"]
    third = _resume(client, second["id"], "n1").json["new_run"]
    assert third["original_run_id"] == second["id"]
    links = [entry["replayed_from"] for entry in third["logs"][:2]]
    assert [link["log_id"] for link in links] == [entry["id"] for entry in second["logs"][:2]]
    assert {link["run_id"] for link in links} == {second["id"]}


def test_resume_answers_at_once_with_the_pending_run(
    client: Client, failed: dict[str, Any]
) -> None:
    """202 with no logs yet, as every accepted run."""
    made = client.post(f"/workflows/runs/{failed['id']}/resume-from/t")
    assert made.status == 202
    assert (made.json["new_run"]["status"], made.json["new_run"]["logs"]) == ("pending", [])
    assert "workflow" not in made.json["new_run"]


def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    api: Service, client: Client, failed: dict[str, Any]
) -> None:
    """200 with the kept and the executed nodes."""
    with nothing_written(api):
        made = _resume(client, failed["id"], "n1", dry_run=True)
    assert made.status == 200
    assert made.json == {
        "replayed": ["t", "n1"],
        "executed": ["n2", "n3"],
        "definition": "original",
    }
    made = _resume(client, failed["id"], "t", dry_run=True, definition="current")
    assert made.json == {
        "replayed": ["t"],
        "executed": ["n1", "n2", "n3"],
        "definition": "current",
    }


def test_from_the_trigger_everything_after_it_runs(
    client: Client, sink: Endpoint, failed: dict[str, Any]
) -> None:
    """Its success is replayed: the output still names the original run."""
    before = len(sink.hits)
    new = _resume(client, failed["id"], "t").json["new_run"]
    assert new["origin"] == "resume"
    assert _paths(sink, before) == ["/one", "/503/two"]
    assert new["logs"][0]["output"]["run_id"] == failed["id"]


def test_from_the_leaf_of_a_line_the_run_completes_at_once(client: Client, sink: Endpoint) -> None:
    """Nothing is left to execute, and nothing is called."""
    finished = run(client, create(client, calling(sink, "one")))
    before = len(sink.hits)
    refused(_resume(client, finished["id"], "n1"), 409, "run_not_failed")
    new = _resume(client, finished["id"], "n1", allow_completed=True).json["new_run"]
    assert new["status"] == "completed"
    assert len(sink.hits) == before


def test_a_node_that_cant_be_chosen_is_refused(
    api: Service, client: Client, failed: dict[str, Any]
) -> None:
    """404 for a node that doesn't exist, 422 for one that did not succeed in this run."""
    with nothing_written(api):
        for dry in (False, True):
            refused(_resume(client, failed["id"], "nowhere", dry_run=dry), 404, "node_not_found")
            for unsuccessful in ("n2", "n3"):
                reply = _resume(client, failed["id"], unsuccessful, dry_run=dry)
                refused(reply, 422, "node_not_completed")


def test_a_tolerated_failure_cant_be_chosen(client: Client, sink: Endpoint) -> None:
    """It is kept where it comes before the chosen node, and is no success of its own."""
    workflow = create(
        client,
        chain(
            node("t", "manual_trigger"),
            node("a", "webhook", url=f"{sink.url}/500/x", continue_on_error=True),
            node("b", "text_transform", template="x"),
            node("c", "webhook", url=f"{sink.url}/503/x"),
        ),
    )
    failed = run(client, workflow)["id"]
    refused(_resume(client, failed, "a"), 422, "node_not_completed")
    assert _resume(client, failed, "b", dry_run=True).json["replayed"] == ["t", "a", "b"]


def test_a_terminate_cant_be_chosen(client: Client) -> None:
    """It ended the run; a resume executes it anew."""
    workflow = create(
        client,
        chain(
            node("t", "manual_trigger"),
            node("end", "terminate", status="failed", message="no {{ trigger.name }}"),
        ),
    )
    failed = run(client, workflow, {"name": "more"})
    assert (failed["status"], failed["error_message"]) == ("failed", "no more")
    assert failed["failed_node_id"] == "end"
    refused(_resume(client, failed["id"], "end"), 422, "node_not_completed")
    assert _resume(client, failed["id"], "t").json["new_run"]["status"] == "failed"


def test_an_incompatible_edit_is_refused_and_names_the_nodes(
    api: Service, client: Client, sink: Endpoint, failed: dict[str, Any]
) -> None:
    """A kept node that is gone, or has other ways in, can't be carried over."""
    edited = chain(
        node("t", "manual_trigger"),
        node("n1", "text_transform", template="x"),
        node("n2", "webhook", url=f"{sink.url}/two"),
    )
    change = {"nodes": edited["nodes"], "edges": edited["edges"]}
    client.call("PUT", f"/workflows/{failed['workflow_id']}", change)
    with nothing_written(api):
        reply = _resume(client, failed["id"], "n1", definition="current")
        refused(reply, 409, "definition_incompatible")
        assert "'n1'" in reply.json["message"]
        assert "'t'" not in reply.json["message"]
    assert _resume(client, failed["id"], "n1").status == 200
    assert _resume(client, failed["id"], "t", definition="current").status == 200


def test_a_finished_sibling_is_kept_and_a_failed_one_runs_again(
    client: Client, sink: Endpoint
) -> None:
    """The cut follows the graph, not which branch was faster."""
    nodes = [
        node("t", "manual_trigger"),
        node("a", "webhook", url=f"{sink.url}/a"),
        node("b", "webhook", url=f"{sink.url}/b"),
        node("join", "webhook", url=f"{sink.url}/503/join"),
    ]
    pairs = [("t", "a"), ("t", "b"), ("a", "join"), ("b", "join")]
    edges = [{"id": f"{a}{b}", "source": a, "target": b} for a, b in pairs]
    workflow = create(client, {"name": "diamond", "nodes": nodes, "edges": edges})
    failed = run(client, workflow)["id"]
    before = len(sink.hits)
    new = _resume(client, failed, "a").json["new_run"]
    assert new["status"] == "failed"
    assert _paths(sink, before) == ["/503/join"]
    plan = _resume(client, failed, "t", dry_run=True).json
    assert (plan["replayed"], plan["executed"]) == (["t"], ["a", "b", "join"])


def test_the_original_gets_no_write(client: Client, failed: dict[str, Any]) -> None:
    """Rerun and resume leave the bytes of the run they came from as they were."""
    path = f"/workflows/runs/{failed['id']}"
    before = client.get(path).body, client.get(f"{path}/events").body
    _resume(client, failed["id"], "n1")
    client.call("POST", f"{path}/rerun", None, WAIT)
    assert (client.get(path).body, client.get(f"{path}/events").body) == before


def test_a_new_attempt_after_a_definite_failure_has_a_new_key(
    client: Client, sink: Endpoint, failed: dict[str, Any]
) -> None:
    """The receiver must not take the resumed call for a repeat of the one it refused."""
    old = sink.hits[-1].key
    new = _resume(client, failed["id"], "n1").json["new_run"]["id"]
    assert old == f"{failed['id']}:n2:-:1"
    assert sink.hits[-1].key == f"{new}:n2:-:1"
