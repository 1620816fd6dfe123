"""CloudEvents 1.0: what is read of each mode, and what is refused by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from refold.engine.cloud_events import (
    BATCH,
    BATCH_MAX,
    EXTENSIONS_MAX,
    STRUCTURED,
    TEXT_LENGTH_MAX,
    TYPE_LENGTH_MAX,
    CloudEventError,
    NoEventError,
    read_events,
)
from refold.engine.strict_json import InvalidJsonError

EVENT: dict[str, Any] = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.paid"}
HEADERS = {f"ce-{name}": text for name, text in EVENT.items()}


def structured(**attributes: Any) -> dict[str, Any]:
    """Read an event with these attributes in the JSON format; return its payload."""
    body = json.dumps(EVENT | attributes).encode()
    [event] = read_events({"content-type": STRUCTURED + "; charset=utf-8"}, body)
    assert (event.id, event.source, event.type) == ("7", "/shop", "order.paid")
    return event.payload


def binary(body: bytes = b"", **headers: str) -> dict[str, Any]:
    """Read an event in binary mode; `_` in a name stands for `-`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    [event] = read_events(HEADERS | given, body)
    return event.payload


def faults(attributes: Any) -> dict[str, list[str]]:
    """Return what is wrong with an event in the JSON format."""
    with pytest.raises(CloudEventError) as caught:
        read_events({"content-type": STRUCTURED}, json.dumps(attributes).encode())
    assert str(caught.value)
    return caught.value.errors


def test_a_structured_event_is_taken_whole() -> None:
    """Attributes, extensions and data; a null attribute isn't there."""
    optional = {
        "time": "2025-10-31T12:00:00.000000Z",
        "subject": "order/7",
        "dataschema": "https://example.com/s",
        "datacontenttype": "application/json",
        "traceparent": "00-1",
        "sequence": 5,
        "retried": False,
        "partitionkey": None,
    }
    payload = structured(data={"total": 3}, **optional)
    del optional["partitionkey"]
    assert payload == EVENT | optional | {"data": {"total": 3}}
    assert structured() == EVENT
    assert structured(data=None) == EVENT | {"data": None}
    assert structured(data=None, data_base64="AAE=") == EVENT | {"data_base64": "AAE="}
    assert structured(data_base64=None) == EVENT


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b'{"a": 1}', {"data": {"a": 1}}),
        ("application/json; charset=utf-8", b"5", {"data": 5}),
        ("application/vnd.shop+JSON", b"[1]", {"data": [1]}),
        ("text/plain", "é".encode(), {"data": "é"}),
        ("text/xml", b"<a/>", {"data": "<a/>"}),
        ("application/octet-stream", b"\xff\x00", {"data_base64": "/wA="}),
        ("application/json", b"", {}),
    ],
)
def test_a_binary_event_has_any_body(content_type: str, body: bytes, data: dict[str, Any]) -> None:
    """JSON by its type, else text, else bytes as base64."""
    payload = binary(body, content_type=content_type)
    assert payload == EVENT | {"datacontenttype": content_type} | data
    assert base64.b64decode(payload.get("data_base64", "")) in (b"", body)


def test_headers_are_percent_decoded() -> None:
    """Also quoted ones; what is no valid UTF-8 is refused."""
    payload = binary(ce_subject="Euro%20%E2%82%AC%20%F0%9F%98%80", ce_ext='"a \\"b\\" 100%25"')
    assert payload["subject"] == "Euro € 😀"
    assert payload["ext"] == 'a "b" 100%'
    assert binary(b"1", ce_time="2025-10-31T23:59:60Z") == EVENT | {
        "time": "2025-10-31T23:59:60Z",
        "data": 1,
    }
    for value in ("%FF", "\xe9", "%C3"):
        with pytest.raises(CloudEventError) as caught:
            binary(ce_subject=value)
        assert list(caught.value.errors) == ["ce-subject"]


