"""Exports in readers that others wrote: what they find is what the journal holds.

The readers are `r4pm` (Rust4PM: OCEL 2.0 as JSON and SQLite, XES), `opentelemetry-proto-json` and
`opentelemetry-proto` (traces), `cloudevents`, `pyarrow`, and the standard library's XML parser.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import pytest

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections.exports.cloud_events import TYPE
from refold.projections.exports.export import export
from refold.projections.exports.plan import Selection
from refold.projections.exports.values import rfc3339
from tests.support import export_kit as kit

NAMESPACE = "{http://www.xes-standard.org/}"
RUN_ENDED = (e.RunCompleted, e.RunFailed, e.RunCancelled)
ATTEMPTED = e.NodeStarted | e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted
SPANNED = (e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted, e.IterationStarted, e.ChildRequested)
TYPED = {"type": "array", "items": {"$ref": "#/$defs/typed"}}
RELATED = {"type": "array", "items": {"$ref": "#/$defs/related"}}
OCEL_SCHEMA: dict[str, Any] = {
    # The rules of the standard's page on its JSON form, in our words.
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["eventTypes", "objectTypes", "events", "objects"],
    "additionalProperties": False,
    "properties": {
        "eventTypes": TYPED,
        "objectTypes": TYPED,
        "events": {"type": "array", "items": {"$ref": "#/$defs/event"}},
        "objects": {"type": "array", "items": {"$ref": "#/$defs/object"}},
    },
    "$defs": {
        "typed": {
            "type": "object",
            "required": ["name", "attributes"],
            "properties": {
                "name": {"type": "string"},
                "attributes": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "type"],
                        "properties": {
                            "name": {"type": "string"},
                            "type": {"enum": ["string", "time", "integer", "float", "boolean"]},
                        },
                    },
                },
            },
        },
        "related": {
            "type": "object",
            "required": ["objectId", "qualifier"],
            "properties": {"objectId": {"type": "string"}, "qualifier": {"type": "string"}},
        },
        "event": {
            "type": "object",
            "required": ["id", "type", "time"],
            "properties": {
                "id": {"type": "string"},
                "type": {"type": "string"},
                "time": {"type": "string", "format": "date-time"},
                "attributes": {"type": "array", "items": {"required": ["name", "value"]}},
                "relationships": RELATED,
            },
        },
        "object": {
            "type": "object",
            "required": ["id", "type"],
            "properties": {
                "id": {"type": "string"},
                "type": {"type": "string"},
                "attributes": {"type": "array", "items": {"required": ["name", "value", "time"]}},
                "relationships": RELATED,
            },
        },
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the journal of everything."""
    directory = tmp_path_factory.mktemp("readers")
    asyncio.run(kit.write_rich(directory))
    return directory


@pytest.fixture(scope="module")
def events(data: Path) -> list[Recorded]:
    """The journal's events, by the service's own reader."""
    return kit.recorded(data)


def made(data: Path, name: str, file: Path, **selection: Any) -> Path:
    """Export to a file and return it."""
    export(data, name, file, Selection(**selection), force=True)
    return file


def read_by_rust(kind: str, file: Path, where: Path) -> Any:
    """Let r4pm read a file, and return what it understood as it writes it itself."""
    reader: Any = pytest.importorskip("r4pm", reason="r4pm is not installed")
    item = reader.import_item(kind, str(file))
    try:
        reader.export_item(item, str(where / "understood.json"))
    finally:
        reader.remove_item(item)
    return json.loads((where / "understood.json").read_text("utf-8"))


def in_runs(events: Iterable[Recorded]) -> list[Recorded]:
    """Return the events of runs."""
    return [event for event in events if event.stream.startswith("fl_run_")]


