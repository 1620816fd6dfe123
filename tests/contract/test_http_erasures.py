"""Erasures over HTTP: what goes, what every route then says of it, and what is refused."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from refold.engine.component import is_list, is_object
from tests.support.erasure_kit import ERASED, ask, erase
from tests.support.http_kit import (
    create,
    followed,
    key,
    nothing_written,
    quick,
    refused,
    run,
    slow,
    started,
)
from tests.support.service import Client, Endpoint, Service, chain, node

UNKNOWN_RUN = "fl_run_" + "0" * 26


def failing(sink: Endpoint) -> dict[str, Any]:
    """Write a workflow that calls, says something, and fails."""
    return chain(
        node("t", "manual_trigger"),
        node("a", "webhook", url=f"{sink.url}/ok", body={"n": "{{ trigger.name }}"}),
        node("b", "text_transform", template="hello {{ trigger.name }}"),
        node("c", "webhook", url=f"{sink.url}/503/x"),
    )


def asking() -> dict[str, Any]:
    """Write a workflow that asks a person."""
    text = chain(
        node("t", "manual_trigger"),
        node("f", "form", fields=[{"name": "note"}], actions=[{"id": "go"}]),
    )
    text["nodes"].append(node("x", "text_transform", template="{{ f.values.note }}"))
    text["edges"].append({"id": "fx", "source": "f", "target": "x", "sourceHandle": "go"})
    return text


def waiting(client: Client, workflow: str) -> str:
    """Start a run and return its id once it awaits a person."""
    made = client.post(f"/workflows/{workflow}/execute", None, Prefer="wait=30").json
    return str(made["id"])


def shown(client: Client, run_id: str) -> dict[str, Any]:
    """Return a run as it reads now."""
    found: dict[str, Any] = client.get(f"/workflows/runs/{run_id}").json
    return found


def bodies(client: Client, run_id: str) -> list[Any]:
    """Return the bodies of a run's events, those without one left out."""
    data = client.get(f"/workflows/runs/{run_id}/events").json["data"]
    return [event["body"] for event in data if event["body"] is not None]


def resumed(client: Client, run_id: str, at: str) -> str:
    """Resume a run and return the new one's id once it has ended."""
    made = client.post(f"/workflows/runs/{run_id}/resume-from/{at}", None, Prefer="wait=30")
    assert made.status == 200, made.body
    return str(made.json["new_run"]["id"])


def test_every_body_of_a_run_reads_erased_and_its_structure_stays(
    client: Client, sink: Endpoint
) -> None:
    """Payload, inputs, outputs and error text go; nodes, times and states are what they were."""
    made = run(client, create(client, failing(sink)), {"name": "ada"})
    before = client.get(f"/workflows/runs/{made['id']}/events").json["data"]
    answered = erase(client, run=made["id"])
    positions = [event["position"] for event in before if event["payload"]]
    assert answered["streams"] == [{"stream": made["id"], "positions": positions}]
    assert (answered["erased"], answered["erased_before"]) == (len(positions), 0)
    assert (answered["complete"], answered["dry_run"]) == (True, False)
    assert (answered["runs"], answered["left"], answered["kept"]) == ([made["id"]], [], [])
    assert "backups" in answered["out_of_reach"]
    wanted = {**made, "trigger_payload": ERASED, "error_message": "(erased)"}
    wanted["logs"] = [{**log, "output": ERASED} for log in made["logs"]]
    assert shown(client, made["id"]) == wanted
    after = client.get(f"/workflows/runs/{made['id']}/events").json["data"]
    assert after == [{**event, "body": ERASED if event["payload"] else None} for event in before]
    (said,) = answered["erasures"]
    assert said > positions[-1]


