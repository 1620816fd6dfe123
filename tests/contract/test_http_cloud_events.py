"""Events in: each starts what waits for it, all at once and once only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.http_kit import create, followed, key, nothing_written, refused
from tests.support.service import Client, Reply, Service, chain, node, running, token

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def event(**attributes: Any) -> dict[str, Any]:
    """Write an event with an id of its own."""
    base = {"specversion": "1.0", "id": key(), "source": "/shop", "type": "order.paid"}
    return base | attributes


def send(client: Client, value: Any, headers: dict[str, str] = STRUCTURED) -> Reply:
    """Post events in the JSON format."""
    return client.call("POST", "/workflows/events", raw=json.dumps(value).encode(), headers=headers)


def runs(reply: Reply) -> list[str]:
    """Return the runs of an answer."""
    assert reply.status == 202, reply.body
    assert set(reply.json) == {"runs"}
    found: list[str] = reply.json["runs"]
    return found


def waiting(client: Client, event_type: str, **trigger: Any) -> str:
    """Create a workflow that waits for events of a type."""
    start = node("t", "event_trigger", event_type=event_type, **trigger)
    echo = node("a", "text_transform", template="{{ trigger.data }}")
    return create(client, chain(start, echo))


def workflow_of(client: Client, run: str) -> str:
    """Return whose run it is."""
    return str(client.get(f"/workflows/runs/{run}").json["workflow_id"])


def test_an_event_starts_every_workflow_that_waits_for_it(client: Client) -> None:
    """In the order in which they were made; the payload is the event."""
    exact = waiting(client, "order.paid")
    waiting(client, "order.lost")
    prefix = waiting(client, "order.*")
    every = waiting(client, "*", source="/sh*")
    waiting(client, "*", source="/elsewhere")
    sent = event(subject="7", data={"total": 3}, traceparent="00-1")
    started = runs(send(client, sent))
    assert [workflow_of(client, run) for run in started] == [exact, prefix, every]
    shown = followed(client, started[0])
    assert (shown["status"], shown["origin"]) == ("completed", "event")
    assert shown["trigger_payload"] == sent
    assert shown["logs"][0]["output"] == sent | {"trigger_type": "event", "run_id": started[0]}
    assert shown["logs"][1]["output"] == {"total": 3}


def test_binary_mode_means_the_same(client: Client) -> None:
    """Attributes in headers, any body."""
    waiting(client, "order.paid")
    sent = event()
    headers = {f"ce-{name}": value for name, value in sent.items()}
    for content_type, body, data in (
        ("application/json", b'{"total": 3}', {"data": {"total": 3}}),
        ("text/plain", b"three", {"data": "three"}),
        ("image/png", b"\x89PNG", {"data_base64": "iVBORw=="}),
    ):
        headers["ce-id"] = key()
        given = headers | {"Content-Type": content_type}
        [run] = runs(client.call("POST", "/workflows/events", raw=body, headers=given))
        expected = sent | {"id": headers["ce-id"], "datacontenttype": content_type} | data
        assert client.get(f"/workflows/runs/{run}").json["trigger_payload"] == expected


def test_the_same_event_makes_no_second_runs(client: Client) -> None:
    """Source and id name it, whatever else it says, in whichever mode and batch it comes."""
    first_workflow = waiting(client, "order.paid")
    sent = event(data=1)
    first = send(client, sent)
    waiting(client, "order.paid")
    client.call("PUT", f"/workflows/{first_workflow}", {"is_active": False})
    for again in (
        send(client, sent),
        send(client, sent | {"data": 2, "type": "order.lost"}),
        send(client, [sent, sent], BATCH),
    ):
        assert runs(again) == runs(first)
        assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    for other in (sent | {"id": key()}, sent | {"source": "/else"}):
        assert len(runs(send(client, other))) == 1
        assert runs(send(client, other)) != runs(first)


def test_an_event_that_starts_nothing_is_not_remembered(api: Service, client: Client) -> None:
    """202 with no runs; once somebody waits for it, it may come again."""
    sent = event()
    with nothing_written(api):
        assert runs(send(client, sent)) == []
    waiting(client, "order.paid")
    assert len(runs(send(client, sent))) == 1


def test_only_active_workflows_of_the_tenant_with_such_a_trigger_start(
    api: Service, client: Client
) -> None:
    """As they are when the event comes: every change counts at once."""
    with closing(api.client("another-tenant-of-events")) as other:
        waiting(other, "order.paid")
        workflow = waiting(client, "order.paid")
        path = f"/workflows/{workflow}"
        manual = [node("t", "manual_trigger"), node("a", "text_transform", template="x")]
        deaf = [node("t", "event_trigger", event_type="order.lost"), manual[1]]
        back = [node("t", "event_trigger", event_type="order.paid"), manual[1]]
        for change, count in (
            ({"is_active": False}, 0),
            ({"is_active": True}, 1),
            ({"nodes": manual}, 0),
            ({"nodes": deaf}, 0),
            ({"nodes": back}, 1),
        ):
            assert client.call("PUT", path, change).status == 200
            assert len(runs(send(client, event()))) == count, change
        for run in client.get(f"{path}/executions").json["data"]:
            followed(client, run["id"])
        assert client.call("DELETE", path).status == 204
        assert runs(send(client, event())) == []


def test_a_schema_is_a_filter(client: Client) -> None:
    """One workflow's schema must not keep an event from the others."""
    schema = {"properties": {"data": {"required": ["total"]}}, "required": ["data"]}
    strict = waiting(client, "order.paid", input_schema=schema)
    free = waiting(client, "order.paid")
    started = runs(send(client, event(data={})))
    assert [workflow_of(client, run) for run in started] == [free]
    started = runs(send(client, event(data={"total": 1})))
    assert [workflow_of(client, run) for run in started] == [strict, free]