def test_ocel_json_is_valid_and_every_reference_is_to_something(data: Path, tmp_path: Path) -> None:
    """The schema says what is where; that ids and types exist, no schema can say."""
    log = json.loads(made(data, "ocel-json", tmp_path / "log.json").read_text("utf-8"))
    jsonschema_rs.validator_for(OCEL_SCHEMA, validate_formats=True).validate(log)
    types = {
        kind["name"]: {a["name"]: a["type"] for a in kind["attributes"]}
        for kind in [*log["eventTypes"], *log["objectTypes"]]
    }
    objects = {item["id"] for item in log["objects"]}
    assert len(objects) == len(log["objects"])
    for item in [*log["events"], *log["objects"]]:
        for attribute in item["attributes"]:
            of = types[item["type"]][attribute["name"]]
            assert isinstance(attribute["value"], int if of == "integer" else str)
        for relation in item["relationships"]:
            assert relation["objectId"] in objects
    assert all(event["relationships"] for event in log["events"])


def test_ocel_loads_in_a_reader_of_others_with_the_journal_s_counts(
    data: Path, events: list[Recorded], tmp_path: Path
) -> None:
    """Process mining begins with loading the file. Both forms say the same."""
    logs = [
        read_by_rust("OCEL", made(data, name, tmp_path / file), tmp_path)
        for name, file in (("ocel-json", "log.json"), ("ocel-sqlite", "log.sqlite"))
    ]
    for log in logs:
        found = Counter((event["type"], event["id"]) for event in log["events"])
        assert found == Counter((event.facts.type, event.id) for event in events)
        runs = {item["id"] for item in log["objects"] if item["type"] == "run"}
        assert runs == {event.stream for event in in_runs(events)}
        attempts = {
            (event.stream, event.facts.iteration, event.facts.attempt, event.facts.node)
            for event in events
            if isinstance(event.facts, ATTEMPTED)
        }
        ids = {item["id"] for item in log["objects"] if item["type"] == "attempt"}
        assert ids == {"/".join(map(str, attempt)) for attempt in attempts}
        actors = {item["id"] for item in log["objects"] if item["type"] == "actor"}
        assert actors == {event.actor for event in events} - {""} == {kit.ACTOR}
    assert normal(logs[0]) == normal(logs[1])


def normal(log: Any) -> Any:
    """Return a log with what has no order in one order, and without undeclared emptiness."""

    def key(item: Any) -> str:
        return json.dumps(item, sort_keys=True)

    def sorted_item(item: dict[str, Any]) -> dict[str, Any]:
        parts = {name: sorted(item[name], key=key) for name in ("attributes", "relationships")}
        # SQLite has a column for each attribute, so a reader finds those that are not there.
        parts["attributes"] = [a for a in parts["attributes"] if a["value"] is not None]
        return {**item, **parts}

    return {
        kind: sorted((sorted_item(item) for item in log[kind]), key=key)
        for kind in ("events", "objects")
    }


def test_the_ocel_file_keeps_the_rules_of_its_tables(data: Path, tmp_path: Path) -> None:
    """Every event and object has its row in the table of its type, and nothing hangs in the air."""
    file = made(data, "ocel-sqlite", tmp_path / "log.sqlite")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for kind in ("event", "object"):
            total = 0
            for type_, table in connection.execute(f"SELECT * FROM {kind}_map_type").fetchall():
                ids = f"SELECT ocel_id FROM {kind} WHERE ocel_type = ?"
                rows = f'SELECT ocel_id FROM "{kind}_{table}"'
                assert not connection.execute(f"{rows} EXCEPT {ids}", (type_,)).fetchall(), type_
                assert not connection.execute(f"{ids} EXCEPT {rows}", (type_,)).fetchall(), type_
                total += connection.execute(f"SELECT count(*) FROM ({ids})", (type_,)).fetchone()[0]
            assert (total,) == connection.execute(f"SELECT count(*) FROM {kind}").fetchone()
        known = "SELECT ocel_id FROM object"
        for column, table in (
            ("ocel_object_id", "event_object"),
            ("ocel_source_id", "object_object"),
            ("ocel_target_id", "object_object"),
        ):
            assert not connection.execute(f"SELECT {column} FROM {table} EXCEPT {known}").fetchall()
        twice = "SELECT * FROM event_object GROUP BY 1, 2, 3 HAVING count(*) > 1"
        assert not connection.execute(twice).fetchall()


