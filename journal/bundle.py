"""Makes the evidence bundle of a run: all that a stranger needs to check it, in one zip file.

In it are the run's entries, those of every run that it was replayed from or took its payload from,
transitively, the definition that each of them was pinned to, the entries of erasures, the bodies
that are left, one proof for all entries, a checkpoint, the public keys, and the verifier itself.
The format is that of the verifier (verifier.py) and is described in journal/README.md.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from . import ids, verifier
from .envelope import Recorded
from .errors import JournalError
from .events import RunRequested, WorkflowDefined
from .journal import Body
from .verified import Verified, read_verified

ENTRIES_MAX: Final = 200_000
"""Most entries in a bundle, which is made in memory."""
_GONE_BY: Final = (
    "SELECT by_position, entry FROM (SELECT by_position FROM erasure WHERE position = ?1 "
    "UNION ALL SELECT by_position FROM archive WHERE position = ?1 LIMIT 1) "
    "JOIN event ON event.position = by_position"
)

_README: Final = """\
EVIDENCE OF THE RUN {run}

This file was made by Refold, a workflow service that keeps an append-only journal. It lets you
check, without that service and without trusting who runs it, what this run did.

    evidence.txt     {count} entries as they were hashed, with their bodies: the run, what it
                     was replayed from, the workflow definitions, and erasures
    proof.txt        shows that all of them are in the journal of {size} entries
    checkpoint.note  the signed root of that journal, in the C2SP signed-note format
    checkpoint.pub   the public keys that came along; compare them with the published ones
    verifier.py      checks all this; 300 lines of Python, better taken from where you trust it

Install Python 3.11 or newer and the package "cryptography", then, with this file as run.zip:

    python verifier.py run.zip --key 'THE PUBLISHED KEY' --checkpoint AN_OLDER_CHECKPOINT

Both options are yours to give: without them the verifier only says that the evidence fits
together. It ends with 0 valid, 10 valid with erased bodies, 20 incomplete, 30 not the journal of
the checkpoint that you kept, 40 invalid.
"""

ProveAll = Callable[[Sequence[int], int, int], list[bytes]]
"""Returns a joint proof for leaf indexes in the tree of a size, cut at another: `Tree.joint`."""


class NoBundleError(JournalError):
    """No bundle can be made of this run."""

    code = "no_bundle"


class Checkpointed:
    """The checkpoint that a bundle is made against, and how to prove things in its tree."""

    def __init__(
        self,
        note: bytes,
        public_keys: Sequence[str],
        prove: ProveAll,
        kept: tuple[int, bytes] = (0, verifier.EMPTY_ROOT),
    ) -> None:
        """`kept` is size and root of an earlier checkpoint that the auditor has."""
        self.note = note
        self.public_keys = public_keys
        self.prove = prove
        self.kept = kept
        self.size = int(note.split(b"\n", 2)[1])


class _Evidence:
    """Gathers entries, each once."""

    def __init__(self, connection: sqlite3.Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self._streams: set[str] = set()
        self.frames: dict[int, bytes] = {}

    def add_run(self, run: str) -> None:
        """Gather a run and whatever it goes back to."""
        waiting = [run]
        while waiting:
            stream = waiting.pop()
            if stream in self._streams:
                continue
            self._streams.add(stream)
            for found in read_verified(self._connection, stream):
                if found.event.position > self._size:
                    raise NoBundleError(f"the checkpoint does not cover all of {stream}")
                self._add(found)
                waiting.extend(self._origins(found.event))

    def _origins(self, event: Recorded) -> list[str]:
        """Say which runs an entry goes back to, and gather the definition that it names."""
        origins = [event.src.rpartition("@")[0]] if event.src else []
        if isinstance(event.facts, RunRequested):
            self._add_definition(event.facts.workflow, event.facts.workflow_version)
            origins += [event.facts.payload_run] if event.facts.payload_run else []
        return origins

    def _add_definition(self, workflow: str, version: int) -> None:
        for found in read_verified(self._connection, workflow):
            facts = found.event.facts
            if isinstance(facts, WorkflowDefined) and facts.workflow_version == version:
                self._add(found)
                return
        raise NoBundleError(f"version {version} of {workflow} is not in the journal")

    def _add(self, found: Verified) -> None:
        event = found.event
        if event.position in self.frames:
            return
        if len(self.frames) >= ENTRIES_MAX:
            raise NoBundleError(f"a bundle holds at most {ENTRIES_MAX} entries")
        if event.payload and not event.src and found.body is None:
            by, entry = self._connection.execute(_GONE_BY, (event.position,)).fetchone()
            if by > self._size:
                raise NoBundleError(
                    "the checkpoint does not cover the erasure or archival of a body"
                )
            self.frames.setdefault(by, _frame(by, 0, entry, b"none", None))
            state = b"archived %d" % by if found.segment else b"erased %d" % by
            self.frames[event.position] = _frame(
                event.position, event.body_at, found.entry, state, None
            )
            return
        body = None if event.src else found.body
        state = b"none" if body is None else b"%s %d" % (body.salt.hex().encode(), len(body.data))
        self.frames[event.position] = _frame(
            event.position, event.body_at, found.entry, state, body
        )


def _frame(position: int, body_at: int, entry: bytes, state: bytes, body: Body | None) -> bytes:
    rest = b"" if body is None else body.data + b"\n"
    return b"%d %d %s\n%s\n%s" % (position, body_at, state, entry, rest)


def pack(files: dict[str, bytes]) -> bytes:
    """Return the one zip file of some contents: sorted, stored as they are, dated 1980."""
    data, directory = b"", b""
    for name, text in sorted(files.items()):
        meta = struct.pack("<H6xHLLLL", 20, 33, zlib.crc32(text), len(text), len(text), len(name))
        directory += b"PK\x01\x02\x14\0" + meta + struct.pack("<10xL", len(data)) + name.encode()
        data += b"PK\x03\x04" + meta + name.encode() + text
    end = len(files), len(files), len(directory), len(data)
    return data + directory + b"PK\x05\x06" + struct.pack("<4xHHLL2x", *end)


def make_bundle(connection: sqlite3.Connection, run: str, against: Checkpointed) -> bytes:
    """Return the bundle of a run, as the bytes of a zip file.

    Reads the journal and the tree's files, so call it on a thread with a connection of its own.
    The caller has seen to it that the reader may see the run, and waited for the checkpoint.

    Raises:
        NoBundleError: there is no such run, or the checkpoint does not cover all that belongs in.
        CorruptStoreError: an entry is not what was written.
    """
    if not ids.is_run(run):
        raise NoBundleError(f"{run} is not a run")
    evidence = _Evidence(connection, against.size)
    evidence.add_run(run)
    if not evidence.frames:
        raise NoBundleError(f"there is no run {run}")
    places = sorted(evidence.frames)
    cut, root = against.kept
    hashes = against.prove([place - 1 for place in places], against.size, cut)
    proof = f"refold bundle 1\n{run}\n{cut} {root.hex()}\n"
    proof += "".join(f"{found.hex()}\n" for found in hashes)
    program = Path(verifier.__file__).read_bytes()
    files = {
        "README.txt": _README.format(run=run, size=against.size, count=len(places)).encode(),
        verifier.NOTE: against.note,
        verifier.PUBLIC: "".join(f"{key}\n" for key in against.public_keys).encode(),
        "evidence.txt": b"".join(evidence.frames[place] for place in places),
        "proof.txt": proof.encode(),
        "verifier.py": program,
    }
    packed = pack(files)
    if len(packed) > verifier.BUNDLE_MAX:
        raise NoBundleError("the bundle would be larger than 1 GiB")
    return packed