def test_a_second_request_finds_nothing_more_to_erase(client: Client) -> None:
    """Whoever is not sure asks again: the answer says what was gone before, and adds nothing."""
    made = run(client, create(client, quick()), {"name": "ada"})
    rehearsed = erase(client, run=made["id"], dry_run=True)
    assert shown(client, made["id"]) == made
    first = erase(client, run=made["id"], reason="ticket 7")
    assert {**first, "dry_run": True, "erasures": []} == rehearsed
    again = erase(client, run=made["id"])
    assert (again["erased"], again["erased_before"]) == (0, first["erased"])
    assert (again["streams"], again["erasures"]) == ([], [])


def test_one_erasure_reaches_every_run_that_shows_the_body(client: Client, sink: Endpoint) -> None:
    """Originals and forks alike, from whichever of them it begins; the answer names them all."""
    workflow = create(client, failing(sink))
    root = run(client, workflow, {"name": "ada"})["id"]
    fork = resumed(client, root, "a")
    second = resumed(client, fork, "b")
    answered = erase(client, run=second)
    assert sorted(answered["runs"]) == sorted([root, fork, second])
    assert {loss["stream"] for loss in answered["streams"]} == {root, fork, second}
    assert len(answered["erasures"]) == 3
    assert shown(client, second)["trigger_payload"] == ERASED
    assert [log["output"] for log in shown(client, second)["logs"]] == [ERASED] * 4
    # What the others did by themselves is theirs.
    assert sorted(answered["left"]) == sorted([root, fork])
    outputs = {log["node_id"]: log["output"] for log in shown(client, root)["logs"]}
    assert [outputs[name] == ERASED for name in ("t", "a", "b", "c")] == [True, True, False, False]
    outputs = {log["node_id"]: log["output"] for log in shown(client, fork)["logs"]}
    assert [outputs[name] == ERASED for name in ("t", "a", "b", "c")] == [True, True, True, False]


def test_what_needs_an_erased_body_is_refused(client: Client, sink: Endpoint) -> None:
    """Neither again nor from the middle, nor in rehearsal, nor among many."""
    workflow = create(client, failing(sink))
    made = run(client, workflow, {"name": "ada"})
    erase(client, run=made["id"])
    path = f"/workflows/runs/{made['id']}"
    with nothing_written_of(client, workflow):
        refused(client.post(f"{path}/rerun"), 409, "payload_erased")
        refused(client.post(f"{path}/rerun", {"definition": "original"}), 409, "payload_erased")
        refused(client.post(f"{path}/resume-from/a"), 409, "payload_erased")
        refused(client.post(f"{path}/resume-from/a", {"dry_run": True}), 409, "payload_erased")
    many = client.post(f"/workflows/{workflow}/executions/resume", {"node": "a"}).json
    assert [refusal["code"] for refusal in many["refused"]] == ["payload_erased"]


def nothing_written_of(client: Client, workflow: str) -> Any:
    """See that a workflow gets no run in a block."""

    class Look:
        def __enter__(self) -> None:
            self.before = client.get(f"/workflows/{workflow}/executions").json["meta"]["total"]

        def __exit__(self, *_: object) -> None:
            after = client.get(f"/workflows/{workflow}/executions").json["meta"]["total"]
            assert after == self.before

    return Look()


