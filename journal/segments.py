"""Writes segments: runs that are archived, as exact bytes, signed by the key of checkpoints.

    entries        for each entry, ascending:  POSITION BODY_AT, newline, the entry, newline
    bodies         for each own body:          POSITION SALT LENGTH, newline, the body, newline
                   for one that is not here:   POSITION erased, or POSITION archived, newline
    entries.note   a signed note like a checkpoint: <log>/<segment>/entries, the count, the SHA-256
    bodies.note    the same of the bodies, so that an erasure leaves the note of the entries alone
    checkpoint.pub the public keys that come along

A file or folder appears whole and durable, or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import verifier
from .checkpoint_keys import public_key, replace_file, sign_note
from .files import sync_directory
from .segment_verifier import BODIES, ENTRIES, NAME, NOT_HERE, Held, note_of
from .verified import Verified

PART: Final = ".refold-part"
"""Where a segment is written until it is whole; whatever is in it may be thrown away."""


class Signer(msgspec.Struct, frozen=True):
    """Who seals segments."""

    log: str
    """The origin of the journal's checkpoints."""
    keys: Sequence[Ed25519PrivateKey]

    @property
    def public_keys(self) -> list[str]:
        """The verifier keys of the log."""
        return [public_key(self.log, key) for key in self.keys]

    def note(self, segment: str, part: str, count: int, data: bytes) -> bytes:
        """Return the signed note about a part of a segment."""
        return sign_note(f"{self.log}/{segment}/{part}", count, sha256(data).digest(), self.keys)


def name_after(taken: Iterable[str]) -> str:
    """Return the name of the next segment."""
    found = (NAME.fullmatch(name) for name in taken)
    return f"segment-{max((int(match[1]) for match in found if match), default=0) + 1:06d}"


def bodies_text(held: Held) -> bytes:
    """Return the file of bodies."""
    lines: list[bytes] = []
    for position, body in sorted(held.items()):
        if body in NOT_HERE:
            lines.append(b"%d %s\n" % (position, body))
        else:
            head = b"%d %s %d\n" % (position, body[:32].hex().encode(), len(body) - 32)
            lines.append(head + body[32:] + b"\n")
    return b"".join(lines)


def write_segment(folder: Path, name: str, entries: Sequence[Verified], signer: Signer) -> Path:
    """Write a segment beside its place; return where. The entries ascend by position.

    Raises:
        OSError: the disk refuses.
    """
    part = folder / PART
    discard(folder)
    (part / name).mkdir(parents=True, mode=0o700)
    held: Held = {}
    lines: list[bytes] = []
    for found in entries:
        event = found.event
        lines.append(b"%d %d\n%s\n" % (event.position, event.body_at, found.entry))
        if event.body_at == event.position:
            state = b"archived" if found.segment else b"erased"
            held[event.position] = found.body.salt + found.body.data if found.body else state
    data = {ENTRIES: b"".join(lines), BODIES: bodies_text(held)}
    for file, count in ((ENTRIES, len(lines)), (BODIES, len(held))):
        replace_file(part / name / file, data[file])
        replace_file(part / name / note_of(file), signer.note(name, file, count, data[file]))
    keys = "".join(f"{key}\n" for key in signer.public_keys)
    replace_file(part / name / verifier.PUBLIC, keys.encode())
    return part / name


def put_in_place(written: Path, folder: Path) -> Path:
    """Let a segment that was written and verified appear under its name."""
    place = folder / written.name
    written.rename(place)
    sync_directory(folder)
    discard(folder)
    return place


def discard(folder: Path) -> None:
    """Remove what an interrupted writing left."""
    if (folder / PART).exists():
        shutil.rmtree(folder / PART)
        sync_directory(folder)


def without(folder: Path, held: Held, erased: Collection[int], signer: Signer) -> int:
    """Rewrite the bodies of a segment without those that were erased; return how many went.

    The note is signed anew in any case, so that a rewriting that was interrupted is completed.

    Raises:
        OSError: the disk refuses.
    """
    went = [at for at, body in held.items() if at in erased and body not in NOT_HERE]
    left = held | dict.fromkeys(went, b"erased")
    data = bodies_text(left)
    if went:
        replace_file(folder / BODIES, data)
    replace_file(folder / note_of(BODIES), signer.note(folder.name, BODIES, len(left), data))
    return len(went)
