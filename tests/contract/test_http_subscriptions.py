"""Subscriptions over HTTP: made, listed, told, parked, replayed, deleted."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.erasure_kit import erase
from tests.support.http_kit import create, key, nothing_written, quick, refused, run
from tests.support.listener import Listener, listening
from tests.support.metrics_kit import scraped
from tests.support.service import Client, Hit, Service, endpoint, running


def _subscribe(client: Client, ears: Listener, **wanted: Any) -> dict[str, Any]:
    reply = client.post("/subscriptions", {"url": ears.url, **wanted})
    assert reply.status == 201, reply.json
    made: dict[str, Any] = reply.json
    assert reply.headers["location"] == f"/subscriptions/{made['id']}"
    ears.secret = made["secret"]
    return made


def _positions(client: Client, run_id: str) -> list[int]:
    return [x["position"] for x in client.get(f"/workflows/runs/{run_id}/events").json["data"]]


def test_a_subscriber_is_told_of_a_run_as_it_happens(client: Client) -> None:
    """Signed batches of CloudEvents, with bodies where they were asked for."""
    with listening() as ears:
        _subscribe(client, ears, include_bodies=True)
        made = run(client, create(client, quick()), {"name": "Ann"})
        ears.until_positions(set(_positions(client, made["id"])))
        assert ears.is_signed
        assert ears.first_of(made["id"]) == _positions(client, made["id"])
        first = next(event for event in ears.taken if event["subject"] == made["id"])
        assert first["type"] == "refold.run.requested"
        assert first["data"]["body"]["payload"] == {"name": "Ann"}


def test_a_subscription_is_listed_without_its_secret(client: Client) -> None:
    """With how far it has come; another tenant's is none."""
    with listening() as ears:
        made = _subscribe(client, ears, types=["run.failed"])
        shown = client.get(f"/subscriptions/{made['id']}").json
        assert {**made, "position": 0} == {**shown, "secret": made["secret"], "position": 0}
        assert (shown["status"], shown["types"], shown["parked"]) == ("active", ["run.failed"], [])
        assert [one["id"] for one in client.get("/subscriptions").json] == [made["id"]]


def test_another_tenant_sees_none_of_it(client: Client, api: Service) -> None:
    """Its id answers like an unknown one, on every route."""
    with listening() as ears:
        made = _subscribe(client, ears)["id"]
        stranger = api.client("stranger-to-subscriptions")
        unknown = "sub_" + "0" * 26
        assert stranger.get("/subscriptions").json == []
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/replay")):
            foreign = stranger.call(method, f"/subscriptions/{made}{path}")
            none = stranger.call(method, f"/subscriptions/{unknown}{path}")
            refused(foreign, 404, "resource_missing")
            assert foreign.body == none.body
        stranger.close()


def test_a_repeated_call_makes_one_subscription(client: Client) -> None:
    """And does not show the secret again."""
    with listening() as ears:
        once, body = key(), {"url": ears.url}
        first = client.post("/subscriptions", body, Idempotency_Key=once)
        again = client.post("/subscriptions", body, Idempotency_Key=once)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json == {**first.json, "secret": None}
        assert len(client.get("/subscriptions").json) == 1


def test_what_is_refused_is_parked_and_sent_again_on_request(client: Client) -> None:
    """A subscriber that says 410 is told no more until a replay."""
    with listening() as ears:
        ears.status = lambda _: 410
        made = _subscribe(client, ears)["id"]
        ended = run(client, create(client, quick()))
        path = f"/subscriptions/{made}"
        # The parking is an event like any other, and this list is as new as the journal.
        while (shown := client.get(path).json)["status"] == "active":
            run(client, ended["workflow_id"])
        assert shown["status"] == "parked"
        assert [(one["stream"], one["code"]) for one in shown["parked"]] == [(None, "http_410")]
        assert ears.taken == []
        ears.status = lambda _: 200
        reply = client.post(f"{path}/replay")
        assert (reply.status, reply.json["status"]) == (202, "active")
        ears.until_positions(set(_positions(client, ended["id"])))


