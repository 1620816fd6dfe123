"""XES (IEEE 1849): one trace a run, one event of the trace for each event of the run.

`concept:name` is the node, or what happened to the run; `lifecycle:transition` follows the
standard's transactional model. `time:timestamp` is when the event was committed, so a trace is
in order; a replayed event has the time of its copying, and its own times stand in
`refold:started_at` and `refold:ended_at`. A run that is selected is a whole trace: it is never
cut at its beginning, whatever position the export begins at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ...journal import events as e
from .plan import Plan
from .source import Entry, Source
from .target import Chunk
from .values import Value, body_text, is_time, rfc3339, shown_fields

RUN: Final = "run"
"""The activity of events that are about the run as a whole."""

_TRANSITIONS: Final[dict[type[e.Facts], str]] = {
    e.RunRequested: "schedule",
    e.RunStarted: "start",
    e.RunCompleted: "complete",
    e.RunFailed: "ate_abort",
    e.RunCancelRequested: "withdraw",
    e.RunCancelled: "pi_abort",
    e.NodeStarted: "start",
    e.NodeSucceeded: "complete",
    e.NodeFailed: "ate_abort",
    e.NodeInterrupted: "pi_abort",
    e.NodeRetryScheduled: "schedule",
    e.TimerSet: "suspend",
    e.TimerFired: "resume",
    e.InteractionRequested: "suspend",
    e.InteractionSubmitted: "resume",
    e.ChildRequested: "suspend",
    e.ChildEnded: "resume",
    e.IterationStarted: "start",
    e.IterationEnded: "complete",
}
_UNKNOWN: Final = "unknown"

# What XML 1.0 can't hold at all, not even escaped; and what would not survive in an attribute.
_REFUSED: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ESCAPED: Final = re.compile('[&<>"\t\n\r]')
_ESCAPES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}
_EXTENSIONS: Final = ("Concept", "Lifecycle", "Time", "Organizational")
_PREFIXES: Final = ("concept", "lifecycle", "time", "org")
_FILES: Final = ("concept", "lifecycle", "time", "org")
_IN_TRACE: Final = frozenset({"workflow", "workflow_version", "origin"})


def head(plan: Plan) -> bytes:
    """Open the log and say what its traces and events have in common."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<log xes.version="1849-2016" xes.features="" xmlns="http://www.xes-standard.org/">',
    ]
    for name, prefix, file in zip(_EXTENSIONS, _PREFIXES, _FILES, strict=True):
        uri = f"http://www.xes-standard.org/{file}.xesext"
        lines.append(f'<extension name="{name}" prefix="{prefix}" uri="{uri}"/>')
    lines += [
        '<global scope="trace"><string key="concept:name" value=""/></global>',
        '<global scope="event"><string key="concept:name" value=""/>'
        '<string key="lifecycle:transition" value="unknown"/>'
        '<date key="time:timestamp" value="1970-01-01T00:00:00.000000Z"/></global>',
        '<classifier name="Activity" scope="event" keys="concept:name"/>',
        '<classifier name="Activity and transition" scope="event" '
        'keys="concept:name lifecycle:transition"/>',
        _string("refold:journal", plan.journal),
    ]
    return ("\n".join(lines) + "\n").encode()


def tail(plan: Plan) -> bytes:
    """Close the log."""
    del plan
    return b"</log>\n"


def chunks(source: Source, cursor: int | str | None) -> Iterator[Chunk]:
    """Return the trace of each run after one, event by event."""
    for run in source.runs(str(cursor or "")):
        for entry in source.stream(run):
            facts = entry.facts()
            opening = _opening(run, entry, facts) if entry.head.version == 1 else ""
            yield Chunk((opening + _event(entry, facts)).encode(), 1)
        yield Chunk(b"</trace>\n", 0, run)


def quoted(text: str) -> str:
    """Return a text for an attribute of XML; what XML can't hold is written as its code.

    That is a backslash, `u` and the hexadecimal digits of the code point, four at least.
    """
    text = _REFUSED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text)


def _opening(run: str, entry: Entry, facts: e.Facts) -> str:
    parts = ["<trace>", _string("concept:name", run), _string("refold:tenant", entry.head.tenant)]
    if isinstance(facts, e.RunRequested):
        parts += [
            _attribute(f"refold:{name}", getattr(facts, name), is_number)
            for name, is_number in shown_fields(e.RunRequested)
            if name in _IN_TRACE
        ]
    return "".join(parts) + "\n"


def _event(entry: Entry, facts: e.Facts) -> str:
    head = entry.head
    transition = _TRANSITIONS.get(type(facts), _UNKNOWN)
    if isinstance(facts, e.IterationEnded) and facts.code:
        transition = "ate_abort"
    elif isinstance(facts, e.ChildRequested) and not facts.waits:
        transition = _UNKNOWN
    parts = [
        "<event>",
        _string("concept:name", _activity(facts)),
        _string("lifecycle:transition", transition),
        _date("time:timestamp", head.at),
        _string("refold:event", head.type),
        _string("refold:id", head.id),
        _int("refold:position", entry.position),
    ]
    if instance := _instance(facts):
        parts.append(_string("concept:instance", instance))
    if head.actor:
        parts.append(_string("org:resource", head.actor))
    if head.src:
        parts.append(_string("refold:replayed_from", head.src))
    for name, is_number in shown_fields(type(facts)):
        if name not in ("node", "iteration") and (value := getattr(facts, name)) not in ("", 0):
            parts.append(_attribute(f"refold:{name}", value, is_number))
    if entry.body is not None:
        parts.append(_string("refold:body", body_text(entry.body)))
    elif entry.body_state != "none":
        parts.append(f'<boolean key="refold:body_{entry.body_state}" value="true"/>')
    parts.append("</event>\n")
    return "".join(parts)


def _activity(facts: e.Facts) -> str:
    if isinstance(facts, e.IterationStarted | e.IterationEnded):
        return f"{facts.node} item"
    if type(facts).type.startswith("run."):
        return RUN
    return str(getattr(facts, "node", "")) or RUN


def _instance(facts: e.Facts) -> str:
    """Tell the executions of a node in one run apart: the iteration, and the attempt."""
    parts = (str(getattr(facts, "iteration", "")), str(getattr(facts, "attempt", "")))
    return "#".join(parts) if any(parts) else ""


def _attribute(key: str, value: Value, is_number: bool) -> str:
    if is_number and is_time(key):
        return _date(key, int(value))
    return _int(key, int(value)) if is_number else _string(key, str(value))


def _string(key: str, value: str) -> str:
    return f'<string key="{key}" value="{quoted(value)}"/>'


def _int(key: str, value: int) -> str:
    return f'<int key="{key}" value="{value}"/>'


def _date(key: str, at: int) -> str:
    return f'<date key="{key}" value="{rfc3339(at)}"/>'
