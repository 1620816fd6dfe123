"""What differs between two runs in full, and what a run is blamed on, as clients read them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jsonpath
import pytest

from tests.support.http_kit import create, quick, refused, run, slow, started
from tests.support.service import Client, Hit, Service, chain, endpoint, node

WAIT = {"Prefer": "wait=30"}


def diff(client: Client, left: str, right: str, at: str = "") -> Any:
    """Compare two runs."""
    reply = client.get(f"/workflows/runs/{left}/diff/{right}{at}")
    assert reply.status == 200, reply.body
    return reply.json


def blame(client: Client, run_id: str, at: str = "") -> Any:
    """Ask what is different since the last success."""
    reply = client.get(f"/workflows/runs/{run_id}/blame{at}")
    assert reply.status == 200, reply.body
    return reply.json


def outputs(client: Client, run_id: str) -> dict[str, Any]:
    """Return the newest output of each node of a run."""
    logs = client.get(f"/workflows/runs/{run_id}").json["logs"]
    return {entry["node_id"]: entry["output"] for entry in logs}


def applied(patch: Any, document: Any) -> Any:
    """Apply a patch by an implementation that had no part in making it."""
    return jsonpath.JSONPatch(patch, unicode_escape=False).apply(deepcopy(document))


def judged(text: str) -> dict[str, Any]:
    """Return a workflow of `t`, `say`, `judge` that fails where `n` is not a number."""
    return chain(
        node("t", "manual_trigger"),
        node("say", "text_transform", template=text),
        node("judge", "number_condition", left="{{ trigger.n }}", operator="=", right=1),
    )


def test_the_outputs_of_changed_nodes_come_with_patches_that_apply(client: Client) -> None:
    """From the left log entry to the right one, ids of runs and all."""
    workflow = create(client, quick())
    left, right = (run(client, workflow, {"name": name, "n": [1, 2]}) for name in ("Ann", "Bob"))
    found = diff(client, left["id"], right["id"])
    before, after = outputs(client, left["id"]), outputs(client, right["id"])
    for one in found["nodes"]:
        assert (one["result"], one["output_patch_omitted"]) == ("changed", None)
        assert applied(one["output_patch"], before[one["node_id"]]) == after[one["node_id"]]
    text = found["nodes"][1]["output_patch"]
    assert text == [{"op": "replace", "path": "/text", "value": "hi Bob"}]
    payload = found["trigger_payload"]
    assert payload == {
        "result": "changed",
        "patch": [{"op": "replace", "path": "/name", "value": "Bob"}],
    }


def test_equal_runs_have_no_patches_and_one_definition(client: Client) -> None:
    """What counts as the same is not patched, although it holds another run's id."""
    workflow = create(client, quick())
    left, right = (run(client, workflow, {"name": "Ann"})["id"] for _ in range(2))
    found = diff(client, left, right)
    assert found["first_divergence"] is None
    assert {one["output_patch"] for one in found["nodes"]} == {None}
    assert found["trigger_payload"] == {"result": "same", "patch": []}
    assert found["definition"] == {
        "result": "same",
        "settings_patch": [],
        "nodes": [],
        "edges": [],
    }


def test_each_side_says_how_often_and_how_long(client: Client) -> None:
    """Of the run, and of each node from its first attempt to the end of its newest."""
    failures = [0]

    def second_time(hit: Hit) -> tuple[int, object]:
        failures[0] += 1
        return (503, {"no": hit.path}) if failures[0] == 1 else (200, {"ok": True})

    with endpoint(second_time) as shaky:
        retry = {"max_attempts": 2, "initial_interval": 0.01}
        call = node("call", "webhook", url=f"{shaky.url}/x", retry=retry)
        workflow = create(client, chain(node("t", "manual_trigger"), call))
        left, right = (run(client, workflow) for _ in range(2))
    found = diff(client, left["id"], right["id"])
    sides = [found["nodes"][1][side] for side in ("left", "right")]
    assert [side["attempts"] for side in sides] == [2, 1]
    shown = [entry for entry in left["logs"] if entry["node_id"] == "call"]
    assert sides[0]["started_at"] == shown[0]["started_at"]
    assert sides[0]["completed_at"] == shown[1]["created_at"]
    assert sides[0]["duration_in_seconds"] >= 0.01
    for made, side in ((left, "left"), (right, "right")):
        named = ("created_at", "started_at", "completed_at", "duration_in_seconds")
        assert {name: found[side][name] for name in named} == {name: made[name] for name in named}


def test_the_definitions_that_runs_are_pinned_to_are_compared(client: Client) -> None:
    """Nodes and edges that were added, removed or changed, and the settings around them."""
    definition = quick()
    workflow = create(client, definition)
    left = run(client, workflow)["id"]
    text, settings = definition["nodes"][1], {"name": "another name"}
    text["position"] = {"x": 7, "y": 7}
    added = node("b", "text_transform", template="more")
    nodes = [definition["nodes"][0], added, {**text, "data": {**text["data"], "template": "ho"}}]
    edges = [
        {"id": "e1", "source": "t", "target": "b", "sourceHandle": "default"},
        {"id": "new", "source": "b", "target": "a"},
    ]
    changed = client.call(
        "PUT", f"/workflows/{workflow}", {**settings, "nodes": nodes, "edges": edges}
    )
    assert changed.status == 200, changed.body
    right = run(client, workflow)["id"]
    found = diff(client, left, right)
    assert (found["left"]["workflow_version"], found["right"]["workflow_version"]) == (1, 2)
    definitions = found["definition"]
    assert definitions["result"] == "changed"
    assert definitions["settings_patch"] == [
        {"op": "replace", "path": "/name", "value": "another name"}
    ]
    assert definitions["nodes"] == [
        {
            "node_id": "a",
            "change": "changed",
            "patch": [{"op": "replace", "path": "/data/template", "value": "ho"}],
        },
        {"node_id": "b", "change": "added", "patch": None},
    ]
    was, plain = definition["edges"][0]["id"], {"source_handle": None}
    assert was != "e1"
    assert definitions["edges"] == [
        {"change": "removed", "left": {"source": "t", **plain, "target": "a"}, "right": None},
        {"change": "added", "left": None, "right": {"source": "t", **plain, "target": "b"}},
        {"change": "added", "left": None, "right": {"source": "b", **plain, "target": "a"}},
    ]


