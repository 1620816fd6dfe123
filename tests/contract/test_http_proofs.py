"""Proofs over HTTP: whoever fetches them can check them, with the published key and no trust."""

from __future__ import annotations

import base64
import json
import zipfile
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from refold.journal import merkle, verifier
from tests.support.http_kit import calling, create, quick, refused, run, started
from tests.support.proof_kit import (
    Tiles,
    checkpoint,
    is_proven,
    opened_note,
    unhex,
    verify,
)
from tests.support.service import Client, Endpoint, Service, chain, node, running

PAYLOAD: dict[str, Any] = {"n": 1, "who": "somebody-who-would-be-forgotten"}


def _failed_and_resumed(client: Client, sink: Endpoint) -> tuple[str, str]:
    """Make a run that failed at its second call, and one that carries on from its first."""
    failed = run(client, create(client, calling(sink, "ok", "503/x")), PAYLOAD)["id"]
    path = f"/workflows/runs/{failed}/resume-from/n1"
    return failed, client.post(path, Prefer="wait=30").json["new_run"]["id"]


def _positions(client: Client, run_id: str) -> list[int]:
    events = client.get(f"/workflows/runs/{run_id}/events").json["data"]
    return [event["position"] for event in events]


def test_a_proof_leads_from_an_entry_to_a_signed_checkpoint(api: Service, client: Client) -> None:
    """By the exact bytes of the entry and the key that the service has published."""
    made = run(client, create(client, quick()))["id"]
    for position in _positions(client, made):
        proof = client.get(f"/journal/events/{position}/proof").json
        note = opened_note(api, proof["checkpoint"].encode())
        assert (proof["size"], proof["root"]) == (note.size, note.root.hex())
        assert is_proven(proof)
        (shown,) = client.get(f"/journal/entries?after={position - 1}&limit=1&exact=true").json[
            "data"
        ]
        assert sha256(b"\0" + shown["entry"].encode()).hexdigest() == shown["leaf"] == proof["leaf"]
        assert not is_proven(proof | {"leaf": proof["root"]})


def test_a_proof_closes_with_the_tiles_alone(api: Service, client: Client) -> None:
    """A monitor that speaks C2SP tlog-tiles needs none of the other routes."""
    made = run(client, create(client, quick()))["id"]
    position = _positions(client, made)[-1]
    note = checkpoint(api, client, position)
    tiles = Tiles(client, note.size)
    assert merkle.tree_root(tiles.read, note.size) == note.root
    path = merkle.inclusion_proof(tiles.read, position - 1, note.size)
    asked = client.get(f"/journal/events/{position}/proof?size={note.size}").json
    assert (unhex(asked["hashes"]), asked["checkpoint"]) == (path, None)
    assert tiles.fetched
    assert merkle.is_included(
        tiles.read(0, position - 1, position), position - 1, note.size, path, note.root
    )


def test_two_checkpoints_are_shown_to_be_of_one_history(api: Service, client: Client) -> None:
    """Whoever kept the first learns that the second only added to it."""
    made = run(client, create(client, quick()))["id"]
    early = checkpoint(api, client, _positions(client, made)[-1])
    later = checkpoint(
        api, client, _positions(client, run(client, create(client, quick()))["id"])[-1]
    )
    assert early.size < later.size
    path = f"/journal/consistency?from={early.size}&to={later.size}"
    proof = client.get(path).json
    assert list(proof) == ["from", "to", "from_root", "to_root", "hashes", "checkpoint"]
    assert proof["checkpoint"] is None
    hashes = unhex(proof["hashes"])
    assert merkle.is_consistent(early.size, early.root, later.size, later.root, hashes)
    assert not merkle.is_consistent(early.size, later.root, later.size, later.root, hashes)
    newest = client.get(f"/journal/consistency?from={early.size}").json
    note = opened_note(api, newest["checkpoint"].encode())
    assert (newest["to"], newest["to_root"]) == (note.size, note.root.hex())


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/journal/checkpoint?covering=x", 422, "parameter_invalid"),
        ("/journal/checkpoint?covering=99999999", 422, "parameter_invalid"),
        ("/journal/events/0/proof", 404, "resource_missing"),
        ("/journal/events/99999999/proof", 404, "resource_missing"),
        ("/journal/events/x/proof", 422, "parameter_invalid"),
        ("/journal/events/2/proof?size=1", 422, "parameter_invalid"),
        ("/journal/events/2/proof?size=99999999", 422, "parameter_invalid"),
        ("/journal/consistency", 422, "parameter_missing"),
        ("/journal/consistency?from=99999999", 422, "parameter_invalid"),
        ("/journal/consistency?from=2&to=1", 422, "parameter_invalid"),
        ("/journal/consistency?from=-1", 422, "parameter_invalid"),
        ("/journal/tile/0/x", 422, "parameter_invalid"),
        ("/journal/tile/x/0", 422, "parameter_invalid"),
        ("/journal/tile/0/x001/1234", 422, "parameter_invalid"),
        ("/journal/tile/0/0.p/0", 422, "parameter_invalid"),
        ("/journal/tile/0/0.p/256", 422, "parameter_invalid"),
        ("/journal/tile/0/0.p/x", 422, "parameter_invalid"),
        ("/journal/tile/0/x001/234", 404, "resource_missing"),
        ("/journal/tile/0/999999999", 404, "resource_missing"),
        ("/journal/tile/64/0.p/1", 404, "resource_missing"),
        ("/journal/tile/entries/0", 422, "parameter_invalid"),
        ("/workflows/runs/fl_run_none/bundle", 404, "resource_missing"),
        ("/journal/checkpoint?as_of=p1", 422, "parameter_invalid"),
    ],
)
def test_what_can_t_be_proven_is_refused(client: Client, path: str, status: int, code: str) -> None:
    """In one sentence, and by the name of the parameter."""
    run(client, create(client, quick()))
    refused(client.get(path), status, code)


