"""What the formats of exports say of a journal: processes, objects, attributes."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from refold.journal import events as e
from refold.projections.exports.cloud_events import attribute
from refold.projections.exports.export import export
from refold.projections.exports.ocel import event_attributes
from refold.projections.exports.plan import Selection
from refold.projections.exports.values import body_text, is_json, message_in, rfc3339
from refold.projections.exports.xes import quoted
from tests.support import export_kit as kit


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, kit.Lives]:
    """A directory with the journal of everything."""
    directory = tmp_path_factory.mktemp("formats")
    return directory, asyncio.run(kit.write_rich(directory))


@pytest.fixture(scope="module")
def log(rich: tuple[Path, kit.Lives]) -> dict[str, Any]:
    """The OCEL of that journal."""
    export(rich[0], "ocel-json", rich[0] / "log.json", Selection())
    read: dict[str, Any] = json.loads((rich[0] / "log.json").read_bytes())
    return read


@pytest.fixture(scope="module")
def processes(rich: tuple[Path, kit.Lives]) -> dict[str, list[dict[str, str]]]:
    """The traces of XES, by run: the attributes of each event."""
    export(rich[0], "xes", rich[0] / "log.xes", Selection())
    space = "{http://www.xes-standard.org/}"
    root = ElementTree.parse(rich[0] / "log.xes").getroot()

    def values(node: ElementTree.Element) -> dict[str, str]:
        return {child.get("key", ""): child.get("value", "") for child in node if child.get("key")}

    return {
        values(trace)["concept:name"]: [values(event) for event in trace.iter(f"{space}event")]
        for trace in root.iter(f"{space}trace")
    }


def test_a_process_has_the_standard_s_transitions(
    rich: tuple[Path, kit.Lives], processes: dict[str, list[dict[str, str]]]
) -> None:
    """Tools know these words, and draw waiting and work by them."""

    def steps(run: str) -> list[tuple[str, str]]:
        return [(ev["concept:name"], ev["lifecycle:transition"]) for ev in processes[run]]

    assert steps(rich[1].asking) == [
        ("run", "schedule"),
        ("run", "start"),
        ("wait", "start"),
        ("wait", "suspend"),
        ("wait", "resume"),
        ("wait", "complete"),
        ("ask", "start"),
        ("ask", "suspend"),
        ("ask", "resume"),
        ("run", "withdraw"),
        ("ask", "pi_abort"),
        ("run", "pi_abort"),
    ]
    assert ("right item", "ate_abort") in steps(rich[1].looping)
    assert ("left item", "complete") in steps(rich[1].looping)
    assert ("sub", "suspend") in steps(rich[1].parent)
    assert ("let", "suspend") not in steps(rich[1].parent)


def test_a_process_tells_attempts_people_and_what_was_replayed_apart(
    rich: tuple[Path, kit.Lives], processes: dict[str, list[dict[str, str]]]
) -> None:
    """They are the attributes that analyses filter by."""
    failed, resumed = processes[rich[1].failed], processes[rich[1].resumed]
    ship = [event for event in failed if event["concept:name"] == "ship"]
    assert [ev["concept:instance"] for ev in ship] == ["#1", "#1", "#2", "#2", "#2"]
    assert failed[0]["org:resource"] == kit.ACTOR
    assert "org:resource" not in failed[1]
    assert failed[2]["refold:body_erased"] == "true"
    assert [ev["refold:replayed_from"][:33] for ev in resumed if "refold:replayed_from" in ev] == [
        rich[1].failed
    ] * 2
    times = [event["time:timestamp"] for event in resumed]
    assert times == sorted(times)


def relations(event: dict[str, Any]) -> set[tuple[str, str]]:
    """Return an event's objects and their qualifiers."""
    return {(r["qualifier"], r["objectId"]) for r in event["relationships"]}


def test_an_event_is_related_to_its_run_workflow_node_attempt_and_actor(
    rich: tuple[Path, kit.Lives], log: dict[str, Any]
) -> None:
    """Analyses begin with the objects, whichever they are interested in."""
    lives = rich[1]
    replayed = [
        ev
        for ev in log["events"]
        if ("run", lives.resumed) in relations(ev)
        and any(qualifier == "replayed_from" for qualifier, _ in relations(ev))
    ]
    node = kit.HOSTILE_NODE
    assert relations(replayed[1]) == {
        ("run", lives.resumed),
        ("workflow", kit.WORKFLOW),
        ("node", f"{kit.WORKFLOW}/{node}"),
        ("attempt", f"{lives.resumed}//1/{node}"),
        ("replayed_from", f"{lives.failed}//1/{node}"),
    }
    timer = next(ev for ev in log["events"] if ev["type"] == "timer.set")
    assert ("attempt", f"{lives.asking}//1/wait") in relations(timer)
    child = next(ev for ev in log["events"] if ev["type"] == "child.requested")
    assert ("child", lives.child) in relations(child)
    asked = next(ev for ev in log["events"] if ("parent", lives.parent) in relations(ev))
    assert ("actor", kit.ACTOR) in relations(asked)


