"""The tree that a run belongs to, and how two runs differ, as clients read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.http_kit import calling, create, quick, refused, run, slow, started
from tests.support.service import Client, Endpoint, Hit, Service, chain, endpoint, node

WAIT = {"Prefer": "wait=30"}


class Flaky:
    """An endpoint whose calls to `/flaky` fail until it is mended."""

    def __init__(self) -> None:
        self.is_mended = False

    def __call__(self, hit: Hit) -> tuple[int, object]:
        """Answer."""
        is_broken = hit.path.startswith("/flaky") and not self.is_mended
        return (503, {"problem": "no"}) if is_broken else (200, {"ok": True})


@pytest.fixture
def flaky() -> Iterator[tuple[Flaky, Endpoint]]:
    """An endpoint that fails at first."""
    answers = Flaky()
    with endpoint(answers) as made:
        yield answers, made


def _lineage(client: Client, run_id: str) -> Any:
    reply = client.get(f"/workflows/runs/{run_id}/lineage")
    assert reply.status == 200, reply.body
    return reply.json


def _diff(client: Client, left: str, right: str) -> Any:
    reply = client.get(f"/workflows/runs/{left}/diff/{right}")
    assert reply.status == 200, reply.body
    return reply.json


def _resume(client: Client, run_id: str, node_id: str, **body: Any) -> dict[str, Any]:
    path = f"/workflows/runs/{run_id}/resume-from/{node_id}"
    found: dict[str, Any] = client.call("POST", path, body or None, WAIT).json["new_run"]
    return found


def _rerun(client: Client, run_id: str) -> dict[str, Any]:
    path = f"/workflows/runs/{run_id}/rerun"
    found: dict[str, Any] = client.call("POST", path, None, WAIT).json["new_run"]
    return found


def test_a_run_alone_is_a_tree_of_one(client: Client) -> None:
    """Its own root, with the times of its own page."""
    made = run(client, create(client, quick()))
    found = _lineage(client, made["id"])
    assert found == {
        "run_id": made["id"],
        "workflow_id": made["workflow_id"],
        "root_run_id": made["id"],
        "succeeded": True,
        "succeeded_run_id": made["id"],
        "runs": [
            {
                "id": made["id"],
                "workflow_version": 1,
                "status": "completed",
                "origin": "execute",
                "original_run_id": None,
                "resumed_from_node_id": None,
                "failed_node_id": None,
                "created_at": made["created_at"],
                "started_at": made["started_at"],
                "completed_at": made["completed_at"],
                "duration_in_seconds": made["duration_in_seconds"],
                "children": [],
                "parent": None,
                "sub_runs": [],
            }
        ],
        "truncated": False,
    }


def test_the_tree_is_the_same_from_each_of_its_runs(
    client: Client, flaky: tuple[Flaky, Endpoint]
) -> None:
    """Reruns and resumes of reruns and resumes; whether one succeeded at last."""
    answers, sink = flaky
    workflow = create(client, calling(sink, "one", "flaky"))
    root = run(client, workflow)["id"]
    rerun = _rerun(client, root)["id"]
    first = _resume(client, root, "n1")["id"]
    unsuccessful = _lineage(client, first)
    assert (unsuccessful["succeeded"], unsuccessful["succeeded_run_id"]) == (False, None)
    answers.is_mended = True
    last = _resume(client, first, "n1")["id"]
    run(client, workflow)
    for asked in (root, rerun, first, last):
        found = _lineage(client, asked)
        assert (found["run_id"], found["root_run_id"]) == (asked, root)
        assert (found["succeeded"], found["succeeded_run_id"]) == (True, last)
        assert [one["id"] for one in found["runs"]] == [root, rerun, first, last]
        by_id = {one["id"]: one for one in found["runs"]}
        assert by_id[root]["children"] == [rerun, first]
        assert by_id[first]["children"] == [last]
        assert [one["origin"] for one in found["runs"]] == ["execute", "rerun", "resume", "resume"]
        assert [one["original_run_id"] for one in found["runs"]] == [None, root, root, first]
        assert by_id[last]["resumed_from_node_id"] == "n1"
        assert by_id[root]["failed_node_id"] == "n2"


def test_the_tree_of_a_run_that_was_just_accepted_holds_it(client: Client) -> None:
    """Whatever was disclosed is in it, with an end or without."""
    workflow = create(client, slow())
    waiting = started(client, workflow)
    (shown,) = _lineage(client, waiting)["runs"]
    assert (shown["id"], shown["completed_at"]) == (waiting, None)
    assert shown["status"] in ("pending", "running")


def test_sub_workflows_are_linked_both_ways(client: Client) -> None:
    """Which node started which run, inside an iterator too."""
    sub = create(client, chain(node("t", "workflow_trigger")))
    call = node("call", "trigger_workflow", workflow_id=sub)
    each = node("each", "iterator", items=[1, 2], nodes=[call], edges=[])
    parent = run(client, create(client, chain(node("t", "manual_trigger"), each)))
    assert parent["status"] == "completed", parent
    (shown,) = _lineage(client, parent["id"])["runs"]
    assert [
        (one["workflow_id"], one["node_id"], one["iteration"], one["status"])
        for one in shown["sub_runs"]
    ] == [(sub, "call", [0], "completed"), (sub, "call", [1], "completed")]
    child = _lineage(client, shown["sub_runs"][1]["id"])
    assert child["workflow_id"] == sub
    assert child["runs"][0]["parent"] == {
        "run_id": parent["id"],
        "node_id": "call",
        "iteration": [1],
    }
    assert child["runs"][0]["origin"] == "subworkflow"


@pytest.mark.parametrize("route", ["lineage", "diff/{own}"])
def test_foreign_unknown_and_deleted_runs_have_neither_tree_nor_difference(
    api: Service, client: Client, org: str, route: str
) -> None:
    """404 in the same words whatever the reason, on either side; 403 without the scope."""
    workflow = create(client, quick())
    made = run(client, workflow)["id"]
    stranger, powerless = api.client("stranger"), api.client(org, scope="journal:read")
    own = run(stranger, create(stranger, quick()))["id"]
    path = f"/workflows/runs/{made}/{route.format(own=made)}"
    answers = [
        stranger.get(f"/workflows/runs/{made}/{route.format(own=own)}"),
        client.get(f"/workflows/runs/fl_run_none/{route.format(own=made)}"),
        client.get(f"/workflows/runs/{workflow}/{route.format(own=made)}"),
    ]
    if route != "lineage":
        answers.append(client.get(f"/workflows/runs/{made}/diff/{own}"))
        answers.append(client.get(f"/workflows/runs/{made}/diff/none"))
    assert client.get(path).status == 200
    refused(powerless.get(path), 403, "insufficient_scope")
    client.call("DELETE", f"/workflows/{workflow}")
    answers.append(client.get(path))
    for reply in answers:
        refused(reply, 404, "resource_missing")
    assert len({reply.body for reply in answers}) == 1
    for one in (stranger, powerless):
        one.close()


def test_a_run_does_not_differ_from_itself_nor_from_its_rerun(
    client: Client, sink: Endpoint
) -> None:
    """Although ids, times and the trigger's own `run_id` do."""
    workflow = create(client, calling(sink, "one", "two"))
    made = run(client, workflow, {"name": "Ann"})["id"]
    again = _rerun(client, made)["id"]
    for other in (made, again):
        found = _diff(client, made, other)
        assert found["first_divergence"] is None
        assert [(one["node_id"], one["result"]) for one in found["nodes"]] == [
            ("t", "same"),
            ("n1", "same"),
            ("n2", "same"),
        ]
        assert (found["left"]["id"], found["right"]["id"]) == (made, other)
        assert found["truncated"] is False