def test_proofs_need_the_scope_of_auditors(api: Service, client: Client, org: str) -> None:
    """Reading runs is not reading the journal."""
    made = run(client, create(client, quick()))["id"]
    reader = api.client(org, scope="workflows:read workflows:write workflows:execute admin")
    for path in (
        "/journal/checkpoint",
        "/journal/tile/0/0",
        "/journal/entries",
        "/journal/events/1/proof",
        "/journal/consistency?from=1",
        f"/workflows/runs/{made}/bundle",
    ):
        refused(reader.get(path), 403, "insufficient_scope")
    reader.close()


def test_another_tenant_s_entries_show_their_hashes_and_nothing_else(
    api: Service, client: Client
) -> None:
    """Enough to close every proof, not enough to learn what, when, where or who."""
    made = run(client, create(client, quick()), {"name": "Ann"})["id"]
    whole = client.get(f"/workflows/runs/{made}/events").json["data"]
    stranger = api.client("a-stranger", scope="journal:read")
    first, last = whole[0]["position"], whole[-1]["position"]
    reply = stranger.get(f"/journal/entries?after={first - 1}&limit={last - first + 1}&exact=true")
    shown = {entry["position"]: entry for entry in reply.json["data"]}
    assert [set(shown[event["position"]]) for event in whole] == [{"position", "leaf"}] * len(whole)
    assert [shown[event["position"]]["leaf"] for event in whole] == [e["leaf"] for e in whole]
    for event in whole:
        proof = stranger.get(f"/journal/events/{event['position']}/proof").json
        assert is_proven(proof)
        assert proof["leaf"] == event["leaf"]
    said = reply.body.decode()
    assert not [word for word in ("Ann", made, whole[0]["at"], "run.") if word in said]
    for query in ("type=run.completed", "hidden=false", f"workflow={whole[0]['stream']}"):
        found = stranger.get(f"/journal/entries?{query}")
        assert found.status == 404 or found.json["data"] == []
    refused(stranger.get(f"/workflows/runs/{made}/bundle"), 404, "resource_missing")
    stranger.close()


def test_the_service_s_own_entries_are_nobody_s(client: Client) -> None:
    """`sys` is of no tenant: its first entry shows as a hash."""
    (first,) = client.get("/journal/entries?limit=1").json["data"]
    assert set(first) == {"position", "leaf"}


def test_a_resumed_run_s_bundle_is_verified_by_its_own_program_alone(
    api: Service, client: Client, sink: Endpoint, tmp_path: Path
) -> None:
    """With the published key, and against a checkpoint that was kept from before the run."""
    kept = checkpoint(api, client)
    failed, resumed = _failed_and_resumed(client, sink)
    reply = client.get(f"/workflows/runs/{resumed}/bundle?kept={kept.size}")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    assert f'filename="{resumed}.zip"' in reply.headers["content-disposition"]
    bundle, note = tmp_path / "run.zip", tmp_path / "kept.note"
    bundle.write_bytes(reply.body)
    note.write_bytes(kept.text)
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("verifier.py", tmp_path)
        evidence = archive.read("evidence.txt").decode()
    assert failed in evidence
    key = (api.data / verifier.PUBLIC).read_text().split()[0]
    assert verify(bundle, cwd=tmp_path) == (0, "Valid, by its bytes alone.")
    said = verify(bundle, "--key", key, "--checkpoint", str(note), cwd=tmp_path)
    assert said == (0, "Valid, by a kept checkpoint.")
    changed = tmp_path / "changed.zip"
    changed.write_bytes(reply.body.replace(b'"n":1', b'"n":2', 1))
    assert verify(changed, cwd=tmp_path)[0] == 40