def test_an_object_has_what_became_of_it_and_when(
    rich: tuple[Path, kit.Lives], log: dict[str, Any]
) -> None:
    """Statuses change at the times of their events; what never changes has the first time."""
    lives, objects = rich[1], {item["id"]: item for item in log["objects"]}
    run = objects[lives.failed]
    statuses = [a["value"] for a in run["attributes"] if a["name"] == "status"]
    assert statuses == ["pending", "running", "failed"]
    times = [a["time"] for a in run["attributes"] if a["name"] == "status"]
    assert times == sorted(times)
    assert times[0] > "2025"
    fixed = {a["name"]: a["time"] for a in run["attributes"] if a["name"] != "status"}
    assert fixed == dict.fromkeys(
        ("workflow_version", "origin", "trigger_type", "tenant"), "1970-01-01T00:00:00Z"
    )
    second = objects[f"{lives.failed}//2/ship"]
    assert {a["name"]: a["value"] for a in second["attributes"]} == {
        "component": "webhook",
        "iteration": "",
        "attempt": 2,
        "outcome": "failed",
    }
    child = {a["name"]: a["value"] for a in objects[lives.child]["attributes"]}
    assert child["origin"] == "subworkflow", "it was referred to before it began"
    links = {(r["qualifier"], r["objectId"]) for r in objects[lives.child]["relationships"]}
    assert links == {("workflow", kit.CHILD_WORKFLOW), ("parent", lives.parent)}
    assert ("resume", lives.failed) in {
        (r["qualifier"], r["objectId"]) for r in objects[lives.resumed]["relationships"]
    }


def test_a_selection_of_one_run_still_has_every_object_that_it_refers_to(
    rich: tuple[Path, kit.Lives], tmp_path: Path
) -> None:
    """A reference to nothing is refused by readers."""
    file = tmp_path / "log.json"
    export(rich[0], "ocel-json", file, Selection(run=rich[1].resumed))
    log = json.loads(file.read_bytes())
    known = {item["id"] for item in log["objects"]}
    assert rich[1].failed in known
    for item in [*log["events"], *log["objects"]]:
        assert {r["objectId"] for r in item["relationships"]} <= known
    assert {ev["attributes"][0]["name"] for ev in log["events"]} == {"position"}


def test_no_export_for_analysts_has_the_facts_that_only_the_service_needs() -> None:
    """Keyed hashes and idempotency keys say nothing about what happened."""
    names = {name for facts in e.CATALOGUE for name, _ in event_attributes(facts)}
    assert not [name for name in names if "hash" in name or "idempotency" in name]
    assert {"node", "attempt", "code", "started_at"} <= names


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a&b<c>\"d'", "a&amp;b&lt;c&gt;&quot;d'"),
        ("\t\n\r", "&#9;&#10;&#13;"),
        ("\x00\x1b\x1f\ufffe\uffff", "\\u0000\\u001b\\u001f\\ufffe\\uffff"),
        ("]]>\u2028ü😀\x7f", "]]&gt;\u2028ü😀\x7f"),
    ],
)
def test_any_text_is_an_attribute_of_xml(text: str, written: str) -> None:
    """One character that XML can't hold makes the whole file unreadable."""
    assert quoted(text) == written
    node = ElementTree.fromstring(f'<a v="{quoted(text)}"/>')
    if "\\u" not in written:
        assert node.get("v") == text


@pytest.mark.parametrize("text", ["\x00", "\x1f", "\x7f", "\x9f", "\ufdd0", "\ufffe", "\U0010ffff"])
def test_what_cloud_events_refuse_in_attributes_is_written_out(text: str) -> None:
    """The specification keeps control characters and noncharacters out."""
    assert re.fullmatch(r"a\\u[0-9a-f]{4,6}b", attribute(f"a{text}b"))
    assert attribute("acme/é😀 -") == "acme/é😀 -"


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        (b'{"a":1}', True),
        (b'"\\ud83d\\ude00"', True),
        (b"", False),
        (b"{", False),
        (b'"\xff"', False),
        (b'"\\ud800"', False),
        (b"NaN", False),
        (b"1e999", False),
        (b"[" * 100_000, False),
    ],
)
def test_a_body_that_is_no_json_for_all_is_base64(body: bytes, holds: bool) -> None:
    """One such body would make a whole batch unreadable."""
    assert is_json(body) == holds
    assert (body_text(body).encode() == body) == (holds or body == b"")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message":"a"}', "a"),
        (b'{"error":{"message":"b","code":"c"}}', "b"),
        (b'{"error":"b"}', ""),
        (b'{"message":5}', ""),
        (b"[]", ""),
        (b"", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_message_is_found_where_bodies_have_it(body: bytes, message: str) -> None:
    """Whatever a body is, looking for its message never fails."""
    assert message_in(body) == message


def test_a_time_past_every_calendar_is_the_last_one() -> None:
    """Facts may hold any number below 2^53."""
    assert rfc3339(1_761_912_000_000_001) == "2025-10-31T12:00:00.000001Z"
    assert rfc3339(2**53 - 1) == "2255-06-05T23:47:34.740991Z"
    assert rfc3339(2**60) == "9999-12-31T23:59:59.999999Z"
