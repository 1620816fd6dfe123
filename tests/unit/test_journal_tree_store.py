"""The tree beside a journal: it follows, survives restarts, and never believes its own files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from refold.journal import merkle, tree_store
from refold.journal.errors import StoreClosedError, StoreFailedError
from refold.journal.sqlite_store import SqliteJournal
from refold.journal.tree_store import TREE_DIRECTORY, Tree, TreeRangeError, open_tree
from tests.support.evidence_kit import root_of
from tests.support.journal_kit import commit, opened, started, write


@asynccontextmanager
async def trees(directory: Path) -> AsyncGenerator[tuple[SqliteJournal, Tree]]:
    """Open a journal and its tree."""
    async with opened(directory) as journal, open_tree(directory, journal) as tree:
        yield journal, tree


async def fill(journal: SqliteJournal, runs: int, first: int = 0) -> None:
    """Append runs of two events."""
    await asyncio.gather(
        *(
            journal.append(commit(write(f"fl_run_{number}", 0, started(), started())))
            for number in range(first, first + runs)
        )
    )


async def leaves(journal: SqliteJournal) -> list[bytes]:
    """Read all leaves of a journal."""
    return [event.leaf for event in await journal.read_all(0, 10_000)]


def play(directory: Path, scenario: Callable[[SqliteJournal, Tree], Awaitable[None]]) -> None:
    """Run a scenario."""

    async def run() -> None:
        async with trees(directory) as (journal, tree):
            await scenario(journal, tree)

    asyncio.run(run())


def test_the_tree_is_that_over_the_journal_s_leaves(tmp_path: Path) -> None:
    """At its newest size and at every earlier one."""

    async def scenario(journal: SqliteJournal, tree: Tree) -> None:
        await fill(journal, 300)
        await tree.integrated(journal.head)
        found = await leaves(journal)
        assert tree.size == journal.head == len(found)
        for size in (0, 1, 2, 255, 256, 257, tree.size):
            assert tree.root(size) == root_of(found[:size])
        assert tree.root() == tree.root(tree.size)
        assert tree.tile(0, 1) == b"".join(found[256:512])
        assert tree.tile(0, 0, 7) == b"".join(found[:7])
        assert tree.tile(1, 0, 2) == root_of(found[:256]) + root_of(found[256:512])

    play(tmp_path, scenario)


def test_a_new_event_is_in_the_tree_within_its_lag_without_being_asked_for(tmp_path: Path) -> None:
    """Nobody waits here; the tree wakes by itself."""

    async def scenario(journal: SqliteJournal, tree: Tree) -> None:
        await tree.integrated(journal.head)
        await fill(journal, 1)
        reached = asyncio.get_running_loop().create_future()
        # Like `integrated`, but without telling the tree to hurry.
        tree._waiting.append((journal.head, reached))  # pyright: ignore[reportPrivateUsage]
        assert tree.size < journal.head
        await asyncio.wait_for(reached, 30)
        assert tree.size == journal.head

    play(tmp_path, scenario)


def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Proofs across the restart included."""
    roots: list[bytes] = []

    async def first(journal: SqliteJournal, tree: Tree) -> None:
        await fill(journal, 200)
        await tree.integrated(journal.head)
        roots.append(tree.root())

    async def second(journal: SqliteJournal, tree: Tree) -> None:
        before = journal.head
        await fill(journal, 200, 200)
        await tree.integrated(journal.head)
        assert tree.root(before) == roots[0]
        proof = tree.consistency(before, tree.size)
        assert merkle.is_consistent(before, roots[0], tree.size, tree.root(), proof)

    play(tmp_path, first)
    play(tmp_path, second)


@pytest.mark.parametrize("damage", ["garbage", "cut", "gone", "longer"])
def test_its_files_are_made_again_from_the_journal(tmp_path: Path, damage: str) -> None:
    """They are a cache: whatever stands in them, the journal decides."""

    async def first(journal: SqliteJournal, tree: Tree) -> None:
        await fill(journal, 200)

    async def second(journal: SqliteJournal, tree: Tree) -> None:
        await tree.integrated(journal.head)
        found = await leaves(journal)
        assert tree.root() == root_of(found)
        assert (tmp_path / TREE_DIRECTORY / "level-0").read_bytes()[: 32 * len(found)] == b"".join(
            found
        )

    play(tmp_path, first)
    for file in (tmp_path / TREE_DIRECTORY).iterdir():
        data = file.read_bytes()
        if damage == "gone":
            file.unlink()
        else:
            changes = {"garbage": data[::-1], "cut": data[:33], "longer": data + b"x" * 77}
            file.write_bytes(changes[damage])
    play(tmp_path, second)


def test_a_file_that_changes_under_the_tree_gives_no_wrong_proof(tmp_path: Path) -> None:
    """What does not lead to the root is not handed out."""

    async def scenario(journal: SqliteJournal, tree: Tree) -> None:
        await fill(journal, 20)
        await tree.integrated(journal.head)
        size, root = tree.size, tree.root()
        path = tmp_path / TREE_DIRECTORY / "level-0"
        data = bytearray(path.read_bytes())
        data[32 * 8] ^= 1
        with path.open("r+b") as file:
            file.write(data)
        assert tree.root(size) == root
        with pytest.raises(StoreFailedError, match="contradict"):
            tree.inclusion(0, size)
        with pytest.raises(StoreFailedError, match="contradict"):
            tree.consistency(5, size)

    play(tmp_path, scenario)