def test_every_route_that_shows_a_run_reads_on(client: Client, sink: Endpoint) -> None:
    """Lists, logs, comparisons, trees and answers of earlier moments, none of them breaks."""
    workflow = create(client, failing(sink))
    first = run(client, workflow, {"name": "ada"})
    other = run(client, workflow, {"name": "ada"})
    position = int(client.get(f"/workflows/runs/{first['id']}").headers["x-refold-position"])
    paths = [
        f"/workflows/runs/{first['id']}",
        f"/workflows/runs/{first['id']}?include=workflow",
        f"/workflows/runs/{first['id']}/interactions",
        f"/workflows/runs/{first['id']}/lineage",
        f"/workflows/runs/{first['id']}/diff/{other['id']}",
        f"/workflows/{workflow}/executions",
        f"/workflows/{workflow}/logs",
        f"/workflows/{workflow}/logs?run={first['id']}",
        f"/workflows/{workflow}/logs/stats",
        "/workflows/logs/recent",
        f"/workflows/runs/{first['id']}?as_of=p{position}",
        f"/workflows/{workflow}/executions?as_of=p{position}",
    ]
    before = [client.get(path) for path in paths]
    erase(client, run=first["id"])
    for path, then in zip(paths, before, strict=True):
        now = client.get(path)
        assert now.status == then.status == 200, path
        assert "ada" not in json.dumps(_without(now.json, other["id"])), path
    (row,) = [
        row
        for row in client.get(f"/workflows/{workflow}/executions").json["data"]
        if row["id"] == first["id"]
    ]
    assert (row["trigger_payload"], row["error_message"]) == (ERASED, "(erased)")


def _without(value: Any, run_id: str) -> Any:
    """Leave out what an answer says of another run."""
    if is_list(value):
        return [_without(part, run_id) for part in value]
    if not is_object(value):
        return value
    if run_id in (value.get("id"), value.get("execution_id")):
        return None
    return {name: _without(part, run_id) for name, part in value.items()}


def test_a_repeated_call_answers_with_what_is_left(client: Client, sink: Endpoint) -> None:
    """The same run and the same form of answer, without the data."""
    workflow, keys = create(client, quick()), [key(), key(), key()]
    made = client.post(
        f"/workflows/{workflow}/execute", {"context": {"name": "ada"}}, Idempotency_Key=keys[0]
    ).json
    followed(client, made["id"])
    again = client.post(f"/workflows/runs/{made['id']}/rerun", None, Idempotency_Key=keys[1]).json
    followed(client, again["new_run"]["id"])
    text = chain(
        node("t", "sync_request_trigger"), node("a", "text_transform", template="{{ trigger.n }}")
    )
    sync = create(client, text)
    called = client.post(f"/workflows/sync/{sync}", {"n": "ada"}, Idempotency_Key=keys[2])
    assert called.json == {"text": "ada"}
    erase(client, run=made["id"])
    erase(client, run=called.headers["x-run-id"])
    repeat = client.post(
        f"/workflows/{workflow}/execute", {"context": {"name": "ada"}}, Idempotency_Key=keys[0]
    )
    assert (repeat.status, repeat.json) == (202, {**made, "trigger_payload": ERASED})
    assert repeat.headers["idempotency-replayed"] == "true"
    repeat = client.post(f"/workflows/runs/{made['id']}/rerun", None, Idempotency_Key=keys[1])
    assert repeat.json["new_run"]["trigger_payload"] == ERASED
    repeat = client.post(f"/workflows/sync/{sync}", {"n": "ada"}, Idempotency_Key=keys[2])
    assert (repeat.status, repeat.json) == (200, ERASED)
    # Whoever waits gets the end of it, from the journal and not from anybody's memory.
    repeat = client.post(
        f"/workflows/{workflow}/execute",
        {"context": {"name": "ada"}},
        Idempotency_Key=keys[0],
        Prefer="wait=30",
    )
    assert (repeat.status, repeat.json["logs"][0]["output"]) == (200, ERASED)


def test_a_run_that_goes_on_is_left_alone(client: Client, sink: Endpoint) -> None:
    """An unfinished run, one that a fork still reads, and one that a parent waits for."""
    run_id = started(client, create(client, slow()))
    refused(ask(client, run=run_id), 409, "run_not_finished")
    refused(ask(client, run=run_id, dry_run=True), 409, "run_not_finished")
    client.post(f"/workflows/runs/{run_id}/cancel")
    followed(client, run_id)
    fork = client.post(f"/workflows/runs/{run_id}/rerun").json["new_run"]["id"]
    for named in (run_id, fork):
        errors = ask(client, run=named)
        refused(errors, 409, "run_not_finished")
        assert fork in errors.json["message"]
    client.post(f"/workflows/runs/{fork}/cancel")
    followed(client, fork)
    assert erase(client, run=run_id)["left"] == [fork]


