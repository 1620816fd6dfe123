"""Tenants that can't see one another: every place that takes an id, with every kind of id.

The places come from the table of routes, so a new route is tried by being there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refold.http.endpoints import ENDPOINTS
from tests.support.foreign_ids import (
    KINDS,
    NO_IDS,
    PARAMETER,
    Place,
    belongings,
    in_bodies,
    in_paths,
    in_queries,
    queries,
    unknown_like,
)
from tests.support.http_kit import quick, refused
from tests.support.in_process import InProcess, calls_counted, in_process, statements_told
from tests.support.service import Client, Endpoint, Reply, Service

MADE = re.compile(rb'"(fl_run_|fl_log_|fl_|vlt_|auth_|sub_|req_)[0-9a-z]{26}"')
TIME = re.compile(rb'"20\d\d-[^"]{16,30}"')
OF_THE_ANSWER = {
    "content-length",
    "date",
    "location",
    "x-refold-position",
    "x-request-id",
}
CALLS_APART_MAX = 40
"""One row of the index is found and its tenant read, or none is: so many functions, and no more."""


def _shown(reply: Reply, id_: str) -> tuple[int, dict[str, str], bytes]:
    """Return an answer without what is new in every answer, and without the id that was sent."""
    body = TIME.sub(b"<time>", MADE.sub(b"<new>", reply.body.replace(id_.encode(), b"<id>")))
    headers = {k: v for k, v in reply.headers.items() if k not in OF_THE_ANSWER}
    return reply.status, headers, body


@pytest.fixture(scope="module")
def owner(api: Service, sink: Endpoint) -> Iterator[dict[str, str]]:
    """One of everything, of a tenant that nobody else asks for."""
    client = api.client("the-owner")
    yield belongings(client, sink.url)
    client.close()


@pytest.fixture(scope="module")
def stranger(api: Service) -> Iterator[Client]:
    """A client of another tenant, with every scope."""
    client = api.client("a-stranger-with-all-scopes")
    yield client
    client.close()


@pytest.fixture(scope="module")
def own(stranger: Client, sink: Endpoint) -> dict[str, str]:
    """What the stranger has itself: the other ids of a path are its own."""
    return belongings(stranger, sink.url)


def test_every_parameter_of_a_path_is_known_to_this_test() -> None:
    """A new kind of id is to be tried as well; say which it is in tests/support/foreign_ids.py."""
    named = {name for endpoint in ENDPOINTS for name in PARAMETER.findall(endpoint.path)}
    assert named == set(KINDS) | set(NO_IDS)
    assert len(list(queries())) >= 3


@pytest.mark.parametrize("what", ["paths", "queries", "bodies"])
def test_a_foreign_id_answers_like_an_unknown_one_everywhere(
    stranger: Client, own: dict[str, str], owner: dict[str, str], what: str
) -> None:
    """Status, headers and body to the byte, for each place and each kind of id put there."""
    places = {"paths": in_paths, "queries": in_queries, "bodies": in_bodies}[what](own)
    tried = 0
    for place in places:
        for id_ in sorted({owner[name] for name in KINDS}):
            unknown = unknown_like(id_)
            foreign = _shown(stranger.call(*place.asked_with(id_)), id_)
            missing = _shown(stranger.call(*place.asked_with(unknown)), unknown)
            assert foreign == missing, (place.name, id_)
            if what == "paths":
                assert foreign[0] == 404, (place.name, id_, foreign)
            tried += 1
    assert tried >= {"paths": 180, "queries": 18, "bodies": 60}[what]


def test_nothing_of_the_owner_was_touched_or_is_listed(
    api: Service, sink: Endpoint, owner: dict[str, str]
) -> None:
    """After all that: its things are as they were, and stand in no list of anybody else's."""
    client = api.client("the-owner")
    for path in (
        f"/workflows/{owner['workflowId']}",
        f"/workflows/runs/{owner['runId']}",
        f"/workflows/vault/{owner['itemId']}",
        f"/subscriptions/{owner['subscriptionId']}",
    ):
        assert client.get(path).status == 200, path
    assert owner["authorizationId"] in client.get("/workflows/authorization").body.decode()
    client.close()
    quiet = api.client("a-stranger-who-named-none-of-it")
    own = belongings(quiet, sink.url)
    reads = [e.path for e in ENDPOINTS if e.method == "GET" and not _open(e.path)]
    for path in reads:
        body = quiet.get(path.format(**(NO_IDS | own))).body
        assert not [id_ for id_ in owner.values() if len(id_) > 20 and id_.encode() in body], path
    quiet.close()


