"""The published types of proofs. Hashes are 64 lower-case hexadecimal digits."""

from __future__ import annotations

from typing import Final

import msgspec

TILE_WIDTH: Final = 256


class InclusionProof(msgspec.Struct, frozen=True):
    """That one entry is in the journal (RFC 9162, section 2.1.3)."""

    position: int
    """From 1; the index of the leaf is one less."""
    leaf: str
    size: int
    """How many entries the tree has that the proof leads to."""
    root: str
    hashes: list[str]
    """From the leaf's sibling up to the root."""
    checkpoint: str | None
    """The signed note of this size; null where a size was asked for."""


class ConsistencyProof(msgspec.Struct, frozen=True):
    """That one journal is the beginning of another (RFC 9162, section 2.1.4)."""

    from_: int = msgspec.field(name="from")
    to: int
    from_root: str
    to_root: str
    hashes: list[str]
    checkpoint: str | None
    """The signed note of the later size; null where a size was asked for."""
