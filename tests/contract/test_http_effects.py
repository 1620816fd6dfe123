"""The effect ledger over HTTP and over real kills: what is open, in doubt, and how that ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.http_kit import create, followed, held, refused, started
from tests.support.service import Client, Endpoint, chain, node, running


def calling(url: str, **data: Any) -> dict[str, Any]:
    """Return a definition with one call, and something before it to resume from."""
    return chain(node("t", "manual_trigger"), node("call", "webhook", url=url, **data))


def listed(client: Client, query: str = "") -> list[tuple[str, str, int]]:
    """Return what the list shows: id, state and how often the attempt was begun."""
    shown = client.get(f"/workflows/effects{query}").json["data"]
    return [(effect["id"], effect["state"], effect["starts"]) for effect in shown]


def doubts(client: Client, run: str) -> list[bool]:
    """Return what a run's calls say of themselves, in order."""
    events = client.get(f"/workflows/runs/{run}/events").json["data"]
    found = [event["in_doubt"] for event in events if "in_doubt" in event]
    assert len(found) == sum(event["type"] == "node.started" for event in events)
    return found


def test_a_call_cut_off_by_a_kill_is_in_doubt_until_its_repeat_is_answered(
    tmp_path: Path,
) -> None:
    """It is made again under the same key; the first start stays marked, the ledger is empty."""
    with held() as (gate, url), running(tmp_path / "data") as service:
        client = service.client()
        run = started(client, create(client, calling(url)))
        assert gate.arrived.wait(30)
        key = f"{run}:call:-:1"
        assert listed(client) == [(key, "open", 1)]
        assert doubts(client, run) == [False]
        client.close()
        service.kill()
        gate.arrived.clear()
        service.start()
        client = service.client()
        assert gate.arrived.wait(30)
        assert listed(client) == [(key, "open", 2)]
        assert listed(client, "?in_doubt=true") == []
        assert doubts(client, run) == [True, False]
        gate.release.set()
        assert followed(client, run)["status"] == "completed"
        assert listed(client) == []
        assert doubts(client, run) == [True, False]
        client.close()


def test_a_call_that_is_made_at_most_once_stays_in_doubt_until_a_resume_makes_it(
    tmp_path: Path,
) -> None:
    """The run fails; whoever resumes it repeats the call under the original's key."""
    with held() as (gate, url), running(tmp_path / "data") as service:
        client, other = service.client(), service.client("other")
        workflow = create(client, calling(url, delivery="at_most_once"))
        run = started(client, workflow)
        assert gate.arrived.wait(30)
        for each in (client, other):
            each.close()
        service.kill()
        gate.release.set()
        service.start()
        client, other = service.client(), service.client("other")
        assert followed(client, run)["status"] == "failed"
        key = f"{run}:call:-:1"
        assert listed(client) == listed(client, "?in_doubt=true") == [(key, "in_doubt", 1)]
        assert listed(client, "?in_doubt=false") == listed(other) == []
        assert listed(client, f"?workflow_id={workflow}") == [(key, "in_doubt", 1)]
        assert listed(client, f"?workflow_id=fl_{'0' * 26}") == []
        assert doubts(client, run) == [True]
        made = client.post(f"/workflows/runs/{run}/resume-from/t", Prefer="wait=30")
        assert made.json["new_run"]["status"] == "completed"
        assert listed(client) == []
        for each in (client, other):
            each.close()


def test_the_list_goes_on_after_a_page_and_refuses_what_it_can_t_read(tmp_path: Path) -> None:
    """Newest first, each entry once."""
    with held() as (gate, url), running(tmp_path / "data") as service:
        client = service.client()
        workflow = create(client, calling(url))
        runs = [started(client, workflow) for _ in range(5)]
        for run in runs:
            while not client.get(f"/workflows/runs/{run}/events").json["data"][2:]:
                pass
        seen: list[str] = []
        cursor = ""
        while True:
            page = client.get(f"/workflows/effects?limit=2{cursor}").json
            seen.extend(effect["run_id"] for effect in page["data"])
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert sorted(seen) == sorted(runs)
        for query in (
            "limit=0",
            "limit=1001",
            "cursor=x",
            "cursor=0",
            "in_doubt=maybe",
            "as_of=p1",
        ):
            refused(client.get(f"/workflows/effects?{query}"), 422, "parameter_invalid")
        stranger = service.client(scope="vault:read")
        refused(stranger.get("/workflows/effects"), 403, "insufficient_scope")
        gate.release.set()
        for each in (client, stranger):
            each.close()


def test_the_key_that_a_receiver_sees_is_the_id_in_the_ledger(tmp_path: Path) -> None:
    """So that a person can ask the other side what came of it."""
    with running(tmp_path / "data") as service:
        sink = Endpoint()
        client = service.client()
        run = started(client, create(client, calling(sink.url)))
        assert followed(client, run)["status"] == "completed"
        assert [hit.key for hit in sink.hits] == [f"{run}:call:-:1"]
        sink.close()
        client.close()
