"""What the service can prove: the tree, the signed checkpoints, and bundles of evidence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..journal.bundle import Checkpointed, NoBundleError, make_bundle
from ..journal.checkpoint_keys import KEY_FILE
from ..journal.checkpoints import NOTE_FILE, Checkpoints, open_checkpoints
from ..journal.clock import IdSource
from ..journal.files import make_directory
from ..journal.journal import Journal
from ..journal.sqlite_file import JOURNAL_FILE, open_reader, owner_lock
from ..journal.tree_store import Tree, open_tree
from .settings import Settings

WAIT_SECONDS_MAX: Final = 10.0
"""Longest wait for the tree or for a checkpoint; as a rule it is less than a second."""
_BUNDLES_AT_ONCE: Final = 2
"""Each is made in memory."""
_TRIES: Final = 3


class ProofsUnavailableError(Exception):
    """The tree or a checkpoint is not there in time; it is worth asking again."""


class Proofs:
    """The proofs of an open journal. Made by `open_proofs`."""

    def __init__(self, journal: Journal, tree: Tree, checkpoints: Checkpoints, file: Path) -> None:
        self._journal = journal
        self._file = file
        self._bundles = asyncio.Semaphore(_BUNDLES_AT_ONCE)
        self.tree = tree
        self.checkpoints = checkpoints

    async def note(self, position: int = 0) -> tuple[bytes, int]:
        """Return a checkpoint that covers a position, and how many entries it covers.

        Raises:
            SigningRefusedError: nothing is signed, and why.
            ProofsUnavailableError: it takes too long.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                note = await self.checkpoints.covering(position)
        except TimeoutError:
            raise ProofsUnavailableError from None
        return note, int(note.split(b"\n", 2)[1])

    async def grown(self, size: int) -> None:
        """Return when the tree has so many entries, which the journal has.

        Raises:
            StoreFailedError: the tree can't grow.
            ProofsUnavailableError: it takes too long.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self.tree.integrated(size)
        except TimeoutError:
            raise ProofsUnavailableError from None

    async def bundle(self, run: str, kept: int) -> bytes:
        """Return the evidence of an ended run, with a proof that leads to a kept checkpoint too.

        A caller that is cancelled leaves its place to the next one only when its bundle is made.

        Raises:
            NoBundleError: it is too large.
            CorruptStoreError: an entry is not what was written.
            SigningRefusedError, ProofsUnavailableError: see `note`.
        """
        return await asyncio.shield(asyncio.ensure_future(self._bundle(run, kept)))

    async def _bundle(self, run: str, kept: int) -> bytes:
        async with self._bundles:
            for left in reversed(range(_TRIES)):
                note, size = await self.note(self._journal.head)
                before = (kept, self.tree.root(kept))
                keys = self.checkpoints.public_keys
                against = Checkpointed(note, keys, self.tree.joint, before)
                try:
                    return await asyncio.to_thread(self._make, run, against)
                except NoBundleError:
                    # A body may have been erased meanwhile, by an entry that is beyond the note.
                    if not left or self._journal.head == size:
                        raise
            raise AssertionError("the last try returns or raises")

    def _make(self, run: str, against: Checkpointed) -> bytes:
        with closing(open_reader(self._file)) as connection:
            return make_bundle(connection, run, against)


@asynccontextmanager
async def open_proofs(
    settings: Settings, journal: Journal, ids: IdSource
) -> AsyncGenerator[Proofs]:
    """Build the tree of an open journal and sign its checkpoints while the context lasts.

    Raises:
        StoreOwnedError: another process signs with the same directory of checkpoints.
        StoreFailedError: the key or a directory can't be used.
    """
    data, kept_in = settings.data, settings.checkpoint_directory or settings.data
    make_directory(kept_in, 0o700)
    # Two copies of one journal that share a note would sign over each other.
    is_elsewhere = kept_in.resolve() != data.resolve()
    with owner_lock(kept_in) if is_elsewhere else nullcontext():
        async with (
            open_tree(data, journal) as tree,
            open_checkpoints(
                data,
                journal,
                tree,
                ids,
                host=checkpoint_host(settings),
                key_path=kept_in / KEY_FILE,
                note_path=kept_in / NOTE_FILE,
                accept_generation=settings.journal_generation,
            ) as checkpoints,
        ):
            yield Proofs(journal, tree, checkpoints, data / JOURNAL_FILE)


def checkpoint_host(settings: Settings) -> str:
    """Return the name of the service in its checkpoints: lasting, so not where it listens."""
    if settings.checkpoint_host:
        return settings.checkpoint_host
    found = urlsplit(settings.public_url)
    if not found.hostname:
        return "localhost"
    name = found.hostname
    if not name.isascii():
        name = name.encode("idna").decode()
    return f"{name}:{found.port}" if found.port else name