def test_a_run_is_blamed_on_the_newest_success_before_it(client: Client) -> None:
    """Found by itself; what succeeded later, failed, or is of another workflow does not count."""
    workflow = create(client, judged("one"))
    run(client, create(client, judged("one")), {"n": 1})
    assert blame(client, run(client, workflow, {"n": "x"})["id"])["compared_with"] is None
    run(client, workflow, {"n": 1})
    newest = run(client, workflow, {"n": 1})
    assert newest["status"] == "completed"
    client.call("PUT", f"/workflows/{workflow}", {"nodes": judged("two")["nodes"]})
    failed = run(client, workflow, {"n": "y"})
    assert failed["status"] == "failed"
    run(client, workflow, {"n": 1})
    found = blame(client, failed["id"])
    assert found["run_id"] == failed["id"]
    assert found["compared_with"] == newest["id"]
    assert found["compared_because"] == "newest_success"
    assert found["diff"] == diff(client, newest["id"], failed["id"])
    assert found["diff"]["trigger_payload"]["result"] == "changed"
    assert [one["node_id"] for one in found["diff"]["definition"]["nodes"]] == ["say"]


def test_a_rerun_of_a_success_is_blamed_on_that_one(client: Client) -> None:
    """It had the same payload, so what differs is what matters; a nearer success had another."""
    workflow = create(client, judged("one"))
    first = run(client, workflow, {"n": 1})["id"]
    run(client, workflow, {"n": 1, "else": 1})
    again = client.post(f"/workflows/runs/{first}/rerun", None, **WAIT).json["new_run"]["id"]
    found = blame(client, again)
    assert (found["compared_with"], found["compared_because"]) == (first, "original")
    assert found["diff"]["trigger_payload"]["result"] == "same"
    once_more = client.post(f"/workflows/runs/{again}/rerun", None, **WAIT).json["new_run"]["id"]
    assert blame(client, once_more)["compared_with"] == again


def test_without_an_earlier_success_there_is_nothing_to_compare_with(client: Client) -> None:
    """The answer is null, not a refusal: the question was a good one."""
    waiting = started(client, create(client, slow()))
    assert blame(client, waiting) == {
        "run_id": waiting,
        "compared_with": None,
        "compared_because": None,
        "diff": None,
    }


def test_blame_and_difference_come_back_as_of_a_moment(client: Client) -> None:
    """What has happened since changes neither; of a version the run stands where it stood."""
    workflow = create(client, judged("one"))
    success = run(client, workflow, {"n": 1})["id"]
    failed = run(client, workflow, {"n": "y"})["id"]
    first = client.get(f"/workflows/runs/{failed}/blame")
    at = f"?as_of=p{first.headers['x-refold-position']}"
    run(client, workflow, {"n": 1})
    client.call("PUT", f"/workflows/{workflow}", {"nodes": judged("two")["nodes"]})
    assert client.get(f"/workflows/runs/{failed}/blame{at}").body == first.body
    early = blame(client, failed, "?as_of=v1")
    assert early["diff"]["right"]["status"] == "pending"
    assert {one["result"] for one in early["diff"]["nodes"]} == {"only_left"}
    assert diff(client, success, failed, at) == first.json["diff"]


def test_blame_belongs_to_the_tenant_and_needs_the_scope(
    api: Service, client: Client, org: str
) -> None:
    """Another tenant's run looks like none, and its successes are nobody else's."""
    made = run(client, create(client, quick()))["id"]
    stranger, powerless = api.client("stranger"), api.client(org, scope="journal:read")
    path = f"/workflows/runs/{made}/blame"
    known = stranger.get(path)
    unknown = stranger.get(f"/workflows/runs/fl_run_{'0' * 26}/blame")
    refused(known, 404, "resource_missing")
    assert known.body == unknown.body
    refused(powerless.get(path), 403, "insufficient_scope")
    for bad in ("v0", "v999", "p0", "soon"):
        refused(client.get(f"{path}?as_of={bad}"), 422, "parameter_invalid")
    for one in (stranger, powerless):
        one.close()


@pytest.mark.parametrize("size", [100_000, 250_000])
def test_large_outputs_are_compared_within_bounds(client: Client, size: int) -> None:
    """A small change of a large output is a small patch; the patch of all of it still applies."""
    workflow = create(client, chain(node("t", "manual_trigger")))
    numbers = list(range(size // 8))
    pairs = [
        ({"rows": numbers}, {"rows": [*numbers[:5], *numbers[6:]]}),
        ({"rows": numbers}, {"rows": [n * 7 for n in numbers]}),
    ]
    for a, b in pairs:
        left, right = (run(client, workflow, payload)["id"] for payload in (a, b))
        found = diff(client, left, right)
        (one,) = found["nodes"]
        before, after = outputs(client, left)["t"], outputs(client, right)["t"]
        assert applied(one["output_patch"], before) == after
        assert applied(found["trigger_payload"]["patch"], a) == b
    small = diff(client, *(run(client, workflow, payload)["id"] for payload in pairs[0]))
    assert small["trigger_payload"]["patch"] == [{"op": "remove", "path": "/rows/5"}]
