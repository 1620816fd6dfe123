"""`refold diff`: two runs compared from the journal's file, as the service compares them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.http_kit import create, run
from tests.support.journal_copies import changed_copy, erase, refold
from tests.support.service import Client, Endpoint, Service, chain, endpoint, node, running

HOSTILE = "\x1b[31m\x1b]0;owned\x07\u202e[bold]x[/bold]\x9b2J"


@pytest.fixture(scope="module")
def shop() -> Iterator[Endpoint]:
    """An endpoint that fails from its third call on, with a hostile text."""
    with endpoint() as made:
        made.answer = lambda hit: (
            (503, {"problem": HOSTILE}) if len(made.hits) > 2 else (200, {"stock": 7})
        )
        yield made


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that runs while its journal is read."""
    with running(tmp_path_factory.mktemp("diff") / "data") as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    """A client of the service."""
    made = service.client()
    yield made
    made.close()


@pytest.fixture(scope="module")
def runs(client: Client, shop: Endpoint) -> tuple[str, str]:
    """A run that went well, and one of the next version that did not."""
    text = chain(
        node("t", "manual_trigger"),
        node("charge", "webhook", url=f"{shop.url}/charge"),
        node("ship", "webhook", url=f"{shop.url}/ship"),
    )
    workflow = create(client, text)
    good = run(client, workflow, {"order": 41})
    text["nodes"][2]["data"]["method"] = "POST"
    client.call("PUT", f"/workflows/{workflow}", {"nodes": text["nodes"]})
    bad = run(client, workflow, {"order": 42, "note": HOSTILE})
    assert (good["status"], bad["status"]) == ("completed", "failed")
    return good["id"], bad["id"]


def words(text: str) -> list[str]:
    """Return each line with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_two_runs_are_shown_as_tables(service: Service, runs: tuple[str, str]) -> None:
    """Payload, definition, first divergence, each node, and each operation of the patches."""
    done = refold("diff", *runs, data=service.data)
    assert (done.returncode, done.stderr) == (0, "")
    lines = words(done.stdout)
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    assert f"run {runs[0]} {runs[1]}" in lines
    assert "status completed failed" in lines
    assert "version 1 2" in lines
    assert any(line.startswith("left v1 run.requested at ") for line in lines)
    assert any(line.startswith("charge changed success, ") for line in lines)
    assert "node changed ship" in lines
    assert "payload replace /order 42" in lines
    assert 'definition of ship add /data/method "POST"' in lines
    assert "output of charge replace /status 503" in lines


def test_what_is_hostile_is_shown_as_text(service: Service, runs: tuple[str, str]) -> None:
    """Nothing in a payload or an answer steers the terminal or the tables."""
    done = refold("diff", *runs, data=service.data)
    assert not set("\x1b\x07\x9b\u202e") & set(done.stdout)
    assert "[bold]x[/bold]" in "".join(done.stdout.split())


def test_json_is_what_the_service_answers(
    service: Service, client: Client, runs: tuple[str, str]
) -> None:
    """So that a script may ask either."""
    done = refold("diff", *runs, "--json", data=service.data)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    answered = client.get(f"/workflows/runs/{runs[0]}/diff/{runs[1]}")
    assert done.stdout.rstrip("\n").encode() == answered.body


def test_a_run_and_a_rerun_of_it_are_the_same(client: Client, service: Service) -> None:
    """Read by the rerun's inherited payload, which stands in another stream."""
    workflow = create(client, chain(node("t", "manual_trigger")))
    made = run(client, workflow, {"n": 1})["id"]
    path = f"/workflows/runs/{made}/rerun"
    again = client.post(path, None, Prefer="wait=30").json["new_run"]["id"]
    done = refold("diff", made, again, data=service.data)
    assert done.returncode == 0
    assert "The runs tell the same: no event differs." in done.stdout
    assert "payload same" in words(done.stdout)


def test_an_unknown_run_is_told_in_one_line(service: Service, runs: tuple[str, str]) -> None:
    """Whichever of the two it is."""
    for pair in ((runs[0], "fl_run_none"), ("\x1b[31m", runs[0])):
        done = refold("diff", *pair, data=service.data)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("refold: there is no run ")
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr


def test_an_entry_that_was_changed_ends_with_its_position(
    service: Service, runs: tuple[str, str], tmp_path: Path
) -> None:
    """What can't be trusted is not compared."""
    statement = "UPDATE body SET data = CAST('{}' AS BLOB) WHERE position = (SELECT body_at FROM "
    statement += "event WHERE stream = ? AND version = 3)"
    where = changed_copy(service, tmp_path, (statement, (runs[1],)))
    done = refold("diff", *runs, data=where)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has another body than it is committed to" in done.stderr
    assert done.stderr.count("\n") == 1


def outcome(service: Service, run_id: str, node_id: str) -> Any:
    """Return the last event of a node of a run."""
    lines = refold("replay", run_id, "--json", data=service.data).stdout.splitlines()[:-1]
    events = [json.loads(line) for line in lines]
    ends = ("node.succeeded", "node.failed")
    own = [event for event in events if event["entry"]["facts"].get("node") == node_id]
    return [event for event in own if event["entry"]["type"] in ends][-1]


def test_erased_bodies_are_no_differences_and_have_no_patches(
    service: Service, client: Client, runs: tuple[str, str], tmp_path: Path
) -> None:
    """Facts are compared still; what was said is not known any more."""
    workflow = client.get(f"/workflows/runs/{runs[0]}").json["workflow_id"]
    again = run(client, workflow, {"order": 43})["id"]
    where = changed_copy(service, tmp_path)
    for node_id in ("t", "charge"):
        erase(service, where, outcome(service, runs[1], node_id)["position"])
    lines = refold("replay", runs[1], "--json", data=service.data).stdout.splitlines()
    erase(service, where, json.loads(lines[0])["position"])
    done = refold("diff", runs[1], again, "--json", data=where)
    found = msgspec.json.decode(done.stdout)
    by_id = {one["node_id"]: one for one in found["nodes"]}
    assert by_id["t"]["result"] == "unknown"
    assert (by_id["t"]["output_patch"], by_id["t"]["output_patch_omitted"]) == (None, None)
    assert found["trigger_payload"] == {"result": "unknown", "patch": None}
    with_success = msgspec.json.decode(refold("diff", *runs, "--json", data=where).stdout)
    charge = {one["node_id"]: one for one in with_success["nodes"]}["charge"]
    assert charge["result"] == "changed"
    assert (charge["output_patch"], charge["output_patch_omitted"]) == (None, "erased")
    shown = refold("diff", *runs, data=where).stdout
    assert "output of charge (erased)" in words(shown)
