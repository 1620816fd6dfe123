"""The tree over the whole journal: grows after each commit, keeps its tiles in files.

The tiles stand in `tree/` beside the journal, one file a level. They are a cache and never
believed: at a start the tree is built again from the leaves in the journal, and what the files
hold is overwritten where it differs. Until a position is reached, `integrated` waits for it.

One thread does the hashing, for many commits at a time; the writer never waits for it. What the
disk refuses it tries again every second, and says meanwhile why it stands still.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from . import merkle
from .envelope import Recorded
from .errors import JournalError, StoreClosedError, StoreFailedError
from .journal import Journal
from .merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, Frontier
from .sqlite_file import JOURNAL_FILE, open_reader, translated

TREE_DIRECTORY: Final = "tree"
LEVEL_MAX: Final = 63
LAG_SECONDS: Final = 0.2
"""How long new leaves wait for others; more than this and the time to hash them they never do."""
_SLICE: Final = 2048
_PAUSE_SECONDS: Final = 0.002
"""Between two slices at a start, so that the build leaves room for everything else."""
RETRY_SECONDS: Final = 1.0
"""How long after a refusal of the disk it is asked again."""
_LEAVES: Final = "SELECT leaf FROM event WHERE position > ? ORDER BY position LIMIT ?"
_ROOTS_CACHED: Final = 256

_T = TypeVar("_T")
ReadLeaves = Callable[[int, int], list[bytes]]
"""Returns the leaves after a position, at most so many."""


class TreeRangeError(JournalError):
    """A proof, root or tile was asked for that the tree does not have."""

    code = "tree_range"


class _GivenUpError(Exception):
    """The tree is closed while the disk refuses."""


class Levels:
    """The files of the tile levels. Written by one thread; what is below the size never changes."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self._directory = directory
        self._handles: list[int] = []

    def put(self, level: int, first: int, hashes: bytes) -> None:
        """Write hashes to their place, unless they stand there already."""
        while level >= len(self._handles):
            path = self._directory / f"level-{len(self._handles)}"
            self._handles.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        handle, at = self._handles[level], first * HASH_BYTES
        if os.pread(handle, len(hashes), at) != hashes:
            written = os.pwrite(handle, hashes, at)
            if written != len(hashes):
                raise OSError(f"only {written} of {len(hashes)} bytes were written")

    def read(self, level: int, first: int, last: int) -> bytes:
        """Return the hashes `first` to `last` (not included) of a level.

        Raises:
            StoreFailedError: they can't be read.
        """
        wanted = (last - first) * HASH_BYTES
        try:
            found = os.pread(self._handles[level], wanted, first * HASH_BYTES)
        except OSError as error:
            raise StoreFailedError(f"the tree could not be read: {error.strerror}") from error
        if len(found) != wanted:
            raise StoreFailedError("the tree could not be read: its files were cut")
        return found

    def close(self) -> None:
        """Let go of the files."""
        while self._handles:
            os.close(self._handles.pop())


