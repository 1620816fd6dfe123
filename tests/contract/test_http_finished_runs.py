"""Runs that have ended, read again: their answers are kept, and stay what a first reading gives."""

from __future__ import annotations

from contextlib import closing

from tests.support.erasure_kit import ERASED, erase
from tests.support.http_kit import create, quick, refused, run
from tests.support.service import Client, Endpoint, Service, chain, node


def test_a_run_that_is_read_again_reads_the_same_to_the_byte(client: Client) -> None:
    """The first answer is made of the journal, the second is the first, and both are the run."""
    made = run(client, create(client, quick()), {"name": "ada"})
    path = f"/workflows/runs/{made['id']}"
    first, second = client.get(path), client.get(path)
    assert first.body == second.body
    assert first.json == made
    assert client.get(f"{path}?include=workflow").json["workflow"]["name"]


def test_a_run_that_was_read_reads_erased_at_once_when_it_is(client: Client) -> None:
    """No answer outlives what it shows, whichever run was erased."""
    made = run(client, create(client, quick()), {"name": "ada"})
    path = f"/workflows/runs/{made['id']}"
    assert client.get(path).json == client.get(path).json == made
    erase(client, run=made["id"])
    for _ in range(2):
        assert client.get(path).json["trigger_payload"] == ERASED


def test_a_resumed_run_that_was_read_reads_erased_when_its_original_is(
    client: Client, sink: Endpoint
) -> None:
    """It shows bodies of another run, whose erasure names that one."""
    failing = chain(
        node("t", "manual_trigger"),
        node("b", "text_transform", template="hello {{ trigger.name }}"),
        node("c", "webhook", url=f"{sink.url}/503/x"),
    )
    original = run(client, create(client, failing), {"name": "ada"})
    resumed = client.post(
        f"/workflows/runs/{original['id']}/resume-from/b", None, Prefer="wait=30"
    ).json["new_run"]
    path = f"/workflows/runs/{resumed['id']}"
    assert client.get(path).json == client.get(path).json == resumed
    erase(client, run=original["id"])
    assert client.get(path).json["trigger_payload"] == ERASED


def test_a_run_that_was_read_is_no_other_tenants_and_goes_with_its_workflow(
    api: Service, client: Client
) -> None:
    """What is kept is given to whom it belongs, while it is there to be read."""
    workflow = create(client, quick())
    made = run(client, workflow)
    path = f"/workflows/runs/{made['id']}"
    assert client.get(path).status == 200
    with closing(api.client("other")) as other:
        refused(other.get(path), 404, "resource_missing")
    assert client.call("DELETE", f"/workflows/{workflow}").status == 204
    refused(client.get(path), 404, "resource_missing")


def test_a_run_that_was_read_is_shown_as_it_was_when_that_is_asked_for(client: Client) -> None:
    """As of a version before its end it is another answer, and as of its end the same."""
    made = run(client, create(client, quick()), {"name": "ada"})
    path = f"/workflows/runs/{made['id']}"
    assert client.get(path).json == made
    events = client.get(f"{path}/events").json["data"]
    assert client.get(f"{path}?as_of=v1").json["status"] == "pending"
    assert client.get(f"{path}?as_of=v{len(events) - 1}").json["status"] == "running"
    assert client.get(f"{path}?as_of=v{len(events)}").json == made