def _open(path: str) -> bool:
    return path in ("/healthz", "/readyz", "/metrics")


@pytest.mark.parametrize(
    "path",
    [
        "/journal/tile/../../vault_key",
        "/journal/tile/0/..%2f..%2fvault_key",
        "/journal/tile/0/%2e%2e",
        "/journal/tile/..%5c/0",
        "/journal/tile/0/0.p/..",
        "/journal/tile/0/0.p/%2e%2e%2fjwt_secret",
        "/journal/tile//etc/passwd",
        "/journal/tile/0/x001/%00",
        "/docs/../journal.db",
        "/docs/..%2fjournal.db",
        "/docs%2f..%2fjwt_secret",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/workflows/runs/..%2f..%2fvault%2f",
        "/workflows/..;/vault",
        "/.git/config",
        "/static/../keys",
    ],
)
def test_no_path_leads_to_a_file(client: Client, path: str) -> None:
    """Nothing is served from the disk by name: no file is opened for what a path says."""
    reply = client.get(path)
    assert reply.status in (404, 422), reply.body
    assert reply.headers["content-type"] == "application/json"
    refused(reply, reply.status, reply.json["code"])


async def _work(service: InProcess, told: list[str], place: Place, id_: str) -> tuple[Any, int]:
    """Return the statements that a request ran, and how many functions it called.

    The least of a few is the request's own: what goes on beside it only adds to it.
    """
    method, path, body = place.asked_with(id_)
    seen: list[tuple[list[str], int]] = []
    for _ in range(4):
        told.clear()
        with calls_counted() as sums:
            reply = await service.call(method, path, body, org="stranger")
        assert reply.status == 404, (place.name, reply.body)
        seen.append((sorted(text for text in told if "SELECT" in text), sums[0]))
    return min((texts for texts, _ in seen), key=len), min(count for _, count in seen)


async def _made(service: InProcess) -> dict[str, str]:
    """Make a workflow of many versions, a run of it, and what else there is, of one tenant."""
    created = await service.call("POST", "/workflows", quick())
    workflow = created.json["id"]
    for number in range(20):
        await service.call("PUT", f"/workflows/{workflow}", {"name": f"version {number}"})
    path = f"/workflows/{workflow}/execute"
    run = (await service.call("POST", path, prefer="wait=20")).json["id"]
    item = await service.call("POST", "/workflows/vault", {"name": "a-secret", "secret": "hush"})
    grant = {"provider": "p", "grant_type": "client_credentials", "client_id": "c",
             "client_secret": "hush hush", "token_url": "https://h.example/token"}  # fmt: skip
    stored = await service.call("POST", "/workflows/authorization", grant)
    told = await service.call("POST", "/subscriptions", {"url": "https://h.example/"})
    return {
        "workflowId": workflow,
        "runId": run,
        "otherRunId": run,
        "itemId": item.json["id"],
        "authorizationId": stored.json["id"],
        "subscriptionId": told.json["id"],
    }


def test_a_foreign_id_makes_as_much_work_as_an_unknown_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same statements and nearly the same functions, so that no clock tells them apart.

    The foreign workflow has twenty versions, and nothing of it is in a cache.
    """

    async def compare() -> int:
        with statements_told(monkeypatch.setattr) as told:
            async with in_process(tmp_path / "data") as service:
                owner = await _made(service)
            # Started anew, so that the owner's things are in no memory.
            async with in_process(tmp_path / "data") as service:
                return await _compared(service, told, owner)

    async def _compared(service: InProcess, told: list[str], owner: dict[str, str]) -> int:
        mine = (await service.call("POST", "/workflows", quick(), org="stranger")).json["id"]
        path = f"/workflows/{mine}/execute"
        run = await service.call("POST", path, org="stranger", prefer="wait=20")
        own = owner | {"workflowId": mine, "runId": run.json["id"], "otherRunId": run.json["id"]}
        own["nodeId"] = "a"
        fitting = [(place, k) for place in in_paths(own) for k in KINDS if KINDS[k] == place.kind]
        for place, name in fitting:
            unknown = unknown_like(owner[name])
            missing = await _work(service, told, place, unknown)
            foreign = await _work(service, told, place, owner[name])
            assert foreign[0] == missing[0], place.name
            assert abs(foreign[1] - missing[1]) <= CALLS_APART_MAX, (place.name, foreign, missing)
        return len(fitting)

    assert asyncio.run(compare()) >= 35