def test_a_resumed_run_differs_from_where_the_original_failed(
    client: Client, flaky: tuple[Flaky, Endpoint]
) -> None:
    """What was replayed is the same, what failed has changed, what was never reached is new."""
    answers, sink = flaky
    failed = run(client, create(client, calling(sink, "one", "flaky", "three")))
    answers.is_mended = True
    resumed = _resume(client, failed["id"], "n1")
    found = _diff(client, failed["id"], resumed["id"])
    assert {one["node_id"]: one["result"] for one in found["nodes"]} == {
        "t": "same",
        "n1": "same",
        "n2": "changed",
        "n3": "only_right",
    }
    apart = found["first_divergence"]
    assert [(apart[side]["type"], apart[side]["node_id"]) for side in ("left", "right")] == [
        ("node.failed", "n2"),
        ("node.succeeded", "n2"),
    ]
    assert (found["left"]["status"], found["right"]["status"]) == ("failed", "completed")
    assert (found["left"]["origin"], found["right"]["origin"]) == ("execute", "resume")
    changed = found["nodes"][2]
    assert changed["left"] == {
        "component_id": "webhook",
        "status": "error",
        "attempts": 1,
        "log_id": failed["logs"][2]["id"],
        "started_at": failed["logs"][2]["started_at"],
        "completed_at": failed["logs"][2]["created_at"],
        "duration_in_seconds": changed["left"]["duration_in_seconds"],
    }
    assert changed["left"]["duration_in_seconds"] > 0
    assert changed["right"]["log_id"] == resumed["logs"][2]["id"]
    assert found["nodes"][3]["left"] is None


def test_another_payload_is_the_first_difference(client: Client) -> None:
    """And each node that passed something else on has changed."""
    workflow = create(client, quick())
    left, right = (run(client, workflow, {"name": name})["id"] for name in ("Ann", "Bob"))
    found = _diff(client, left, right)
    assert found["first_divergence"]["left"]["type"] == "run.requested"
    assert found["first_divergence"]["right"]["version"] == 1
    assert [one["result"] for one in found["nodes"]] == ["changed", "changed"]


def test_runs_of_different_workflows_are_compared_by_their_nodes(client: Client) -> None:
    """A copy of a workflow under another id is a common case."""
    left = run(client, create(client, quick()), {"name": "Ann"})["id"]
    definition = quick()
    definition["nodes"].append(node("b", "text_transform", template="more"))
    definition["edges"].append({"id": "x", "source": "a", "target": "b"})
    right = run(client, create(client, definition), {"name": "Ann"})["id"]
    found = _diff(client, left, right)
    assert [one["result"] for one in found["nodes"]] == ["same", "same", "only_right"]
    assert found["first_divergence"]["left"] is None
    assert found["first_divergence"]["right"]["type"] == "node.succeeded"
    swapped = _diff(client, right, left)
    assert [one["result"] for one in swapped["nodes"]] == ["same", "same", "only_left"]
    assert swapped["first_divergence"]["left"] == found["first_divergence"]["right"]
    assert swapped["first_divergence"]["right"] is None