def test_xes_loads_in_a_reader_of_others_with_the_journal_s_counts(
    data: Path, events: list[Recorded], tmp_path: Path
) -> None:
    """One trace a run, one event an event, whatever their names and payloads hold."""
    log = read_by_rust("EventLog", made(data, "xes", tmp_path / "log.xes"), tmp_path)
    traces = {values(trace)["concept:name"]: trace["events"] for trace in log["traces"]}
    assert len(traces) == len(log["traces"])
    totals = Counter(event.stream for event in in_runs(events))
    assert {run: len(found) for run, found in traces.items()} == totals
    for event, shown in zip(
        sorted(in_runs(events), key=lambda event: (event.stream, event.version)),
        (values(shown) for run in sorted(traces) for shown in traces[run]),
        strict=True,
    ):
        assert shown["refold:event"] == event.facts.type
        assert shown["refold:position"] == event.position
        assert shown["time:timestamp"].startswith(rfc3339(event.at)[:19])
    assert {e_["name"] for e_ in log["extensions"]} >= {"Concept", "Lifecycle", "Time"}


def values(item: Any) -> dict[str, Any]:
    """Return the attributes of what r4pm read from XES."""
    return {one["key"]: one["value"]["content"] for one in item["attributes"]}


def test_xes_is_well_formed_and_keeps_hostile_text(data: Path, tmp_path: Path) -> None:
    """What XML can't hold is written out; all else comes back as it was, line ends included."""
    root = ElementTree.parse(made(data, "xes", tmp_path / "log.xes")).getroot()
    names = {
        node.get("value")
        for node in root.iter(f"{NAMESPACE}string")
        if node.get("key") == "concept:name"
    }
    escaped = kit.HOSTILE_NODE
    for refused in "\x00\x0b\ufffe":
        escaped = escaped.replace(refused, f"\\u{ord(refused):04x}")
    assert escaped in names
    bodies = [
        node.get("value")
        for node in root.iter(f"{NAMESPACE}string")
        if node.get("key") == "refold:body"
    ]
    hostile = [
        body for body in bodies if body and base64.b64encode(kit.HOSTILE_BODY).decode() == body
    ]
    assert len(hostile) == 4, "it is no JSON that every reader takes, so it stands as base64"


def test_traces_load_in_the_readers_of_opentelemetry(
    data: Path, events: list[Recorded], tmp_path: Path
) -> None:
    """A span for each ended run, attempt, item and call that was not replayed; ids are whole."""
    reader: Any = pytest.importorskip("opentelemetry.proto_json.trace.v1.trace")
    spans: list[Any] = []
    for line in made(data, "otlp", tmp_path / "t.jsonl").read_text("utf-8").split("\n")[:-1]:
        for resource in reader.TracesData.from_json(line).resource_spans:
            attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert attributes["service.name"] == "refold"
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    wanted = [ev for ev in in_runs(events) if not ev.src and isinstance(ev.facts, SPANNED)]
    runs = [ev for ev in in_runs(events) if isinstance(ev.facts, RUN_ENDED)]
    assert len(spans) == len(wanted) + len(runs)
    ids = {(span.trace_id, span.span_id) for span in spans}
    assert len(ids) == len(spans)
    for span in spans:
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.parent_span_id:
            assert (span.trace_id, span.parent_span_id) in ids, span.name
        for link in span.links:
            assert (link.trace_id, link.span_id) in ids
    assert sum(bool(span.links) for span in spans) == 1
    roots = [span for span in spans if not span.parent_span_id]
    assert len(roots) == len(runs) - 2, "two runs were started by another one"


