"""The auditor's view of a run: pages, NDJSON, and a live tail that loses nothing."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.http_kit import calling, create, held, quick, refused, run, started
from tests.support.service import Client, Endpoint, Service, chain, node, token

SSE = {"Accept": "text/event-stream"}
NDJSON = {"Accept": "application/x-ndjson"}
FIELDS = [
    "position",
    "version",
    "id",
    "type",
    "schema",
    "stream",
    "at",
    "actor",
    "corr",
    "cause",
    "src",
    "facts",
    "payload",
    "leaf",
    "body",
]


@pytest.fixture
def finished(client: Client, sink: Endpoint) -> str:
    """A run of a call, ended."""
    return str(run(client, create(client, calling(sink, "ok")), {"n": 1})["id"])


def _events(text: bytes) -> list[tuple[int, str, dict[str, Any]]]:
    """Read server-sent events: id, name and data of each."""
    found: list[tuple[int, str, dict[str, Any]]] = []
    for block in text.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


@contextmanager
def _tail(service: Service, org: str, path: str) -> Generator[http.client.HTTPResponse, None, None]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", path, headers=SSE | {"Authorization": f"Bearer {token(org)}"})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def _next(response: http.client.HTTPResponse) -> tuple[int, str, dict[str, Any]]:
    """Read one event of a live tail."""
    block = b""
    while not block.endswith(b"\n\n"):
        line = response.readline()
        assert line, "the tail ended"
        block = b"" if line.startswith(b":") else block + line
    return _events(block)[0]


def test_events_are_shown_in_order_with_their_bodies(client: Client, finished: str) -> None:
    """All fields of the envelope, facts apart from user data, positions rising."""
    page = client.get(f"/workflows/runs/{finished}/events").json
    assert page["next"] is None
    events = page["data"]
    # Only the start of a call says whether its outcome is known.
    fields = [
        [*FIELDS, "in_doubt"] if event["type"] == "node.started" else FIELDS for event in events
    ]
    assert [list(event) for event in events] == fields
    assert events[3]["in_doubt"] is False
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    positions = [event["position"] for event in events]
    assert positions == sorted(positions)
    assert [event["type"] for event in events] == [
        "run.requested",
        "run.started",
        "node.succeeded",
        "node.started",
        "node.succeeded",
        "run.completed",
    ]
    assert {event["stream"] for event in events} == {finished}
    assert events[0]["body"] == {"by": "me", "payload": {"n": 1}}
    assert events[0]["facts"]["origin"] == "execute"
    assert events[1]["body"] is None
    assert events[3]["body"]["method"] == "POST"
    assert all(len(event["leaf"]) == 64 for event in events)
    assert all((len(event["payload"]) == 64) == (event["body"] is not None) for event in events)


def test_events_are_paged(client: Client, finished: str) -> None:
    """`next` is the `after` of the following page, null at the end."""
    path = f"/workflows/runs/{finished}/events"
    whole = client.get(path).json["data"]
    seen, after = [], 0
    while after is not None:
        page = client.get(f"{path}?after={after}&limit=4").json
        seen += page["data"]
        after = page["next"]
    assert seen == whole
    assert client.get(f"{path}?after=999").json == {"data": [], "next": None}


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=1001", "limit=", "after=1e3"]
)
def test_a_bad_page_is_refused(client: Client, finished: str, query: str) -> None:
    """By the name of the parameter."""
    reply = client.get(f"/workflows/runs/{finished}/events?{query}")
    assert list(refused(reply, 422, "parameter_invalid")) == [query.split("=")[0]]


def test_ndjson_is_one_event_a_line(client: Client, finished: str) -> None:
    """The same events as the pages', for tools that read line by line."""
    path = f"/workflows/runs/{finished}/events"
    reply = client.call("GET", path, headers=NDJSON)
    assert reply.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in reply.body.splitlines()]
    whole = client.get(path).json["data"]
    assert lines == whole
    after = client.call("GET", f"{path}?after=2", headers=NDJSON)
    assert [json.loads(line) for line in after.body.splitlines()] == whole[2:]