def test_a_bundle_of_a_run_that_goes_on_is_refused(client: Client) -> None:
    """The verifier would call it incomplete."""
    waiting = chain(node("t", "manual_trigger"), node("w", "delay", duration=600))
    made = started(client, create(client, waiting))
    refused(client.get(f"/workflows/runs/{made}/bundle"), 409, "run_not_finished")
    refused(client.get(f"/workflows/runs/{made}/bundle?kept=99999999"), 422, "parameter_invalid")


def test_runs_of_deleted_workflows_stay_provable(client: Client, tmp_path: Path) -> None:
    """The journal keeps them, and so do the auditors' routes."""
    workflow = create(client, quick())
    made = run(client, workflow)["id"]
    assert client.call("DELETE", f"/workflows/{workflow}").status == 204
    refused(client.get(f"/workflows/runs/{made}"), 404, "resource_missing")
    bundle = tmp_path / "run.zip"
    bundle.write_bytes(client.get(f"/workflows/runs/{made}/bundle").body)
    assert verify(bundle)[0] == 0
    entries = client.get(f"/journal/entries?workflow={workflow}").json["data"]
    assert [entry["type"] for entry in entries][-1] == "workflow.deleted"
    assert {made, workflow} == {entry["stream"] for entry in entries}


def test_a_run_whose_data_was_erased_is_still_proven(
    client: Client, sink: Endpoint, tmp_path: Path
) -> None:
    """So is one that was resumed from it, since their bodies are the same."""
    failed, resumed = _failed_and_resumed(client, sink)
    assert client.post("/journal/erasures", {"run": failed}).status == 200
    bundle = tmp_path / "run.zip"
    bundle.write_bytes(client.get(f"/workflows/runs/{resumed}/bundle").body)
    code, said = verify(bundle)
    assert (code, said[:31]) == (10, "Valid, by its bytes alone, with")
    assert PAYLOAD["who"].encode() not in bundle.read_bytes()


def test_a_journal_with_erased_bodies_is_valid_and_says_so(tmp_path: Path) -> None:
    """A deleted vault item loses its key; the entries that held it still prove themselves."""
    with running(tmp_path / "data") as service, closing(service.client()) as client:
        made = client.post("/workflows/vault", {"name": "a-secret", "secret": "hush hush"}).json
        assert client.call("DELETE", f"/workflows/vault/{made['id']}").status == 204
        page = client.get("/journal/entries").json
        types = [entry.get("type") for entry in page["data"]]
        erased = [e for e in page["data"] if e.get("type") == "payload.erased"]
        assert len(erased) == 1, types
        checkpoint(service, client, page["position"])
        while_it_runs = verify(service.data)
        assert service.stop() == 0
    code, said = verify(tmp_path / "data")
    assert while_it_runs == (code, said)
    gone = erased[0]["facts"]["positions"]
    count = len(gone.split())
    assert (code, said) == (
        10,
        f"Valid, by its bytes alone, with {count} erased of its bodies. {gone}",
    )


def test_exact_entries_hold_what_every_hash_was_made_of(client: Client) -> None:
    """Entry, salt and body: a client needs no bundle to check what it reads."""
    made = run(client, create(client, quick()), {"name": "Ann"})
    path = f"/journal/entries?workflow={made['workflow_id']}&exact=true"
    bodied = 0
    for entry in client.get(path).json["data"]:
        said: dict[str, Any] = json.loads(entry["entry"])
        assert (said["stream"], said["payload"]) == (entry["stream"], entry["payload"])
        if entry["payload"]:
            body = base64.b64decode(entry["body_bytes"])
            hashed = b"refold/payload/v1\0" + bytes.fromhex(entry["salt"]) + body
            assert sha256(hashed).hexdigest() == entry["payload"]
            assert json.loads(body) == entry["body"]
            bodied += 1
    assert bodied >= 4