def test_traces_are_messages_of_the_protocol(data: Path, tmp_path: Path) -> None:
    """Every field has the name and the type that the protocol gives it: none is unknown."""
    trace: Any = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2")
    json_format: Any = pytest.importorskip("google.protobuf.json_format")
    total = 0
    for line in made(data, "otlp", tmp_path / "t.jsonl").read_text("utf-8").split("\n")[:-1]:
        # OTLP writes ids in hexadecimal digits, where protocol buffers have base64.
        in_base64 = re.sub(
            r'"(traceId|spanId|parentSpanId)":"([0-9a-f]+)"',
            lambda found: f'"{found[1]}":"{base64.b64encode(bytes.fromhex(found[2])).decode()}"',
            line,
        )
        read = json_format.Parse(in_base64, trace.TracesData())
        total += sum(len(scope.spans) for all_ in read.resource_spans for scope in all_.scope_spans)
    assert total == 28


def test_traces_of_ranges_that_follow_each_other_hold_each_span_once(
    data: Path, events: list[Recorded], tmp_path: Path
) -> None:
    """A nightly export adds to the one of the night before, also for runs that were under way."""

    def spans(file: Path) -> list[str]:
        return re.findall(r'"spanId":"([0-9a-f]{16})","name', file.read_text("utf-8"))

    whole = spans(made(data, "otlp", tmp_path / "whole"))
    for middle in (12, 24, 40, 55):
        export(data, "otlp", tmp_path / "a", Selection(), middle, force=True)
        after = spans(made(data, "otlp", tmp_path / "b", first=middle + 1))
        assert sorted(spans(tmp_path / "a") + after) == sorted(whole)
    assert len(set(whole)) == len(whole) < len(events)


def test_cloud_events_load_in_the_package_of_that_name(
    data: Path, events: list[Recorded], tmp_path: Path
) -> None:
    """The batch is a JSON array of events, each of which the package takes."""
    formats: Any = pytest.importorskip("cloudevents.core.formats.json")
    batch = json.loads(made(data, "cloudevents", tmp_path / "batch.json").read_text("utf-8"))
    assert len(batch) == len(events)
    for event, item in zip(events, batch, strict=True):
        read = formats.JSONFormat().read(None, json.dumps(item))
        assert (read.get_id(), read.get_type()) == (event.id, TYPE + event.facts.type)
        assert (read.get_specversion(), read.get_subject()) == ("1.0", event.stream)
        assert read.get_source().startswith("urn:uuid:")
        assert read.get_time().microsecond == event.at % 1_000_000
        assert int(read.get_extension("sequence")) == event.position
        assert read.get_data()["payload"] if event.payload else "payload" not in item["data"]
        attributes = "".join(value for value in item.values() if isinstance(value, str))
        assert not re.search("[\x00-\x1f\x7f-\x9f]", attributes)
    others = [item["data"].get("body_base64") for item in batch]
    hostile = base64.b64encode(kit.HOSTILE_BODY).decode()
    assert Counter(others) == {None: len(events) - 4, hostile: 4}, "no reader chokes on it"
    marks = Counter(
        mark for item in batch for mark in ("erased", "withheld") if item["data"].get(mark)
    )
    assert marks == {"erased": 2, "withheld": 3}


def test_parquet_loads_with_the_journal_s_counts(
    data: Path, events: list[Recorded], tmp_path: Path
) -> None:
    """A row an event; what an event has not is null."""
    parquet: Any = pytest.importorskip("pyarrow.parquet", reason="the extra is not installed")
    table = parquet.read_table(made(data, "parquet", tmp_path / "events.parquet"))
    rows = table.to_pylist()
    assert [row["position"] for row in rows] == [event.position for event in events]
    assert [row["type"] for row in rows] == [event.facts.type for event in events]
    assert [row["node"] for row in rows] == [getattr(ev.facts, "node", "") or None for ev in events]
    assert [json.loads(row["facts"]).get("node") for row in rows] == [
        getattr(event.facts, "node", None) for event in events
    ]
    assert Counter(row["body_state"] for row in rows)["erased"] == 2
    assert sum(row["body"] is not None for row in rows) == sum(
        row["body_state"] == "present" for row in rows
    )
    assert kit.HOSTILE_NODE in {row["node"] for row in rows}