def test_a_deleted_subscription_is_gone(client: Client) -> None:
    """204, and then 404."""
    with listening() as ears:
        path = f"/subscriptions/{_subscribe(client, ears)['id']}"
        assert client.call("DELETE", path).status == 204
        refused(client.call("DELETE", path), 404, "resource_missing")
        assert client.get("/subscriptions").json == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://ears.test/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://0x7f.1/x"}, "url"),
        ({"url": "https://ears.test/\r\nX: y"}, "url"),
        ({"url": "https://ears.test/", "types": ["run.ended"]}, "types[0]"),
        ({"url": "https://ears.test/", "types": "run.failed"}, "types"),
        ({"url": "https://ears.test/", "after": -1}, "after"),
        ({"url": "https://ears.test/", "after": 9007199254740991}, "after"),
        ({"url": "https://ears.test/", "include_bodies": "yes"}, "include_bodies"),
        ({"url": "https://ears.test/", "secret": "mine"}, "secret"),
    ],
)
def test_what_can_not_be_is_refused(api: Service, client: Client, body: Any, field: str) -> None:
    """With the field that is wrong, and nothing written."""
    with nothing_written(api):
        reply = client.post("/subscriptions", body)
    code = "parameter_missing" if not body else "parameter_invalid"
    assert field in refused(reply, 422, code)


def test_a_workflow_that_is_not_there_is_refused(client: Client) -> None:
    """As everywhere."""
    body = {"url": "https://ears.test/", "workflow_id": "fl_" + "0" * 26}
    refused(client.post("/subscriptions", body), 404, "resource_missing")


def test_only_an_administrator_sends_events_away(api: Service, org: str) -> None:
    """Who may read the journal may see who is told."""
    reader = api.client(org, scope="journal:read workflows:write")
    assert reader.get("/subscriptions").status == 200
    refused(reader.post("/subscriptions", {"url": "https://x.test/"}), 403, "insufficient_scope")
    reader.close()


def test_a_person_who_is_erased_is_named_by_a_subscription_only_while_it_lives(
    api: Service, client: Client, org: str
) -> None:
    """Then it goes on telling; once it is deleted, nobody is named by it any more."""
    with listening() as ears, closing(api.client(org, sub="ada")) as ada:
        path = f"/subscriptions/{_subscribe(ada, ears)['id']}"
        assert ada.post(f"{path}/replay").status == 202
        answered = erase(client, subject="ada")
        assert (answered["erased"], len(answered["kept"])) == (0, 1)
        assert len(answered["kept"][0]["positions"]) == 2
        made = run(client, create(client, quick()))
        ears.until_positions(set(_positions(client, made["id"])))
        assert client.get(path).json["url"] == ears.url
        ada.call("DELETE", path)
        answered = erase(client, subject="ada")
        assert (answered["erased"], answered["kept"]) == (3, [])


def test_what_a_subscriber_says_beside_its_status_is_not_looked_at(client: Client) -> None:
    """However much it is."""
    asked: list[Hit] = []

    def answer(hit: Hit) -> tuple[int, str]:
        asked.append(hit)
        return 200, "x" * 1_000_000

    with endpoint(answer) as chatty:
        made = client.post("/subscriptions", {"url": chatty.url, "types": ["run.completed"]}).json
        workflow = create(client, quick())
        first = _positions(client, run(client, workflow)["id"])[-1]
        while client.get(f"/subscriptions/{made['id']}").json["position"] < first:
            run(client, workflow)
        assert len({hit.headers["webhook-id"] for hit in asked}) == len(asked)


def test_a_subscriber_that_never_answers_holds_up_no_stop_for_longer_than_it_may(
    tmp_path: Path,
) -> None:
    """Nor anything else; what it did not take is sent again after the start."""
    with listening() as ears, running(tmp_path / "data", SHUTDOWN_SECONDS_MAX="2") as service:
        ears.pause()
        client = service.client()
        _subscribe(client, ears)
        made = run(client, create(client, quick()))["id"]
        ears.until_asked()
        expected = _positions(client, made)
        client.close()
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 6
        assert not any("Traceback" in line or "unexpected" in line for line in service.log)
        ears.resume()
        service.start()
        ears.until_positions(set(expected))
        assert ears.first_of(made) == expected


def test_a_service_that_is_killed_again_and_again_tells_everything_in_order(
    tmp_path: Path,
) -> None:
    """At least once, and within a run in the journal's order, whenever it died."""
    with listening() as ears, running(tmp_path / "data") as service:
        client = service.client()
        ears.secret = client.post("/subscriptions", {"url": ears.url}).json["secret"]
        workflow = create(client, quick())
        runs: list[str] = []
        for _ in range(6):
            runs += [run(client, workflow)["id"] for _ in range(10)]
            service.kill()
            client.close()
            service.start()
            client = service.client()
        expected = {made: _positions(client, made) for made in runs}
        ears.until_positions({at for own in expected.values() for at in own})
        assert {made: ears.first_of(made) for made in runs} == expected
        assert ears.is_signed
        assert scraped(client).series("refold_subscriptions") == {("active",): 1}
        client.close()
        assert service.stop() == 0
