"""Fixed test vectors: the bytes and hashes of entries, made once by a program that isn't ours.

Nothing here may ever change for format 1: journals out there hold these bytes.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from refold.journal import events as e
from refold.journal.envelope import (
    FORMAT,
    NO_LEAF,
    Envelope,
    Recorded,
    decode_entry,
    encode_entry,
    leaf_hash,
    payload_commitment,
    source,
)
from refold.journal.errors import CorruptStoreError, InvalidCommitError, UnknownEventError
from refold.journal.journal import Appended, Body, Commit, Metadata, NewEvent, StreamWrite
from refold.journal.memory_store import MemoryLedger
from refold.journal.sequencer import Sequencer

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
ENTRIES: list[dict[str, Any]] = VECTORS["entries"]
TYPES = {facts.type: facts for facts in e.CATALOGUE}


def facts_of(vector: dict[str, Any]) -> e.Facts:
    """Make the facts of a vector."""
    return TYPES[vector["type"]](**vector["facts"])


def envelope_of(vector: dict[str, Any]) -> Envelope:
    """Make the envelope of a vector."""
    plain = ("actor", "at", "cause", "corr", "id", "payload", "prev", "src", "stream", "tenant")
    return Envelope(
        **{name: vector[name] for name in plain},
        facts=facts_of(vector),
        journal=VECTORS["journal"],
        schema=1,
        type=vector["type"],
        v=FORMAT,
        version=vector["version"],
    )


@pytest.mark.parametrize("vector", ENTRIES, ids=lambda v: f"{v['position']}-{v['type']}")
def test_an_entry_has_the_bytes_and_the_leaf_of_its_vector(vector: dict[str, Any]) -> None:
    """A change of a single byte would make every journal out there unverifiable."""
    entry = encode_entry(envelope_of(vector))
    assert entry == bytes.fromhex(vector["entry"])
    assert leaf_hash(entry).hex() == vector["leaf"] == sha256(b"\x00" + entry).hexdigest()


@pytest.mark.parametrize("vector", [v for v in ENTRIES if v["salt"]], ids=lambda v: v["type"])
def test_a_payload_commitment_is_that_of_its_vector(vector: dict[str, Any]) -> None:
    """The commitment outlives the body, so nobody could ever make it anew."""
    salt, body = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["body"])
    assert payload_commitment(salt, body) == vector["payload"]
    assert sha256(b"refold/payload/v1\x00" + salt + body).hexdigest() == vector["payload"]


@pytest.mark.parametrize("vector", ENTRIES, ids=lambda v: f"{v['position']}-{v['type']}")
def test_an_entry_reads_back_as_what_it_was_made_of(vector: dict[str, Any]) -> None:
    """Escapes, astral characters and the largest integers survive the way there and back."""
    entry, leaf = bytes.fromhex(vector["entry"]), bytes.fromhex(vector["leaf"])
    event = decode_entry(vector["position"], entry, leaf, vector["body_at"])
    for name in ("position", "stream", "version", "at", "id", "tenant", "actor", "corr", "cause"):
        assert getattr(event, name) == vector[name]
    assert (event.src, event.payload, event.facts) == (
        vector["src"],
        vector["payload"],
        facts_of(vector),
    )


def test_the_sequencer_chains_the_vectors_and_names_their_sources() -> None:
    """`prev`, `src`, versions, positions and body positions follow from the appends alone."""
    ledger = MemoryLedger()
    events: list[Recorded] = ledger.events
    salts = iter([bytes.fromhex(v["salt"]) for v in ENTRIES if v["salt"]])
    sequencer = Sequencer(VECTORS["journal"], ledger, lambda: next(salts))
    for vector in ENTRIES:
        origin = events[int(vector["replays"]) - 1] if vector["replays"] else None
        new = NewEvent(
            vector["id"],
            facts_of(vector),
            None if vector["body"] is None else bytes.fromhex(vector["body"]),
            src="" if origin is None else source(origin),
            payload="" if origin is None else origin.payload,
            body_at=0 if origin is None else origin.body_at,
        )
        meta = Metadata(vector["tenant"], vector["actor"], vector["corr"], vector["cause"])
        write = StreamWrite(vector["stream"], vector["version"] - 1, [new], meta)
        made = sequencer.sequence(Commit([write]), vector["position"] - 1, vector["at"])
        assert not isinstance(made, Appended)
        (row,) = made.rows
        assert row.entry == bytes.fromhex(vector["entry"])
        assert (row.event.leaf.hex(), row.event.body_at) == (vector["leaf"], vector["body_at"])
        assert (row.event.position, row.event.src) == (vector["position"], vector["src"])
        events.append(row.event)
        ledger.streams[row.event.stream].append(row.event)


def test_the_vectors_reach_the_corners_of_the_format() -> None:
    """The file itself is worth something only while the hard cases stay in it."""
    text = b"".join(bytes.fromhex(v["entry"]) for v in ENTRIES)
    for corner in (
        b'"facts":{}',
        b"\\u0000",
        b"\\u001f",
        b"\\b\\t\\n\\u000b\\f\\r\\u000e",
        b'\\"',
        b"\\\\",
        b"/",
        b"\x7f",
        "\x80é\u2028\u2029\ufeff\uffff\U0001f600\U0010ffff".encode(),
        str(2**53 - 1).encode(),
    ):
        assert corner in text
    assert ENTRIES[0]["prev"] == NO_LEAF
    assert any(v["version"] > 1 and v["prev"] != NO_LEAF for v in ENTRIES)
    assert any(v["body"] == "" for v in ENTRIES), "an empty body is not the same as none"
    assert Body(b"", b"").data == b""


@pytest.mark.parametrize("value", [True, -1, 2**53, 1.0, None, "1"])
def test_a_number_that_no_entry_may_hold_is_refused(value: Any) -> None:
    """`True` is an `int` to every type checker and `true` in the bytes, which nothing reads."""
    with pytest.raises(InvalidCommitError, match="limit_us must be an integer from 0 to"):
        e.check_facts(e.RunStarted(limit_us=value, started_at=1))


def test_half_a_surrogate_pair_is_refused_without_showing_the_text() -> None:
    """JSON can smuggle one in, UTF-8 can't carry it, and the text may be a secret."""
    envelope = envelope_of({**ENTRIES[3], "corr": "s3cret\ud800"})
    with pytest.raises(InvalidCommitError) as caught:
        encode_entry(envelope)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"}", b""),
        (b'"actor":', b'"actor":1,"x":'),
        (b'"limit_us":', b'"extra":1,"limit_us":'),
        (b'"v":1', b'"v":"1"'),
        (b"req-2", b"req-\xff"),
    ],
)
def test_bytes_that_are_no_entry_are_named_by_position(old: bytes, new: bytes) -> None:
    """Whoever reads a damaged journal hears where, in the journal's own words."""
    entry = bytes.fromhex(ENTRIES[3]["entry"])
    assert old in entry
    with pytest.raises(CorruptStoreError, match="the entry at position 4 is unreadable"):
        decode_entry(4, entry.replace(old, new), bytes(32), 0)


def test_an_event_of_a_newer_release_is_named() -> None:
    """An older version says what it doesn't know, instead of guessing."""
    entry = bytes.fromhex(ENTRIES[3]["entry"]).replace(b'"run.started"', b'"run.paused"')
    with pytest.raises(UnknownEventError, match=r"no event 'run.paused' of schema 1"):
        decode_entry(4, entry, bytes(32), 0)
