"""The envelope: the exact bytes of one journal entry, and the hashes over them.

The format is fixed (journal/README.md has a worked example): canonical JSON, UTF-8, no white
space, keys sorted, all keys always present, values strings or integers below 2^53, and one flat
object `facts`. The bytes are stored as they were hashed and never made again from their parts.

    payload = SHA256("refold/payload/v1" 0x00 salt[32] body)
    leaf    = SHA256(0x00 entry)                                (RFC 9162, section 2.1.1)
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from .errors import CorruptStoreError, InvalidCommitError, UnknownEventError
from .events import DECODERS, Facts
from .upcasters import Decoders

FORMAT: Final = 1
SALT_BYTES: Final = 32
NO_LEAF: Final = "0" * 64
"""What `prev` holds in the first event of a stream."""
_PAYLOAD_DOMAIN: Final = b"refold/payload/v1\x00"


class Envelope(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One entry, its fields in the order in which they are hashed.

    `facts` is typed as `Facts` for encoding; reading goes through `Entry`, since which facts
    these are is known only from `type` and `schema`.
    """

    actor: str
    at: int
    cause: str
    corr: str
    facts: Facts
    id: str
    journal: str
    payload: str
    prev: str
    schema: int
    src: str
    stream: str
    tenant: str
    type: str
    v: int
    version: int


class Entry(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One entry as it is read: of a type and schema that this version need not know."""

    actor: str
    at: int
    cause: str
    corr: str
    facts: msgspec.Raw
    id: str
    journal: str
    payload: str
    prev: str
    schema: int
    src: str
    stream: str
    tenant: str
    type: str
    v: int
    version: int


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One event as the journal holds it, body apart."""

    position: int
    """Place in the whole journal, from 1 and without holes; the leaf index is one less."""
    body_at: int
    """The position whose body this event shows: its own, the root's if replayed, 0 for none."""
    leaf: bytes
    stream: str
    version: int
    id: str
    at: int
    tenant: str
    actor: str
    corr: str
    cause: str
    src: str
    payload: str
    facts: Facts


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry, strict=True).decode


def encode_entry(envelope: Envelope) -> bytes:
    """Return the bytes that are hashed and stored.

    Raises:
        InvalidCommitError: a string of it is not Unicode text (half a surrogate pair).
    """
    try:
        return _encode(envelope)
    except UnicodeEncodeError as error:
        # The text itself stays out of the message: it may be anything.
        raise InvalidCommitError(
            f"{envelope.type}: a string holds half a surrogate pair"
        ) from error


def leaf_hash(entry: bytes) -> bytes:
    """Return the RFC 9162 leaf hash of an entry."""
    return sha256(b"\x00" + entry).digest()


def payload_commitment(salt: bytes, body: bytes) -> str:
    """Return the salted commitment to a body, which stays valid when the body is erased."""
    return sha256(_PAYLOAD_DOMAIN + salt + body).hexdigest()


def source(event: Recorded) -> str:
    """Return the `src` of an event that replays this one."""
    return f"{event.stream}@{event.version}#{event.leaf.hex()}"


def parse_entry(position: int, entry: bytes) -> Entry:
    """Read a stored entry as far as that is possible without knowing its type.

    Raises:
        CorruptStoreError: the bytes are not an entry.
    """
    try:
        return _decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptStoreError(f"the entry at position {position} is unreadable") from error


def decode_entry(
    position: int, entry: bytes, leaf: bytes, body_at: int, decoders: Decoders = DECODERS
) -> Recorded:
    """Read a stored entry; its facts come in their present form, whatever their schema is.

    Raises:
        UnknownEventError: its type or schema is newer than this version.
        CorruptStoreError: the bytes are not an entry.
    """
    try:
        e = _decode(entry)
        facts = decoders.facts(e.type, e.schema, e.facts)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptStoreError(f"the entry at position {position} is unreadable") from error
    except UnknownEventError as error:
        raise UnknownEventError(
            error.type, error.schema, newest=error.newest, position=position
        ) from None
    return Recorded(
        position,
        body_at,
        leaf,
        e.stream,
        e.version,
        e.id,
        e.at,
        e.tenant,
        e.actor,
        e.corr,
        e.cause,
        e.src,
        e.payload,
        facts,
    )


def recorded(envelope: Envelope, position: int, leaf: bytes, body_at: int) -> Recorded:
    """Return what `decode_entry` would, without decoding what was just encoded."""
    e = envelope
    return Recorded(
        position,
        body_at,
        leaf,
        e.stream,
        e.version,
        e.id,
        e.at,
        e.tenant,
        e.actor,
        e.corr,
        e.cause,
        e.src,
        e.payload,
        e.facts,
    )