def test_what_the_tree_does_not_have_is_refused(tmp_path: Path) -> None:
    """Every number comes from outside."""

    async def scenario(journal: SqliteJournal, tree: Tree) -> None:
        await fill(journal, 5)
        await tree.integrated(journal.head)
        size = tree.size
        for ask in (
            lambda: tree.root(size + 1),
            lambda: tree.root(-1),
            lambda: tree.leaf(size),
            lambda: tree.leaf(-1),
            lambda: tree.inclusion(size, size),
            lambda: tree.inclusion(3, 3),
            lambda: tree.inclusion(-1, 3),
            lambda: tree.inclusion(1, size + 1),
            lambda: tree.consistency(4, 3),
            lambda: tree.consistency(-1, 3),
            lambda: tree.consistency(3, size + 1),
            lambda: tree.joint([2, 9], 9),
            lambda: tree.joint([2], 3, 4),
            lambda: tree.tile(0, 0, size + 1),
            lambda: tree.tile(0, 0, 0),
            lambda: tree.tile(0, 0, 257),
            lambda: tree.tile(0, 1, 1),
            lambda: tree.tile(1, 0, 1),
            lambda: tree.tile(-1, 0, 1),
            lambda: tree.tile(64, 0, 1),
            lambda: tree.tile(0, -1, 1),
            lambda: tree.tile(0, 1 << 80, 1),
        ):
            with pytest.raises(TreeRangeError):
                ask()

    play(tmp_path, scenario)


def test_closing_finishes_what_was_committed_and_answers_who_waits(tmp_path: Path) -> None:
    """Nobody may hang at a shutdown."""

    async def run() -> None:
        async with opened(tmp_path) as journal:
            async with open_tree(tmp_path, journal) as tree:
                await tree.integrated(journal.head)
                late = asyncio.ensure_future(tree.integrated(journal.head + 1000))
                await fill(journal, 50)
            assert tree.size == journal.head
            with pytest.raises(StoreClosedError):
                await late
            with pytest.raises(StoreClosedError):
                await tree.integrated(journal.head + 1)

    asyncio.run(run())


def test_a_disk_that_refuses_tiles_stops_the_tree_until_it_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal goes on, who asks is told why, and no restart is needed afterwards."""
    monkeypatch.setattr(tree_store, "RETRY_SECONDS", 0.01)

    async def scenario(journal: SqliteJournal, tree: Tree) -> None:
        await tree.integrated(journal.head)
        tree._levels.close()  # pyright: ignore[reportPrivateUsage]
        tree._levels._directory = tmp_path / "later"  # pyright: ignore[reportPrivateUsage]
        await fill(journal, 5)
        with pytest.raises(StoreFailedError, match="could not grow"):
            await tree.integrated(journal.head)
        await fill(journal, 300, 5)
        assert journal.is_writable
        (tmp_path / "tree").rename(tmp_path / "later")
        async with asyncio.timeout(30):
            while tree.failure is not None:  # noqa: ASYNC110 (it has no event to set)
                await asyncio.sleep(0.005)
        await tree.integrated(journal.head)
        assert tree.root() == root_of(await leaves(journal))

    play(tmp_path, scenario)


def test_a_tree_is_closed_while_the_disk_refuses_it(tmp_path: Path) -> None:
    """A stop does not wait for the disk, and tells of no leaf that the files lack."""

    async def run() -> None:
        async with trees(tmp_path) as (journal, tree):
            await fill(journal, 5)
            await tree.integrated(journal.head)
            size, directory = tree.size, tmp_path / "nowhere"
            tree._levels.close()  # pyright: ignore[reportPrivateUsage]
            tree._levels._directory = directory  # pyright: ignore[reportPrivateUsage]
            await fill(journal, 5, 5)
            with pytest.raises(StoreFailedError, match="could not grow"):
                await tree.integrated(journal.head)
        assert tree.size == size

    asyncio.run(run())


def test_what_is_signed_was_hashed_and_not_read_back(tmp_path: Path) -> None:
    """After a failed write a file may hold old bytes: the newest root does not depend on it."""

    async def scenario(journal: SqliteJournal, tree: Tree) -> None:
        await fill(journal, 300)
        await tree.integrated(journal.head)
        level = tmp_path / "tree" / "level-0"
        level.write_bytes(bytes(level.stat().st_size))
        assert tree.root() == root_of(await leaves(journal))

    play(tmp_path, scenario)


def test_proofs_in_a_tree_of_a_million_leaves_take_milliseconds(tmp_path: Path) -> None:
    """CPU time, the median of many: the machine may be busy."""

    async def run() -> None:
        size = 1_000_000
        block = [sha256(bytes([number % 256, number // 256])).digest() for number in range(2048)]

        def read_leaves(after: int, limit: int) -> list[bytes]:
            return (block * 2)[after % 2048 :][: min(limit, size - after)]

        async with opened(tmp_path) as journal:
            journal._head = size  # pyright: ignore[reportPrivateUsage]
            async with open_tree(tmp_path, journal, read_leaves=read_leaves) as tree:
                await tree.integrated(size)
                taken = list[float]()
                for index in range(0, size, size // 100):
                    before = time.process_time()
                    tree.inclusion(index, size)
                    tree.consistency(index + 1, size)
                    taken.append((time.process_time() - before) / 2)
        assert sorted(taken)[50] < 0.005

    asyncio.run(run())