def test_the_tail_of_an_ended_run_is_all_of_it(client: Client, finished: str) -> None:
    """Each event with its version as id and its type as name; then the stream ends."""
    path = f"/workflows/runs/{finished}/events"
    reply = client.call("GET", path, headers=SSE)
    assert reply.headers["content-type"] == "text/event-stream"
    whole = client.get(path).json["data"]
    assert _events(reply.body) == [(e["version"], e["type"], e) for e in whole]


def test_a_tail_goes_on_after_the_last_event_that_was_seen(client: Client, finished: str) -> None:
    """`Last-Event-ID`, as a browser sends it when it connects again."""
    path = f"/workflows/runs/{finished}/events"
    reply = client.call("GET", path, headers=SSE | {"Last-Event-ID": "4"})
    assert [event[0] for event in _events(reply.body)] == [5, 6]
    for bad in ("", "x", "-1", "1.5"):
        again = client.call("GET", path, headers=SSE | {"Last-Event-ID": bad})
        refused(again, 422, "parameter_invalid")


def test_a_tail_that_has_seen_the_end_is_told_to_stop(client: Client, finished: str) -> None:
    """204 keeps a browser from connecting again for ever."""
    path = f"/workflows/runs/{finished}/events"
    reply = client.call("GET", path, headers=SSE | {"Last-Event-ID": "6"})
    assert (reply.status, reply.body) == (204, b"")


def test_a_live_tail_shows_events_as_they_become_durable(
    api: Service, client: Client, org: str
) -> None:
    """What is there first, then the rest when it happens, and the end at the end."""
    with held() as (gate, url):
        call = node("a", "webhook", url=url)
        made = started(client, create(client, chain(node("t", "manual_trigger"), call)))
        assert gate.arrived.wait(20)
        path = f"/workflows/runs/{made}/events"
        with _tail(api, org, path) as response:
            assert response.status == 200
            before = [_next(response) for _ in range(4)]
            assert [name for _, name, _ in before][-1] == "node.started"
            gate.release.set()
            after = [_next(response) for _ in range(2)]
            assert response.read() == b""
    whole = client.get(path).json["data"]
    assert [data for _, _, data in before + after] == whole


def test_many_tails_see_the_same(api: Service, client: Client, org: str) -> None:
    """Each watcher gets every event once, whenever it came."""
    with held() as (gate, url):
        call = node("a", "webhook", url=url)
        made = started(client, create(client, chain(node("t", "manual_trigger"), call)))
        assert gate.arrived.wait(20)
        path = f"/workflows/runs/{made}/events"
        seen: list[bytes] = []
        began = threading.Barrier(6)

        def watch() -> None:
            with _tail(api, org, path) as response:
                first = response.readline()
                began.wait(20)
                seen.append(first + response.read())

        threads = [threading.Thread(target=watch) for _ in range(5)]
        for thread in threads:
            thread.start()
        began.wait(20)
        gate.release.set()
        for thread in threads:
            thread.join(30)
    assert len(seen) == 5
    assert len(set(seen)) == 1
    assert [event[0] for event in _events(seen[0])] == [1, 2, 3, 4, 5, 6]


def test_events_need_their_own_scope(api: Service, client: Client, org: str, finished: str) -> None:
    """The journal holds more than the run's page shows."""
    reader = api.client(org, scope="workflows:read workflows:write workflows:execute admin")
    path = f"/workflows/runs/{finished}/events"
    for headers in ({}, SSE, NDJSON):
        refused(reader.call("GET", path, headers=headers), 403, "insufficient_scope")
    reader.close()


def test_the_actor_is_no_name(client: Client, finished: str) -> None:
    """Facts hold a pseudonym; the readable name stands in a body, where it can be erased."""
    events = client.get(f"/workflows/runs/{finished}/events").json["data"]
    assert len({event["actor"] for event in events}) == 1
    assert len(events[0]["actor"]) == 64
    assert '"me"' not in json.dumps(events[0]["facts"])


def test_an_empty_body_never_was(client: Client) -> None:
    """Events without user data have null, not `{"erased": true}`."""
    made = run(client, create(client, quick()))["id"]
    events = client.get(f"/workflows/runs/{made}/events").json["data"]
    assert [event["body"] for event in events if not event["payload"]] == [None, None]