def test_a_workflow_is_erased_once_it_is_deleted(client: Client, sink: Endpoint) -> None:
    """All its versions and the data of all its runs; of what is in use nothing goes."""
    workflow = create(client, {**failing(sink), "name": "about ada"})
    client.call("PUT", f"/workflows/{workflow}", {"description": "ada's"})
    made = run(client, workflow, {"name": "ada"})
    position = int(client.get(f"/workflows/{workflow}").headers["x-refold-position"])
    refused(ask(client, workflow=workflow), 409, "workflow_in_use")
    assert client.call("DELETE", f"/workflows/{workflow}").status == 204
    answered = erase(client, workflow=workflow)
    assert [loss["stream"] for loss in answered["streams"]] == [made["id"], workflow]
    assert (answered["runs"], answered["left"]) == ([made["id"]], [])
    at = f"as_of=p{position}"
    erased = client.get(f"/workflows/{workflow}?{at}").json
    assert (erased["name"], erased["nodes"], erased["edges"]) == ("(erased)", [], [])
    assert (erased["description"], erased["erased"], erased["version"]) == (None, True, 2)
    listed = client.get(f"/workflows?{at}").json
    assert [entry["name"] for entry in listed if entry["id"] == workflow] == ["(erased)"]
    versions = client.get(f"/workflows/{workflow}/versions?{at}").json
    assert [version["created_by"] for version in versions] == [None, None]
    one = client.get(f"/workflows/{workflow}/versions/1?{at}").json
    assert one["workflow"]["erased"] is True
    embedded = client.get(f"/workflows/runs/{made['id']}?include=workflow&{at}").json
    assert embedded["workflow"]["erased"] is True
    assert client.get(f"/workflows/logs/recent?{at}").status == 200
    assert set(map(json.dumps, bodies(client, made["id"]))) == {json.dumps(ERASED)}
    assert erase(client, workflow=workflow)["erased"] == 0


def test_a_person_is_forgotten_with_what_was_made_of_the_data(
    api: Service, org: str, sink: Endpoint
) -> None:
    """Runs by the person's payload, whoever went on with them; and the person's answers."""
    with closing(api.client(org)) as admin, closing(api.client(org, "ada")) as ada:
        workflow = create(admin, failing(sink))
        parent = create(
            admin,
            chain(
                node("t", "manual_trigger"),
                node("s", "trigger_workflow", workflow_id=workflow, input={"name": "x"}),
            ),
        )
        own = run(ada, workflow, {"name": "ada"})["id"]
        above = run(ada, parent, {"name": "ada"})["id"]
        (child,) = admin.get(f"/workflows/{workflow}/executions?origin=subworkflow").json["data"]
        fork = resumed(admin, own, "a")
        other = run(admin, workflow, {"name": "bob"})["id"]
        rerun = ada.post(f"/workflows/runs/{other}/rerun", None, Prefer="wait=30").json
        asked = waiting(admin, create(admin, asking()))
        answer = {"action": "go", "values": {"note": "by ada"}}
        assert ada.post(f"/workflows/runs/{asked}/interactions/f", answer).status == 202
        followed(admin, asked)
        stopped = started(admin, create(admin, slow()))
        ada.post(f"/workflows/runs/{stopped}/cancel")
        assert followed(admin, stopped)["error_message"] == "Run cancelled by ada"
        made_by_ada = create(ada, quick())
        answered = erase(admin, subject="ada")
        whole = {own, above, child["id"], fork}
        for run_id in whole:
            assert set(map(json.dumps, bodies(admin, run_id))) == {json.dumps(ERASED)}
        assert whole <= set(answered["runs"])
        # A run by somebody else's payload stays, and so does what followed from an answer.
        assert shown(admin, other)["trigger_payload"] == {"name": "bob"}
        assert bodies(admin, rerun["new_run"]["id"])[0] == ERASED
        outputs = {log["node_id"]: log["output"] for log in shown(admin, asked)["logs"]}
        assert (outputs["f"], outputs["x"]) == (ERASED, {"text": "by ada"})
        assert asked in answered["left"]
        assert shown(admin, stopped)["error_message"] == "(erased)"
        assert "ada" not in json.dumps(bodies(admin, stopped))
        assert [found["stream"] for found in answered["kept"]] == [made_by_ada]
        assert erase(admin, subject="ada")["erased"] == 0


