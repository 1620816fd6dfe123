"""The whole journal as a feed: all of it in order, filtered, bounded, in nobody's way."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from refold.http import live
from refold.http.live import News
from tests.support.http_kit import create, quick, refused, run, started
from tests.support.journal_kit import commit, opened, write
from tests.support.journal_kit import started as began
from tests.support.service import Client, Service, chain, node, running, token

NDJSON = {"Accept": "application/x-ndjson"}


class Feed:
    """One open feed, read from a socket of its own."""

    def __init__(self, service: Service, org: str, query: str = "", **headers: str) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", service.port))
        sent = {"Accept": "text/event-stream", "Authorization": f"Bearer {token(org)}", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        path = f"/journal/entries{query}"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline() != b"\r\n":
            pass
        self._buffer = b""

    def blocks(self) -> Generator[dict[str, str]]:
        """Yield the fields of each block until the feed ends."""
        while (size := int(self._file.readline() or b"0", 16)) > 0:
            self._buffer += self._file.read(size)
            self._file.read(2)
            *whole, self._buffer = self._buffer.split(b"\n\n")
            for block in whole:
                yield dict(line.split(": ", 1) for line in block.decode().split("\n"))

    def events(self) -> Generator[dict[str, Any]]:
        """Yield the data of each entry."""
        for block in self.blocks():
            if "data" in block and "id" in block:
                data = json.loads(block["data"])
                assert int(block["id"]) == data["position"]
                assert block["event"] == data.get("type", "hidden")
                yield data

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.socket.close()


@contextmanager
def feed(
    service: Service, org: str, query: str = "", **headers: str
) -> Generator[Feed, None, None]:
    """Keep a feed open for the length of a block."""
    made = Feed(service, org, query, **headers)
    try:
        yield made
    finally:
        made.close()


def _all(client: Client, query: str = "hidden=false") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while after is not None:
        page = client.get(f"/journal/entries?after={after}&limit=50&{query}").json
        found += page["data"]
        after = page["next"]
    return found


def test_the_three_forms_show_the_same(api: Service, client: Client, org: str) -> None:
    """Pages, lines and feed: every entry, in the order of positions."""
    run(client, create(client, quick()))
    for query in ("hidden=true", "hidden=false", "type=run.completed,run.failed"):
        pages = _all(client, query)
        assert [e["position"] for e in pages] == sorted(e["position"] for e in pages)
        text = client.call("GET", f"/journal/entries?{query}", headers=NDJSON)
        assert text.headers["content-type"] == "application/x-ndjson"
        assert [json.loads(line) for line in text.body.splitlines()] == pages
        with feed(api, org, f"?{query}") as opened_feed:
            events = opened_feed.events()
            assert [next(events) for _ in pages] == pages
    everything = _all(client, "hidden=true")
    assert [e["position"] for e in everything] == list(range(1, len(everything) + 1))
    assert {"hidden" if "type" not in e else "own" for e in everything} == {"hidden", "own"}


def test_a_feed_goes_from_what_was_to_what_comes(api: Service, client: Client, org: str) -> None:
    """Without a gap, by position, and other tenants' events in between do not show."""
    workflow = create(client, quick())
    run(client, workflow)
    before = _all(client)
    other = api.client("somebody-else")
    with feed(api, org, "?hidden=false") as opened_feed:
        events = opened_feed.events()
        assert [next(events) for _ in before] == before
        run(other, create(other, quick()))
        run(client, workflow)
        after = _all(client)[len(before) :]
        assert len(after) == 5
        assert [next(events) for _ in after] == after
    with feed(api, org, "?hidden=false", **{"Last-Event-ID": str(before[-1]["position"])}) as again:
        events = again.events()
        assert [next(events) for _ in after] == after
    other.close()


def test_a_feed_can_be_of_one_workflow_or_of_some_types(
    api: Service, client: Client, org: str
) -> None:
    """Also where it begins in the middle of a run, whose first event names the workflow."""
    mine, other = create(client, quick()), create(client, quick())
    made, _ = run(client, mine)["id"], run(client, other)
    whole = [e for e in _all(client) if e["stream"] in (mine, made)]
    middle = whole[2]["position"]
    found = client.get(f"/journal/entries?workflow={mine}&after={middle}").json["data"]
    assert found == whole[3:]
    with feed(api, org, f"?workflow={mine}&type=run.completed&after={middle}") as opened_feed:
        events = opened_feed.events()
        assert next(events) == whole[-1]
        run(client, other)
        newest = run(client, mine)["id"]
        assert next(events)["stream"] == newest


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=99999999", "after"),
        ("after=-1", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("type=", "type"),
        ("type=run.completed,nonsense", "type"),
        ("tenant=", "tenant"),
        ("hidden=yes", "hidden"),
        ("hidden=true&type=run.completed", "hidden"),
        ("exact=1", "exact"),
    ],
)
def test_a_bad_choice_is_refused_by_name(client: Client, query: str, field: str) -> None:
    """Before the first byte of an answer, in all three forms."""
    for headers in ({}, NDJSON, {"Accept": "text/event-stream"}):
        reply = client.call("GET", f"/journal/entries?{query}", headers=headers)
        assert list(refused(reply, 422, "parameter_invalid")) == [field]


