"""The tree and the checkpoints of a simulated service: the real ones, without thread and files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from refold.http.proofs import Proofs
from refold.journal.checkpoints import Checkpoints
from refold.journal.clock import IdSource
from refold.journal.errors import JournalError
from refold.journal.tree_store import Levels, Tree
from tests.simulator.disk import Disk
from tests.simulator.loop import SimulatedLoop
from tests.simulator.store import SimulatedStore
from tests.simulator.views import NOWHERE

HASH_BYTES = 32
KEY = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
INTERVAL_SECONDS = 5.0


class MemoryFile:
    """A small file that is replaced as a whole, and outlives the process."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.is_shut = False
        """Whether the process that would write was killed."""

    def exists(self) -> bool:
        """Tell whether it was ever written."""
        return self.content is not None

    def read_bytes(self) -> bytes:
        """Return what it holds."""
        assert self.content is not None, "it was looked for before"
        return self.content

    def with_name(self, name: str) -> MemoryFile:
        """Return another file beside it."""
        del name
        return MemoryFile()

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return "checkpoint.note"


def replace_file(path: MemoryFile, content: bytes) -> None:
    """Replace a file, in the place of the function that does it on a disk."""
    if path.is_shut:
        raise OSError("the process is gone")
    path.content = content


class MemoryLevels:
    """The tile levels in memory; see `Levels`."""

    def __init__(self) -> None:
        self._levels: list[bytearray] = []

    def put(self, level: int, first: int, hashes: bytes) -> None:
        """Write hashes to their place."""
        while level >= len(self._levels):
            self._levels.append(bytearray())
        at = first * HASH_BYTES
        self._levels[level][at : at + len(hashes)] = hashes

    def read(self, level: int, first: int, last: int) -> bytes:
        """Return the hashes `first` to `last` (not included) of a level."""
        return bytes(self._levels[level][first * HASH_BYTES : last * HASH_BYTES])


class _WaitsError(Exception):
    """The tree's thread would wait here."""


class _Work:
    """The event that the tree's thread waits by."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._is_set = False

    def set(self) -> None:
        """Wake the thread."""
        if not self._is_set:
            self._is_set = True
            self._wake()

    def clear(self) -> None:
        """Take note that it was woken."""
        self._is_set = False

    def wait(self) -> None:
        """Return if it is set; else leave."""
        if not self._is_set:
            raise _WaitsError


class SimulatedTree(Tree):
    """The tree, grown from the loop."""

    def __init__(self, loop: SimulatedLoop, disk: Disk, base: int) -> None:
        def read_leaves(after: int, limit: int) -> list[bytes]:
            return [event.leaf for event in disk.ledger.events[after : after + limit]]

        super().__init__(cast("Levels", MemoryLevels()), read_leaves, base)
        self._simulated = loop
        self._work = cast("Any", _Work(self._plan))
        self._thread = cast("Any", self)

    def start(self) -> None:
        """Begin to build."""
        self._plan()

    def join(self) -> None:
        """End the thread: grow by what was handed over."""
        self._go_on()

    def _plan(self) -> None:
        self._simulated.call_soon(self._go_on)

    def _go_on(self) -> None:
        with suppress(_WaitsError):
            self._run()


@asynccontextmanager
async def open_proofs(
    loop: SimulatedLoop, store: SimulatedStore, ids: IdSource, note: MemoryFile
) -> AsyncGenerator[Proofs]:
    """Build the tree and sign checkpoints while the context lasts, as a service does."""
    tree = SimulatedTree(loop, store.disk, store.head)
    leave_tree = store.subscribe(tree.take)
    tree.start()
    checkpoints = Checkpoints(
        store, tree, ids, "simulated", [KEY], cast("Any", note), 0, INTERVAL_SECONDS
    )
    leave = store.subscribe(checkpoints.hear)
    signing = asyncio.create_task(checkpoints.run())
    try:
        yield Proofs(store, tree, checkpoints, NOWHERE)
    finally:
        leave()
        signing.cancel()
        with suppress(asyncio.CancelledError):
            await signing
        if checkpoints.state != "refused":
            with suppress(JournalError, OSError):
                await checkpoints.sign()
        checkpoints.close()
        leave_tree()
        await tree.stop()