def test_another_tenant_is_out_of_reach(api: Service, client: Client, sink: Endpoint) -> None:
    """Its ids answer as unknown ones, and its people have other names."""
    workflow = create(client, quick())
    made = run(client, workflow, {"name": "ada"})
    client.call("DELETE", f"/workflows/{workflow}")
    with closing(api.client("somebody-else")) as other:
        unknown = ask(other, run=UNKNOWN_RUN)
        foreign = ask(other, run=made["id"])
        assert (unknown.status, unknown.body) == (foreign.status, foreign.body)
        refused(foreign, 404, "resource_missing")
        refused(ask(other, workflow=workflow), 404, "resource_missing")
        refused(ask(other, run=workflow), 404, "resource_missing")
        refused(ask(other, workflow=made["id"]), 404, "resource_missing")
        assert erase(other, subject="me")["erased"] == 0
    assert bodies(client, made["id"])[0]["payload"] == {"name": "ada"}


BAD: dict[str, Any] = {
    "nothing": {},
    "two things": {"run": UNKNOWN_RUN, "subject": "ada"},
    "a number": {"run": 7},
    "null": {"workflow": None},
    "no name": {"subject": ""},
    "a long name": {"subject": "x" * 256},
    "an unknown field": {"run": UNKNOWN_RUN, "why": "x"},
    "a long reason": {"run": UNKNOWN_RUN, "reason": "x" * 201},
    "no reason": {"run": UNKNOWN_RUN, "reason": ""},
    "a reason that moves the cursor": {"run": UNKNOWN_RUN, "reason": "a\x1b[2Jb"},
    "a reason of two lines": {"run": UNKNOWN_RUN, "reason": "a\nb"},
    "a reason that turns the text round": {"run": UNKNOWN_RUN, "reason": "a\u202eb"},
    "a reason of spaces": {"run": UNKNOWN_RUN, "reason": "  "},
    "a yes that is a word": {"run": UNKNOWN_RUN, "dry_run": "yes"},
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_request_that_can_not_be_is_refused(api: Service, client: Client, body: Any) -> None:
    """With the field that is wrong, before anything is looked up."""
    reply = client.post("/journal/erasures", body)
    with nothing_written(api):
        code = reply.json["code"]
        assert code in ("parameter_invalid", "parameter_missing")
        assert refused(reply, 422, code)


def test_only_an_administrator_erases(api: Service, org: str) -> None:
    """No other scope is enough, not even all of them together."""
    scopes = "workflows:read workflows:write workflows:execute vault:write journal:read"
    with closing(api.client(org, scope=scopes)) as reader:
        refused(ask(reader, run=UNKNOWN_RUN), 403, "insufficient_scope")


def test_what_was_deleted_no_longer_names_who_made_it(client: Client) -> None:
    """Grants and vault items of a person stay while they are in use, and go when they are not."""
    made = client.post("/workflows/vault", {"name": "a-secret", "secret": "hush hush"}).json
    assert [found["stream"] for found in erase(client, subject="me")["kept"]] == [made["id"]]
    client.call("DELETE", f"/workflows/vault/{made['id']}")
    answered = erase(client, subject="me")
    assert [loss["stream"] for loss in answered["streams"]] == [made["id"]]
    assert answered["kept"] == []