def test_a_batch_starts_what_its_events_start(client: Client) -> None:
    """And all or nothing of it is read."""
    waiting(client, "order.*")
    batch = [event(), event(type="other"), event(type="order.lost")]
    assert len(runs(send(client, batch, BATCH))) == 2
    assert runs(send(client, [], BATCH)) == []
    errors = refused(send(client, [event(), {}], BATCH), 422, "parameter_missing")
    assert set(errors) == {"[1].id", "[1].source", "[1].type", "[1].specversion"}


def test_the_runs_of_an_event_are_one_commit(api: Service, client: Client) -> None:
    """All or none, also where the process dies: they stand side by side, at one time."""
    for _ in range(5):
        waiting(client, "order.paid")
    started = runs(send(client, event()))
    found = [client.get(f"/workflows/runs/{run}/events?limit=1").json["data"][0] for run in started]
    positions = [first["position"] for first in found]
    assert positions == list(range(positions[0], positions[0] + 5))
    assert len({first["at"] for first in found}) == 1
    assert len({first["facts"]["idempotency_key"] for first in found}) == 1
    with closing(sqlite3.connect(f"file:{api.data / 'journal.db'}?mode=ro", uri=True)) as db:
        where = "SELECT count(*) FROM request WHERE first <= ? AND last >= ?"
        assert db.execute(where, (positions[0], positions[-1])).fetchone() == (1,)


@pytest.mark.parametrize(
    ("value", "headers", "status", "code"),
    [
        (event(id=None), STRUCTURED, 422, "parameter_missing"),
        (event(time="now"), STRUCTURED, 422, "parameter_invalid"),
        (event(specversion="2.0"), STRUCTURED, 422, "parameter_invalid"),
        ([event()], STRUCTURED, 422, "parameter_invalid"),
        (event(), BATCH, 422, "parameter_invalid"),
        (event(), {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        (event(), {"Content-Type": "application/cloudevents+avro"}, 415, "unsupported_media_type"),
        (event(data="x" * (256 * 1024)), STRUCTURED, 413, "payload_too_large"),
        ([event(), event(data="x" * (256 * 1024))], BATCH, 413, "payload_too_large"),
    ],
)
def test_what_is_no_event_is_refused(
    api: Service, client: Client, value: Any, headers: dict[str, str], status: int, code: str
) -> None:
    """Nothing is written, not even for the good events of a batch."""
    waiting(client, "*")
    with nothing_written(api):
        refused(send(client, value, headers), status, code)
        refused(
            client.call("POST", "/workflows/events", raw=b"{", headers=STRUCTURED),
            400,
            "invalid_json",
        )


def test_events_need_the_scope_to_execute(api: Service) -> None:
    """A reader can't start anything."""
    with (
        closing(Client(api.port, token(scope="workflows:read workflows:write"))) as reader,
        closing(Client(api.port)) as nobody,
        nothing_written(api),
    ):
        refused(send(reader, event()), 403, "insufficient_scope")
        refused(send(nobody, event()), 401, "unauthorized")


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own, for workflows by the hundred."""
    with running(tmp_path_factory.mktemp("crowd") / "data") as made:
        yield made


def test_one_event_starts_a_hundred_workflows_and_no_more(crowded: Service) -> None:
    """They all stand in one commit, so their number is bounded; it is told, not cut off."""
    with closing(crowded.client()) as client:
        for _ in range(100):
            waiting(client, "order.paid")
        assert len(runs(send(client, event()))) == 100
        last = waiting(client, "order.*")
        with nothing_written(crowded):
            refused(send(client, event()), 422, "parameter_invalid")
        client.call("PUT", f"/workflows/{last}", {"is_active": False})
        assert len(runs(send(client, event()))) == 100
        client.call("PUT", f"/workflows/{last}", {"is_active": True})
        assert len(runs(send(client, event(type="order.lost")))) == 1


def test_runs_of_events_survive_a_kill_and_so_does_their_key(crowded: Service) -> None:
    """Who sent the event and heard nothing sends it again."""
    with closing(crowded.client("later")) as client:
        waiting(client, "order.paid")
        sent = event()
        first = runs(send(client, sent))
    crowded.kill()
    crowded.start()
    with closing(crowded.client("later")) as client:
        again = send(client, sent)
        assert (runs(again), again.headers["idempotency-replayed"]) == (first, "true")
        assert followed(client, first[0])["status"] == "completed"


def test_a_run_of_an_event_is_rerun_with_the_event(client: Client) -> None:
    """The payload is inherited and still counts as an event's."""
    waiting(client, "order.paid")
    [run] = runs(send(client, event(data={"a": 1})))
    followed(client, run)
    new = client.post(f"/workflows/runs/{run}/rerun", Prefer="wait=30").json["new_run"]
    assert (new["status"], new["logs"][0]["output"]["trigger_type"]) == ("completed", "event")
