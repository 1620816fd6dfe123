"""CloudEvents 1.0: one batch (`application/cloudevents-batch+json`) of all events.

`source` is the journal, `id` the event's own id, `subject` its stream; `sequence` is the position,
written so that it sorts as text. `data` has the facts and the body. A body that is not JSON
stands in `body_base64`; an erased one is marked.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

import msgspec

from ...journal.envelope import Recorded
from ...journal.journal import Body
from .plan import Plan
from .source import Entry, Head, Source
from .target import Chunk
from .values import is_json, rfc3339

TYPE: Final = "refold."
"""What the type of an event is written after."""
_SEQUENCE_DIGITS: Final = 16
# What the specification keeps out of attributes, noncharacters of all planes included.
_REFUSED: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)


class _Data(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    facts: msgspec.Raw
    schema: int
    version: int
    body: msgspec.Raw | None = None
    body_base64: str | None = None
    erased: bool = False
    archived: bool = False
    withheld: bool = False
    replayed_from: str = ""
    payload: str = ""
    """The commitment to the body."""


class _Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    id: str
    source: str
    specversion: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    sequence: str
    leaf: str
    data: _Data
    tenant: str = ""
    actor: str = ""
    correlationid: str = ""
    causationid: str = ""


_encode: Final = msgspec.json.Encoder().encode


def head(plan: Plan) -> bytes:
    """Open the batch."""
    del plan
    return b"[\n"


def tail(plan: Plan) -> bytes:
    """Close the batch."""
    del plan
    return b"]\n"


def chunks(source: Source, cursor: int | str | None) -> Iterator[Chunk]:
    """Return a line for each event after a position."""
    comma = b"" if cursor is None else b","
    for entry in source.entries(int(cursor or 0)):
        line = comma + _encode(_exported(entry)) + b"\n"
        comma = b","
        yield Chunk(line, 1, entry.position)


def attribute(text: str) -> str:
    """Return a text that may stand in an attribute: what may not is written as its code.

    That is a backslash, `u` and the hexadecimal digits of the code point, four at least.
    """
    return _REFUSED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cloud_event(
    journal_id: str, event: Recorded, body: Body | None, *, is_withheld: bool, is_archived: bool
) -> bytes:
    """Write one event that was read from a journal, as the export would.

    A body that is missing was erased, unless it is withheld or archived.
    """
    facts = msgspec.Raw(_encode(event.facts))
    is_archived = is_archived and body is None and not is_withheld
    is_erased = event.body_at > 0 and body is None and not is_withheld and not is_archived
    data = _data(event, facts, event.facts.schema, None if body is None else body.data)
    data = msgspec.structs.replace(
        data, erased=is_erased, archived=is_archived, withheld=is_withheld
    )
    return _encode(_event(journal_id, event, event.position, event.leaf, event.facts.type, data))


def _exported(entry: Entry) -> _Event:
    head = entry.head
    data = msgspec.structs.replace(
        _data(head, head.facts, head.schema, entry.body),
        erased=entry.body_state == "erased",
        archived=entry.body_state == "archived",
        withheld=entry.body_state == "withheld",
    )
    return _event(head.journal, head, entry.position, entry.leaf, head.type, data)


def _event(
    journal_id: str, head: Head | Recorded, position: int, leaf: bytes, type_: str, data: _Data
) -> _Event:
    return _Event(
        id=head.id,
        source=f"urn:uuid:{journal_id}",
        specversion="1.0",
        type=TYPE + type_,
        subject=attribute(head.stream),
        time=rfc3339(head.at),
        datacontenttype="application/json",
        sequence=f"{position:0{_SEQUENCE_DIGITS}}",
        leaf=leaf.hex(),
        data=data,
        tenant=attribute(head.tenant),
        actor=attribute(head.actor),
        correlationid=attribute(head.corr),
        causationid=attribute(head.cause),
    )


def _data(head: Head | Recorded, facts: msgspec.Raw, schema: int, body: bytes | None) -> _Data:
    if body is None:
        text, other = None, None
    elif is_json(body):
        text, other = msgspec.Raw(body), None
    else:
        text, other = None, b64encode(body).decode()
    return _Data(
        facts=facts,
        schema=schema,
        version=head.version,
        body=text,
        body_base64=other,
        replayed_from=head.src,
        payload=head.payload,
    )