class Tree:
    """The tree as far as it is built. Made by `open_tree`; all methods on the loop's thread."""

    def __init__(self, levels: Levels, read_leaves: ReadLeaves, base: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._levels = levels
        self._read_leaves = read_leaves
        self._base = base
        self._frontier = Frontier()
        self._size = 0
        self._pending: deque[bytes] = deque()
        self._work = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._closing = False
        self._leaving = threading.Event()
        self._written = 0, merkle.EMPTY_ROOT
        """How many leaves the files hold, which may be fewer than the frontier has seen; the root.

        The root is of what the thread has hashed: what is signed depends on no file.
        """
        self._roots: OrderedDict[int, bytes] = OrderedDict()
        """Of the sizes that were reached or asked for lately."""
        self._failure: StoreFailedError | None = None
        self._thread = threading.Thread(target=self._run, name="refold-tree", daemon=True)

    @property
    def size(self) -> int:
        """How many leaves are in the tree: the newest position that it holds."""
        return self._size

    @property
    def failure(self) -> StoreFailedError | None:
        """Why the tree stands still, if it does; it goes on by itself when the disk lets it."""
        return self._failure

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` leaves, over all by default.

        Raises:
            TreeRangeError: it has fewer leaves.
        """
        wanted = self._size if size is None else size
        self._need(wanted)
        return self._root(wanted)

    def leaf(self, index: int) -> bytes:
        """Return a leaf, by its index from 0."""
        self._need(index + 1, 1)
        return self._levels.read(0, index, index + 1)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Prove that a leaf is in the tree of a size: its siblings on the way up.

        Raises:
            TreeRangeError: there is no such tree yet, or no such leaf in it.
            StoreFailedError: the tiles on disk contradict each other.
        """
        self._need(index + 1, 1)
        self._need(size, index + 1)
        proof = merkle.inclusion_proof(self._levels.read, index, size)
        if not merkle.is_included(self.leaf(index), index, size, proof, self._root(size)):
            raise _damaged()
        return proof

    def consistency(self, first: int, second: int) -> list[bytes]:
        """Prove that the tree of the first size is the front of that of the second.

        Raises:
            TreeRangeError: there are no such trees yet, or they stand the other way round.
            StoreFailedError: the tiles on disk contradict each other.
        """
        self._need(first)
        self._need(second, first)
        proof = merkle.consistency_proof(self._levels.read, first, second)
        if not merkle.is_consistent(first, self._root(first), second, self._root(second), proof):
            raise _damaged()
        return proof

    def joint(self, indexes: Sequence[int], size: int, cut: int = 0) -> list[bytes]:
        """Prove many leaves at once (`merkle.joint_proof`); the indexes ascend. Any thread."""
        self._need(size, max(cut, indexes[-1] + 1 if indexes else 0))
        return merkle.joint_proof(self._levels.read, indexes, size, cut)

    def tile(self, level: int, n: int, width: int = TILE_WIDTH) -> bytes:
        """Return the first `width` hashes of a tile, as C2SP tlog-tiles has them.

        Raises:
            TreeRangeError: there is no such tile yet.
        """
        there = 0
        if 0 <= level <= LEVEL_MAX and 0 <= n <= merkle.SIZE_MAX:
            there = (self._size >> (level * TILE_HEIGHT)) - n * TILE_WIDTH
        if not 1 <= width <= TILE_WIDTH or there < width:
            raise TreeRangeError(f"the tree has no tile {n} of width {width} at level {level}")
        return self._levels.read(level, n * TILE_WIDTH, n * TILE_WIDTH + width)

    async def integrated(self, position: int) -> None:
        """Wait until the event at a position is in the tree.

        Raises:
            StoreClosedError: the tree was closed before.
            StoreFailedError: the tree's files can't be written at the moment.
        """
        if position <= self._size:
            return
        self._refuse_stopped()
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((position, future))
        # Whoever waits has a reader who waits, so the batch goes now.
        self._work.set()
        await future

    def take(self, events: Sequence[Recorded]) -> None:
        """Hear of new events: the subscriber."""
        self._pending.extend(event.leaf for event in events)
        if self._timer is None and not self._closing:
            self._timer = self._loop.call_later(LAG_SECONDS, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._work.set()

    def _need(self, size: int, least: int = 0) -> None:
        if not least <= size <= self._size:
            raise TreeRangeError(
                f"the tree has {self._size} leaves; {size} is outside of what was asked of it"
            )

    def _root(self, size: int) -> bytes:
        known = self._roots.get(size)
        return known or self._remember(size, merkle.tree_root(self._levels.read, size))

    def _remember(self, size: int, root: bytes) -> bytes:
        self._roots[size] = root
        if len(self._roots) > _ROOTS_CACHED:
            self._roots.popitem(last=False)
        return root

    def _refuse_stopped(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise StoreClosedError("the tree is closed")

    def start(self) -> None:
        """Begin to build."""
        self._thread.start()

    async def stop(self) -> None:
        """Finish what was handed over, then end the thread; a build at a start is given up."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._leaving.set()
        self._work.set()
        stopped = asyncio.ensure_future(asyncio.to_thread(self._thread.join))
        try:
            await asyncio.shield(stopped)
        except asyncio.CancelledError:
            self._thread.join()
            raise
        finally:
            # What the thread sent last is still in the loop's queue.
            self._publish(self._written)
            for _, future in self._waiting:
                if not future.done():
                    future.set_exception(StoreClosedError("the tree is closed"))

    def _publish(self, written: tuple[int, bytes]) -> None:
        size = self._size = written[0]
        self._remember(*written)
        still: list[tuple[int, asyncio.Future[None]]] = []
        for position, future in self._waiting:
            if position <= size and not future.done():
                future.set_result(None)
            elif not future.done():
                still.append((position, future))
        self._waiting = still

    def _stand(self, failure: StoreFailedError | None) -> None:
        """Stand still for a reason, or (None) go on."""
        self._failure = failure
        if failure is None:
            return
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(failure)
        self._waiting = []

    def _run(self) -> None:
        """Build what was there at the start, then take what comes."""
        with suppress(_GivenUpError):
            while self._frontier.size < self._base and not self._closing:
                self._grow(self._insist(self._read_more))
                time.sleep(_PAUSE_SECONDS)
            while self._frontier.size >= self._base:
                self._work.wait()
                self._work.clear()
                closing_now = self._closing
                while self._pending:
                    count = min(len(self._pending), _SLICE)
                    self._grow([self._pending.popleft() for _ in range(count)])
                if closing_now:
                    return

    def _read_more(self) -> list[bytes]:
        count = min(_SLICE, self._base - self._frontier.size)
        leaves = self._read_leaves(self._frontier.size, count)
        if not leaves:
            raise StoreFailedError("the journal has fewer events than it had")
        return leaves

    def _grow(self, leaves: list[bytes]) -> None:
        for change in self._frontier.append(b"".join(leaves)):
            self._insist(partial(self._levels.put, *change))
        self._written = self._frontier.size, self._frontier.root()
        self._tell(self._publish, self._written)

    def _insist(self, step: Callable[[], _T]) -> _T:
        """Do a step, again and again while the disk refuses it.

        Raises:
            _GivenUpError: the tree is closed meanwhile.
        """
        is_told = False
        while True:
            try:
                done = step()
            except (OSError, sqlite3.Error, JournalError) as error:
                failure = StoreFailedError(f"the tree could not grow: {error}")
            else:
                if is_told:
                    self._tell(self._stand, None)
                return done
            self._tell(self._stand, failure)
            is_told = True
            if self._leaving.wait(RETRY_SECONDS):
                raise _GivenUpError from failure

    def _tell(self, function: Callable[..., None], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:
            # The loop was closed under the tree: nobody is left to be told.
            return


def _damaged() -> StoreFailedError:
    return StoreFailedError(
        f"the files in {TREE_DIRECTORY}/ contradict each other; a restart makes them again"
    )


@asynccontextmanager
async def open_tree(
    data_dir: Path, journal: Journal, *, read_leaves: ReadLeaves | None = None
) -> AsyncGenerator[Tree]:
    """Keep the tree of a journal that this process has open, while the context lasts.

    `read_leaves` is called on the tree's thread; by default it reads the journal's file.

    Raises:
        StoreFailedError: the directory of the tiles can't be written.
    """
    directory = data_dir / TREE_DIRECTORY
    with translated(directory):
        levels = Levels(directory)
    with closing(levels), closing(_LeafFile(data_dir / JOURNAL_FILE)) as file:
        # Subscribed in the same step as the head is read, so that no event falls between.
        tree = Tree(levels, read_leaves or file.read, journal.head)
        unsubscribe = journal.subscribe(tree.take)
        tree.start()
        try:
            yield tree
        finally:
            unsubscribe()
            await tree.stop()


class _LeafFile:
    """Reads leaves from the journal's file, opening it at the first call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def read(self, after: int, limit: int) -> list[bytes]:
        """Return the leaves after a position."""
        if self._connection is None:
            self._connection = open_reader(self._path)
        return [row[0] for row in self._connection.execute(_LEAVES, (after, limit))]

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
