"""`refold archive` and the service: archived runs are listed, shown, and refused what they lack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from refold.journal import verifier
from refold.projections.exports.export import export
from refold.projections.exports.plan import Selection
from tests.support import archive_kit as kit
from tests.support.http_kit import create, quick, refused, run, slow, started
from tests.support.service import Client, running

NOTE = {"archived": True, "segment": "segment-000001"}


def command(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Run `refold archive`."""
    refold = str(Path(sys.executable).with_name("refold"))
    return subprocess.run(
        [refold, "archive", *arguments, "--data", str(data)],
        check=False,
        capture_output=True,
        text=True,
    )


def pages(client: Client, workflow: str) -> Any:
    """Return the runs of a workflow, as they are listed."""
    return client.get(f"/workflows/{workflow}/executions").json["data"]


def test_archived_runs_are_listed_and_their_details_say_where_they_are(tmp_path: Path) -> None:
    """Every status, time and node stays; bodies say their segment; what goes on is untouched."""
    with running(tmp_path) as service:
        client = service.client()
        flow = create(client, quick())
        failing = create(client, {**quick(), "name": "failing"} | broken())
        old = run(client, flow, {"name": "Ann"})
        failed = run(client, failing)
        assert failed["status"] == "failed"
        waiting = started(client, create(client, slow()))
        position = client.get(f"/workflows/runs/{old['id']}").headers["x-refold-position"]
        client.close()
        service.stop()
        assert kit.archived(tmp_path, kit.EVER).runs == 2
        service.start()
        client = service.client()
        shown = client.get(f"/workflows/runs/{old['id']}").json
        assert shown["trigger_payload"] == NOTE
        assert [log["output"] for log in shown["logs"]] == [NOTE] * len(old["logs"])
        for log in shown["logs"]:
            del log["output"]
        for log in old["logs"]:
            del log["output"]
        assert shown | {"trigger_payload": old["trigger_payload"]} == old
        listed = pages(client, flow)
        assert [(one["id"], one["trigger_payload"]) for one in listed] == [(old["id"], NOTE)]
        (listed_failure,) = pages(client, failing)
        assert listed_failure["error_message"] == "(archived in segment-000001)"
        assert client.get(f"/workflows/runs/{waiting}").json["trigger_payload"] == {}
        events = client.get(f"/workflows/runs/{old['id']}/events").json["data"]
        assert [one["body"] for one in events if one["payload"]] == [NOTE] * 3
        lines = client.get("/journal/entries?limit=1000").json["data"]
        of_run = [one for one in lines if one.get("stream") == old["id"]]
        assert [one["body"] for one in of_run if one["payload"]] == [NOTE] * 3
        assert client.get(f"/workflows/{flow}/logs").json[0]["output"] == NOTE
        diff = client.get(f"/workflows/runs/{old['id']}/diff/{failed['id']}")
        assert diff.status == 200, diff.body
        again = client.get(f"/workflows/runs/{old['id']}?as_of=p{position}")
        assert again.json["trigger_payload"] == NOTE
        refuse_what_is_archived(client, old["id"], failed["id"])
        assert run(client, flow, {"name": "Bob"})["logs"][-1]["output"]
        client.close()


def test_an_erasure_on_request_reaches_archived_runs_and_says_what_is_left(tmp_path: Path) -> None:
    """The service can't open a segment that may be on a shelf; it says who can."""
    with running(tmp_path) as service:
        client = service.client()
        old = run(client, create(client, quick()), {"name": "a name to be forgotten"})
        client.close()
        service.stop()
        kit.archived(tmp_path, kit.EVER)
        service.start()
        client = service.client()
        answer = client.post("/journal/erasures", {"run": old["id"], "reason": "ticket 1"})
        assert answer.status == 200, answer.body
        assert "refold archive --scrub" in answer.json["out_of_reach"]
        shown = client.get(f"/workflows/runs/{old['id']}").json
        assert shown["trigger_payload"] == {"erased": True}
        refused(client.post(f"/workflows/runs/{old['id']}/rerun"), 409, "payload_erased")
        bodies = tmp_path / "segments" / "segment-000001" / "bodies"
        assert b"to be forgotten" in bodies.read_bytes()
        assert command("--scrub", data=tmp_path).returncode == 0
        assert b"to be forgotten" not in bodies.read_bytes()
        client.close()
    assert kit.judged(tmp_path)[0] == verifier.ERASED


