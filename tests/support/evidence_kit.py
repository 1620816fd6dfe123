"""A small journal with all that evidence can be about, its checkpoint, its bundle, and forgers."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import struct
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from refold.journal import events as e
from refold.journal import verifier
from refold.journal.bundle import Checkpointed, make_bundle
from refold.journal.checkpoint_keys import public_key
from refold.journal.checkpoints import open_checkpoints
from refold.journal.envelope import Recorded, source
from refold.journal.journal import Commit, Journal, NewEvent, StreamWrite
from refold.journal.merkle import Frontier
from refold.journal.sqlite_file import JOURNAL_FILE, open_reader
from refold.journal.tree_store import open_tree
from tests.support.journal_kit import (
    META,
    NEW_IDS,
    FakeClock,
    commit,
    completed,
    opened,
    raw,
    requested,
    started,
    write,
)

HOST = "refold.example"
WORKFLOW = "fl_01k8x0000000000000000000w1"
RUN = "fl_run_01k8x000000000000000000a01"
RERUN = "fl_run_01k8x000000000000000000a02"
OTHER = "fl_run_01k8x000000000000000000a03"


class Evidence(msgspec.Struct, frozen=True):
    """What `make_evidence` made."""

    directory: Path
    public_key: str
    note: bytes
    early: bytes
    """A checkpoint of the same log, signed before the replayed run."""
    bundle: bytes
    """Of the replayed run, `RERUN`, with a proof that leads to `early` too."""

    @property
    def file(self) -> Path:
        """The journal's file."""
        return self.directory / JOURNAL_FILE


def defined() -> NewEvent:
    """Make the definition that the runs are pinned to."""
    facts = e.WorkflowDefined(
        active=1,
        event_type="",
        idempotency_digest="",
        idempotency_key="",
        idempotency_scope="",
        next_at=0,
        schedule="",
        uses="",
        webhook_hash="",
        workflow_version=1,
    )
    return NewEvent(NEW_IDS.new(), facts, b'{"name":"caf\xc3\xa9"}')


def replayed(event: Recorded) -> NewEvent:
    """Make the copy of an event that stands in another run."""
    return NewEvent(
        NEW_IDS.new(),
        event.facts,
        src=source(event),
        payload=event.payload,
        body_at=event.body_at,
    )


def inheriting(run: str) -> NewEvent:
    """Make the first event of a run that takes its payload from another."""
    facts = requested(WORKFLOW).facts
    return NewEvent(NEW_IDS.new(), msgspec.structs.replace(facts, payload_run=run))


def erasing(positions: Sequence[int], stream: str) -> Commit:
    """Make the commit that erases bodies of one stream."""
    facts = e.PayloadErased(
        positions=" ".join(map(str, positions)), reason="asked for", target=stream
    )
    return Commit([StreamWrite("sys", 1, [NewEvent(NEW_IDS.new(), facts)], META)], erased=positions)


async def _fill(journal: Journal) -> list[Recorded]:
    """Write a definition, a run, and a run beside it; return the first run's events."""
    await journal.append(commit(write(WORKFLOW, 0, defined())))
    first = requested(WORKFLOW)
    first = NewEvent(first.id, first.facts, b'{"order":1}', subject="somebody")
    made = await journal.append(
        commit(write(RUN, 0, first, started(b"output one"), started(b"to be erased"), started(b"")))
    )
    await journal.append(commit(write(RUN, 4, completed())))
    await journal.append(commit(write(OTHER, 0, requested(WORKFLOW), started(b"its own"))))
    return list(made.events)


async def _make(directory: Path, host: str) -> tuple[bytes, str, bytes]:
    clock = FakeClock()
    async with (
        opened(directory, clock) as journal,
        open_tree(directory, journal) as tree,
        open_checkpoints(directory, journal, tree, NEW_IDS, host=host, interval_s=0) as checkpoints,
    ):
        events = await _fill(journal)
        early = await checkpoints.covering(journal.head)
        size = checkpoints.size
        clock.time_us += 7
        copies = [replayed(event) for event in events[1:]]
        await journal.append(
            commit(write(RERUN, 0, inheriting(RUN), started(b"new"), *copies, completed()))
        )
        await journal.append(erasing([events[2].position], RUN))
        await journal.append(commit(write(OTHER, 2, completed())))
        note = await checkpoints.covering(journal.head)
        key = checkpoints.public_keys[0]
        against = Checkpointed(note, [key], tree.joint, (size, tree.root(size)))
        with closing(open_reader(directory / JOURNAL_FILE)) as connection:
            bundle = make_bundle(connection, RERUN, against)
    return early, key, bundle


def make_evidence(directory: Path, host: str = HOST) -> Evidence:
    """Fill a new data directory and close it."""
    directory.mkdir(exist_ok=True)
    early, key, bundle = asyncio.run(_make(directory, host))
    note = (directory / verifier.NOTE).read_bytes()
    with raw(directory / JOURNAL_FILE) as connection:
        # One file without a log, so that a copy of it is all there is.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    return Evidence(directory, key, note, early, bundle)


def cosigned(note: bytes, name: str, key: Ed25519PrivateKey, time: int) -> bytes:
    """Return a note with the cosignature of a witness (C2SP tlog-cosignature, version 1)."""
    text = note[: note.index(b"\n\n") + 1]
    signature = key.sign(b"cosignature/v1\ntime %d\n" % time + text)
    id_ = bytes.fromhex(public_key(name, key, 4).split("+")[1])
    coded = base64.b64encode(id_ + struct.pack(">Q", time) + signature).decode()
    return note + f"\u2014 {name} {coded}\n".encode()


def loaded(source_text: str, path: Path) -> ModuleType:
    """Load a verifier from changed source text."""
    path.write_text(source_text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaves."""
    frontier = Frontier()
    frontier.append(b"".join(leaves))
    return frontier.root()
