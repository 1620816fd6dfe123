"""OpenTelemetry traces as an OTLP JSON file: a line is a `TracesData` with spans of one run.

What the spans are is told in spans.py. A span is in the file if the event that ended it is in
the range, so that exports of ranges that follow each other never hold the same span twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from .plan import Plan
from .source import Entry, Source
from .spans import RunSpans, Span, root_of
from .target import Chunk
from .values import Value, body_text, message_in

_LINE_BYTES: Final = 2**19
_DEPTH_MAX: Final = 1000
"""Far more than runs may descend from each other: it ends a circle in a journal that was edited."""
_ERROR: Final = 2
_US_NS: Final = 1000
_encode: Final = msgspec.json.Encoder().encode


def head(plan: Plan) -> bytes:
    """Return what opens the file: nothing."""
    del plan
    return b""


def tail(plan: Plan) -> bytes:
    """Return what closes the file: nothing."""
    del plan
    return b""


def chunks(source: Source, cursor: int | str | None) -> Iterator[Chunk]:
    """Return the spans of each run after one, some a line."""
    past = _Past(source)
    for run in source.runs(str(cursor or "")):
        spans = RunSpans(run, past)
        resource = ""
        waiting: list[bytes] = []
        events = size = 0
        for entry in source.stream(run):
            resource = resource or _resource(source.plan.journal, entry.head.tenant)
            events += 1
            for span in spans.spans_of(entry.head, entry.facts()):
                if entry.position >= source.plan.selection.first:
                    waiting.append(_encode(_span(spans.trace, span, entry)))
                    size += len(waiting[-1])
            if size >= _LINE_BYTES:
                yield Chunk(_line(resource, waiting), events)
                waiting, events, size = [], 0, 0
        yield Chunk(_line(resource, waiting), events, run)


class _Past:
    """See `Past`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def root(self, run: str) -> str:
        return root_of(run, self._source.requested, _DEPTH_MAX)

    def owner(self, workflow: str, version: int, node: str) -> str:
        return self._source.owners(workflow, version).get(node, "")


def _line(resource: str, spans: list[bytes]) -> bytes:
    if not spans:
        return b""
    return b"".join(
        (
            b'{"resourceSpans":[{"resource":',
            resource.encode(),
            b',"scopeSpans":[{"scope":{"name":"refold"},"spans":[',
            b",".join(spans),
            b"]}]}]}\n",
        )
    )


def _resource(journal: str, tenant: str) -> str:
    attributes = [
        _attribute("service.name", "refold"),
        _attribute("service.instance.id", journal),
        _attribute("refold.tenant", tenant),
    ]
    return _encode({"attributes": attributes}).decode()


def _span(trace: bytes, span: Span, entry: Entry) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": trace.hex(),
        "spanId": span.id.hex(),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.started_at * _US_NS),
        "endTimeUnixNano": str(span.ended_at * _US_NS),
        "attributes": [_attribute(key, value) for key, value in span.attributes],
    }
    if span.parent:
        made["parentSpanId"] = span.parent.hex()
    if span.moments:
        made["events"] = [
            {"timeUnixNano": str(moment.at * _US_NS), "name": moment.name}
            for moment in span.moments
        ]
    if span.link is not None:
        linked, id_, how = span.link
        made["links"] = [
            {
                "traceId": linked.hex(),
                "spanId": id_.hex(),
                "attributes": [_attribute("refold.origin", how)],
            }
        ]
    if span.is_error:
        made["status"] = {"code": _ERROR}
    if span.shows_body:
        _show_body(made, entry)
    return made


def _show_body(made: dict[str, Any], entry: Entry) -> None:
    if entry.body_state == "none":
        return
    if entry.body is None:
        made["attributes"].append(
            {"key": f"refold.body_{entry.body_state}", "value": {"boolValue": True}}
        )
        return
    made["attributes"].append(_attribute("refold.body", body_text(entry.body)))
    if "status" in made and (message := message_in(entry.body)):
        made["status"]["message"] = message


def _attribute(key: str, value: Value) -> dict[str, Any]:
    if isinstance(value, int):
        # 64-bit integers are strings in the JSON of protocol buffers.
        return {"key": key, "value": {"intValue": str(value)}}
    return {"key": key, "value": {"stringValue": value}}