def refuse_what_is_archived(client: Client, completed: str, failed: str) -> None:
    """See that no run is made of another one whose bodies are elsewhere."""
    reply = client.post(f"/workflows/runs/{completed}/rerun")
    refused(reply, 409, "payload_archived")
    assert "segment-000001" in reply.json["message"]
    refused(
        client.post(f"/workflows/runs/{failed}/resume-from/t"),
        409,
        "payload_archived",
    )


def broken() -> dict[str, Any]:
    """Return the nodes and edges of a run that fails at its second node."""
    made = quick()
    made["nodes"][1]["data"] = {"componentId": "json_parser", "source": "{{ trigger.name }}"}
    return {"nodes": made["nodes"], "edges": made["edges"]}


def test_the_command_says_what_it_would_do_does_it_and_says_what_it_did(tmp_path: Path) -> None:
    """Standard output is the result; a second time there is nothing to do."""
    data, folder = tmp_path / "data", tmp_path / "far"
    bodies = kit.make_journal(data)
    size = sum(len(body.data) for position, body in bodies.items() if position > 2)
    asked = ("--before", "2025-11-02", "--to", str(folder))
    done = command(*asked, "--dry-run", data=data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"6 runs with 24 bodies, {size} bytes, would go\ninto 1 segments in {folder}\n"
    )
    assert not folder.exists()
    done = command(*asked, data=data)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"6 runs archived: 24 bodies, {size} bytes\n{folder / 'segment-000001'}\n"
    )
    assert kit.judged(data, folder)[0] == verifier.VALID
    for arguments, code in (
        ((str(data),), 20),
        ((str(data), "--segments", str(folder)), 0),
        ((str(folder / "segment-000001"),), 0),
    ):
        refold = str(Path(sys.executable).with_name("refold"))
        told = subprocess.run([refold, "verify", *arguments], check=False, capture_output=True)
        assert told.returncode == code, told
    assert command(*asked, data=data).stdout == "0 runs archived: 0 bodies, 0 bytes\n"
    kit.erase(data, kit.run_id(0), 4)
    done = command("--scrub", "--to", str(folder), data=data)
    assert done.stdout == f"1 erased bodies removed from the segments in {folder}\n"
    assert kit.judged(data, folder)[0] == verifier.ERASED


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--before", "2025-11-02", "--older-than", "3"),
        ("--before", "yesterday"),
        ("--before", "1969-01-01"),
        ("--before", "2999-01-01"),
        ("--older-than", "0"),
        ("--older-than", "99999999999999999999"),
        ("--older-than", "x"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2_and_one_line(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    """The line names the option."""
    done = command(*arguments, data=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--before" in done.stderr or "--older-than" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_served_is_refused(tmp_path: Path) -> None:
    """Two programs never write one journal."""
    with running(tmp_path):
        done = command("--older-than", "1", data=tmp_path)
        assert done.returncode == 1
        assert "owned by another process" in done.stderr


def test_exports_say_which_bodies_are_archived(tmp_path: Path) -> None:
    """The copy is whole but for what stands in segments, which it names by their event."""
    data = tmp_path / "data"
    kit.make_journal(data, runs=2)
    kit.archived(data)
    for name in ("ndjson", "cloudevents", "xes", "otlp", "ocel-json", "ocel-sqlite"):
        made = export(data, name, tmp_path / name, Selection())
        assert made.events, name
    lines = [json.loads(line) for line in (tmp_path / "ndjson").read_text().splitlines()[1:]]
    (by,) = [line["position"] for line in lines if "segment.archived" in line["entry"]]
    assert [line["archived_by"] for line in lines if "archived_by" in line] == [by] * 8
    batch = json.loads((tmp_path / "cloudevents").read_text())
    assert sum(item["data"].get("archived", False) for item in batch) == 8