@pytest.mark.parametrize("seen", ["99999999", "", "x", "-1", "1.5"])
def test_a_position_that_can_not_be_is_refused_to_a_feed_that_comes_back(
    client: Client, seen: str
) -> None:
    """One to come is of another journal, or of one that was cut: waiting would lose events."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": seen}
    reply = client.call("GET", "/journal/entries", headers=headers)
    assert list(refused(reply, 422, "parameter_invalid")) == ["Last-Event-ID"]


def test_an_operator_sees_another_tenant_s_facts_and_not_its_bodies(
    api: Service, client: Client, org: str
) -> None:
    """Choosing a tenant takes the scope `admin`, and bodies are their tenant's alone."""
    run(client, create(client, quick()), {"name": "Ann"})
    operator = api.client("operator")
    seen = operator.get(f"/journal/entries?tenant={org}").json["data"]
    own = _all(client)
    assert [(e["position"], e["type"], e["facts"]) for e in seen] == [
        (e["position"], e["type"], e["facts"]) for e in own
    ]
    assert {json.dumps(e["body"]) for e in seen} == {'{"withheld": true}', "null"}
    exact = operator.get(f"/journal/entries?tenant={org}&exact=true").json["data"]
    assert not [e for e in exact if "salt" in e or "body_bytes" in e]
    reader = api.client("operator", scope="journal:read")
    for tenant in (org, "there-is-no-such-tenant"):
        refused(reader.get(f"/journal/entries?tenant={tenant}"), 403, "insufficient_scope")
    operator.close()
    reader.close()


def test_what_is_sealed_stays_out_of_feeds(client: Client) -> None:
    """Ciphertext and wrapped keys can be erased only where nobody else has copies of them."""
    item = client.post("/workflows/vault", {"name": "a-secret", "secret": "hush hush"}).json["id"]
    sealed = [e for e in _all(client, "exact=true&hidden=false") if e["stream"] == item]
    assert [e["body"] for e in sealed if e["payload"]]
    assert all(e["body"] == {"withheld": True} for e in sealed if e["payload"])
    assert not [e for e in sealed if "body_bytes" in e]


def _is_served(service: Service) -> bool:
    with feed(service, "acme") as again:
        return again.status == 200


def test_a_tenant_has_a_bounded_number_of_feeds(tmp_path: Path) -> None:
    """One more is told so; a place is free as soon as somebody hangs up, a thousand times."""
    with (
        running(tmp_path / "data", MAX_FEEDS_PER_TENANT="2") as service,
        closing(service.client()) as client,
    ):
        with feed(service, "acme") as one, feed(service, "acme") as two:
            assert next(one.events())
            assert next(two.events())
            reply = client.call("GET", "/journal/entries", headers={"Accept": "text/event-stream"})
            assert (reply.status, reply.json["code"]) == (429, "too_many_requests")
            assert reply.json["type"] == "rate_limit_error"
            assert reply.headers["retry-after"] == "1"
            with feed(service, "other") as foreign:
                assert next(foreign.events())
        for _ in range(100):
            # The server notices the end of the last one before the next request, or soon after.
            assert any(_is_served(service) for _ in range(1000))
        assert client.get("/readyz").status == 200
        assert service.stop() == 0


def test_a_reader_that_takes_nothing_is_dropped_and_told_where(tmp_path: Path) -> None:
    """Runs are not slowed by it; it goes on from the position that it was told."""
    with (
        running(tmp_path / "data", FEED_STALL_SECONDS_MAX="1") as service,
        closing(service.client()) as client,
        feed(service, "acme", "?hidden=false") as slow,
    ):
        workflow = create(client, quick())
        for _ in range(40):
            run(client, workflow, {"name": "x" * 200_000})
        while not any("a reader was dropped" in line for line in service.log):
            run(client, workflow)
        seen: list[int] = []
        told: int | None = None
        for block in slow.blocks():
            if block.get("event") == "dropped":
                told = json.loads(block["data"])["after"]
            elif "id" in block:
                seen.append(int(block["id"]))
        wanted = [entry["position"] for entry in _all(client)]
        assert told == seen[-1] < wanted[-1]
        with feed(service, "acme", f"?hidden=false&after={told}") as again:
            events = again.events()
            rest = [next(events)["position"] for _ in wanted[len(seen) :]]
        assert seen + rest == wanted
        assert service.stop() == 0
        assert not re.search("ERROR|Traceback", "".join(service.log))


def test_a_stop_ends_feeds(tmp_path: Path) -> None:
    """And does not wait for their readers."""
    with running(tmp_path / "data") as service, feed(service, "acme") as opened_feed:
        events = opened_feed.events()
        assert next(events)
        assert service.stop() == 0
        assert list(events) == []


def test_a_feed_without_news_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And hears of an event at once, of those that concern it alone."""
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.01)

    async def listen() -> list[bool]:
        async with opened(tmp_path) as journal:
            stopping = asyncio.get_running_loop().create_future()
            with News(journal, stopping, lambda event: event.stream == "fl_run_1") as news:
                heard = [await news.wait()]
                await journal.append(commit(write("fl_run_2", 0, began())))
                heard.append(await news.wait())
                await journal.append(commit(write("fl_run_1", 0, began())))
                heard.append(await news.wait())
                news.forget()
                heard.append(await news.wait())
                stopping.set_result(None)
                heard.append(await news.wait())
            return heard

    assert asyncio.run(listen()) == [False, False, True, False, True]


def test_a_long_wait_in_a_run_does_not_end_a_feed(api: Service, client: Client, org: str) -> None:
    """Feeds of the journal end with the service, not with what is in them."""
    waiting = create(client, chain(node("t", "manual_trigger"), node("w", "delay", duration=600)))
    with feed(api, org, "?type=timer.set") as opened_feed:
        made = started(client, waiting)
        assert next(opened_feed.events())["stream"] == made