def test_a_batch_is_read_in_order() -> None:
    """An empty one is fine."""
    bodies = [EVENT | {"id": str(n)} for n in range(3)]
    events = read_events({"content-type": BATCH}, json.dumps(bodies).encode())
    assert [event.id for event in events] == ["0", "1", "2"]
    assert read_events({"content-type": BATCH}, b"[]") == []


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_each_required_attribute_is_asked_for(name: str) -> None:
    """By its name, in both modes, and as missing rather than invalid."""
    without = {key: value for key, value in EVENT.items() if key != name}
    assert faults(without) == {name: ["is required"]}
    assert faults(without | {name: None}) == {name: ["is required"]}
    headers = {f"ce-{key}": value for key, value in without.items()}
    with pytest.raises(CloudEventError, match=f"^ce-{name} is required.$") as caught:
        read_events(headers, b"")
    assert caught.value.is_missing


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"id": ""}, "id"),
        ({"id": 5}, "id"),
        ({"source": ["x"]}, "source"),
        ({"type": "x" * (TYPE_LENGTH_MAX + 1)}, "type"),
        ({"id": "x" * (TEXT_LENGTH_MAX + 1)}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": 1.0}, "specversion"),
        ({"time": "yesterday"}, "time"),
        ({"time": "2025-02-30T00:00:00Z"}, "time"),
        ({"time": "2025-02-03T00:00:00"}, "time"),
        ({"time": "2025-02-03T00:00:00+99:00"}, "time"),
        ({"time": 5}, "time"),
        ({"subject": ""}, "subject"),
        ({"Upper": "x"}, "Upper"),
        ({"with-dash": "x"}, "with-dash"),
        ({"x" * 21: "x"}, "x" * 21),
        ({"ext": {"a": 1}}, "ext"),
        ({"ext": 1.5}, "ext"),
        ({"ext": 2**31}, "ext"),
        ({"ext": "x" * (TEXT_LENGTH_MAX + 1)}, "ext"),
        ({f"e{n}": "x" for n in range(EXTENSIONS_MAX + 1)}, ""),
        ({"data_base64": "not base64!"}, "data_base64"),
        ({"data_base64": 5}, "data_base64"),
        ({"data_base64": "AAE=", "data": 1}, "data_base64"),
    ],
)
def test_a_faulty_attribute_is_named(attributes: dict[str, Any], place: str) -> None:
    """One entry for it, and none for the others."""
    assert list(faults(EVENT | attributes)) == [place]


@pytest.mark.parametrize("value", [None, 5, "x", [], [EVENT]])
def test_an_event_is_an_object(value: Any) -> None:
    """An array is a batch, and says so in its type."""
    assert faults(value) == {"": ["must be an object"]}


def test_a_batch_names_the_event_at_fault() -> None:
    """All faults of all its events together."""
    body = [EVENT, 5, EVENT | {"id": ""}, EVENT | {"data_base64": 5}]
    with pytest.raises(CloudEventError) as caught:
        read_events({"content-type": BATCH}, json.dumps(body).encode())
    assert list(caught.value.errors) == ["[1]", "[2].id", "[3].data_base64"]
    for value in ([EVENT] * (BATCH_MAX + 1), EVENT):
        with pytest.raises(CloudEventError):
            read_events({"content-type": BATCH}, json.dumps(value).encode())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "text/plain"},
        {"content-type": "application/cloudevents+xml", **HEADERS},
        {"content-type": "application/cloudevents"},
    ],
)
def test_what_is_no_event_is_told_how_to_be_one(headers: dict[str, str]) -> None:
    """An event that is sent as plain JSON is the usual mistake."""
    with pytest.raises(NoEventError, match=r"application/cloudevents\+json"):
        read_events(headers, json.dumps(EVENT).encode())


@pytest.mark.parametrize(
    "headers", [{"content-type": STRUCTURED}, {"content-type": BATCH}, HEADERS]
)
def test_json_is_read_strictly(headers: dict[str, str]) -> None:
    """As everywhere: no duplicate keys, no NaN."""
    for body in (b"{", b'{"a": 1, "a": 2}', b"NaN", b"\xff"):
        with pytest.raises(InvalidJsonError):
            read_events(headers, body)


def test_binary_mode_has_one_content_type() -> None:
    """An attribute for it beside the header could say something else."""
    with pytest.raises(CloudEventError) as caught:
        binary(ce_datacontenttype="text/plain")
    assert list(caught.value.errors) == ["ce-datacontenttype"]
    for name in ("ce-data", "ce-data_base64", "ce-"):
        with pytest.raises(CloudEventError):
            read_events(HEADERS | {name: "x"}, b"")
