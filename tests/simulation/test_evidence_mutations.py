"""No changed evidence is accepted: random mutations of bundles and of the journal's file.

A bundle is one exact sequence of bytes, so any other is refused. A database file has bytes that
mean nothing (free space) and columns that no hash covers; there an oracle reads the rows and tells
which mutants still say the same. And the harness is proved: bugs are planted in the verifier, one
at a time, and it must catch each.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from refold.journal import verifier
from tests.support.evidence_kit import loaded, make_evidence
from tests.support.forgeries import LONE, SIGNED, forge
from tests.support.mutations import BundleMutants, change_rows, changed

MUTATIONS = {"dev": 500, "ci": 5_000, "full": 100_000}
PLANTED_TRIES = 600
VALID = (verifier.VALID, verifier.ERASED)
CODES = (*VALID, verifier.INCOMPLETE, verifier.DIVERGED, verifier.INVALID)
DUMPS = (
    "SELECT position, stream, version, at, entry, leaf, body_at FROM event ORDER BY position",
    "SELECT position FROM event ORDER BY stream, version",
    # Of an erased body nothing is left: zeros of any length, or no row, say the same.
    "SELECT position, salt, data FROM body WHERE trim(hex(salt) || hex(data), '0') <> '' "
    "OR position NOT IN (SELECT position FROM erasure) ORDER BY position",
    "SELECT position, by_position FROM erasure ORDER BY position",
    "SELECT id FROM journal",
)
"""What hashes cover, by the tables and by the index, which may be damaged apart."""
OUTSIDE = (
    "SELECT position, length(salt), length(data), subject FROM body ORDER BY position",
    "SELECT one, format, created_at FROM journal",
    "SELECT * FROM request ORDER BY 1, 2",
    "SELECT * FROM hold ORDER BY 1, 2",
    "SELECT * FROM sqlite_master ORDER BY name",
)
"""What journal/README.md says that no verifier looks at."""


class World:
    """Two journals of one kind, a place for mutants, and who may judge them."""

    def __init__(self, directory: Path) -> None:
        self.mine = make_evidence(directory / "mine")
        self.other = make_evidence(directory / "other")
        self.early = directory / "early.note"
        self.early.write_bytes(self.mine.early)
        self.bundles = BundleMutants(self.mine, self.other)
        self.bundle_file = directory / "mutant.zip"
        self.journal_file = directory / "mutant" / "journal.db"
        self.journal_file.parent.mkdir()
        for name in (verifier.NOTE, verifier.PUBLIC):
            shutil.copy(self.mine.directory / name, self.journal_file.parent / name)
        self.dump = dump(self.mine.file, DUMPS)
        self.outside = dump(self.mine.file, OUTSIDE)
        self.found = Counter[str]()
        """What became of the mutants: `refused with` a code, or why an acceptance was right."""

    def bundle_is_accepted(self, judge: Any, bundle: bytes) -> bool:
        """Let a verifier judge a bundle, by the published key and an earlier checkpoint."""
        self.bundle_file.write_bytes(bundle)
        code = self._judged(judge, self.bundle_file, [self.mine.public_key], [str(self.early)])
        if code in VALID and bundle == self.mine.bundle:
            self.found["the same bytes"] += 1
        return code in VALID and bundle != self.mine.bundle

    def journal_is_accepted(self, judge: Any, is_alone: bool = False) -> bool:
        """Let a verifier judge the mutant journal: with its checkpoint, or the file alone."""
        where = self.journal_file if is_alone else self.journal_file.parent
        code = self._judged(judge, where, [] if is_alone else [self.mine.public_key], [])
        if code not in VALID:
            return False
        if dump(self.journal_file, DUMPS) != self.dump:
            return True
        is_same = dump(self.journal_file, OUTSIDE) == self.outside
        self.found["the same rows" if is_same else "the same but for what no hash covers"] += 1
        return False

    def _judged(self, judge: Any, *asked: Any) -> int:
        code, sentence, _, _ = judge.verify(*asked)
        assert code in CODES
        assert len(sentence.splitlines()) == 1
        assert sentence.endswith(".")
        assert sentence.startswith("Valid") == (code in VALID)
        if code not in VALID:
            self.found[f"refused with {code}"] += 1
        return int(code)

    def told(self) -> str:
        """Say what became of the mutants since it was last asked."""
        found, self.found = self.found, Counter[str]()
        return ", ".join(f"{what}: {count}" for what, count in sorted(found.items()))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make it once; every test only reads the originals."""
    return World(tmp_path_factory.mktemp("evidence"))


def dump(file: Path, statements: tuple[str, ...]) -> list[list[Any]] | None:
    """Read what a journal says; None if it can't be read."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements]
    except (sqlite3.Error, UnicodeDecodeError, OverflowError):
        return None


def try_bundles(world: World, judge: Any, dice: random.Random, count: int) -> int:
    """Count the mutants of a bundle that a verifier accepts."""
    return sum(world.bundle_is_accepted(judge, world.bundles.draw(dice)) for _ in range(count))


def try_files(world: World, judge: Any, dice: random.Random, count: int) -> int:
    """Count the mutants of the journal's file that a verifier accepts, changed byte by byte."""
    original, accepted = world.mine.file.read_bytes(), 0
    for _ in range(count):
        world.journal_file.write_bytes(changed(original, dice))
        accepted += world.journal_is_accepted(judge)
    return accepted


def try_rows(world: World, judge: Any, dice: random.Random, count: int) -> int:
    """Count the mutants that a verifier accepts, changed as a person with the file changes it."""
    accepted = 0
    with closing(sqlite3.connect(world.other.file)) as alien:
        for _ in range(count):
            shutil.copy(world.mine.file, world.journal_file)
            # Where the file's own constraints refuse a change, there is a mutant less.
            with contextlib.suppress(sqlite3.Error):
                forge(world.journal_file, lambda mine: change_rows(mine, alien, dice))
            accepted += world.journal_is_accepted(judge)
    return accepted


def try_forgeries(world: World, judge: Any) -> list[str]:
    """Name the forgeries by hand that a verifier accepts."""
    accepted = list[str]()
    for name, change in (LONE | SIGNED).items():
        shutil.copy(world.mine.file, world.journal_file)
        forge(world.journal_file, change)
        if world.journal_is_accepted(judge, is_alone=name in LONE):
            accepted.append(name)
    return accepted


def count() -> int:
    """How many mutations this profile wants: half of bundles, a quarter of each other kind."""
    return MUTATIONS[os.environ["REFOLD_TEST_PROFILE"]] // 4


def test_the_originals_are_valid(world: World) -> None:
    """Else a harness that refuses everything would pass."""
    assert not world.bundle_is_accepted(verifier, world.mine.bundle)
    found = verifier.verify(world.bundle_file, [world.mine.public_key], [str(world.early)])
    assert (found[0], found[2], found[3]) == (verifier.ERASED, 2, [5])
    found = verifier.verify(world.mine.directory, [world.mine.public_key])
    assert (found[0], found[2], found[3]) == (verifier.ERASED, 1, [5])
    assert None not in (world.dump, world.outside)


@pytest.mark.timeout(3600)
def test_no_mutant_of_a_bundle_is_accepted(world: World, seed: int) -> None:
    """Bytes, frames, keys twice, numbers and paths too large, other roots, sizes and signatures."""
    world.told()
    accepted = try_bundles(world, verifier, random.Random(seed), 2 * count())
    print(f"seed {seed}: {world.told()}")
    assert accepted == 0


@pytest.mark.timeout(3600)
def test_no_mutant_of_the_file_that_says_something_else_is_accepted(
    world: World, seed: int
) -> None:
    """Bytes of the database file, pages of every kind among them."""
    world.told()
    accepted = try_files(world, verifier, random.Random(seed), count())
    print(f"seed {seed}: {world.told()}")
    assert accepted == 0


@pytest.mark.timeout(3600)
def test_no_mutant_of_the_rows_is_accepted(world: World, seed: int) -> None:
    """Cells, rows, rows of another journal, entries with every later hash mended."""
    world.told()
    accepted = try_rows(world, verifier, random.Random(seed), count())
    print(f"seed {seed}: {world.told()}")
    assert accepted == 0


def test_no_forgery_by_hand_is_accepted(world: World) -> None:
    """What SQL can do to a journal, leaves mended where it helps the forger."""
    assert try_forgeries(world, verifier) == []


BUGS: dict[str, tuple[str, str]] = {
    "bodies are not hashed": ("demand(hashed == payload,", "demand(hashed,"),
    "signatures are not verified": (
        "Ed25519PublicKey.from_public_bytes(raw).verify(data[12 if head else 4 :], head + text)",
        "str(head)",
    ),
    "any name may sign": ("known = (found[2], 1) in good and", "known ="),
    "prev is not compared": ("(number, prev) == (before + 1, head)", "number == before + 1"),
    "time may go back": ("same = time >= self.at and", "same ="),
    "erasures say what they like": ("demand(gone == told,", "demand(told,"),
    "a body may just be called erased": ("demand((fits and not chain.gone)", "demand(fits"),
    "rows are not compared": ("demand(same, size,", "demand(True, size,"),
    "sources are not compared": (
        'demand(same, place, "was not replayed',
        'demand(True, place, "was not replayed',
    ),
    "facts may stand twice": (
        "demand(all(map(bytes.__lt__,",
        "demand([True] or all(map(bytes.__lt__,",
    ),
    "roots are not compared": ("demand(roots.get(size) == root,", "demand(size in roots,"),
    "the front is not compared": (
        "demand((root, front.hex()) == (signed, proof[3]),",
        "demand(root == signed,",
    ),
    "hashes may be left over": ("demand(not rest,", "demand([rest],"),
    "numbers have no end": ("{_BIG}|{SIZE_MAX})", "[1-9][0-9]{{15,20}})"),
    "the container is not compared": ("demand(raw == data + directory + end,", "demand(files,"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_that_is_planted_in_the_verifier_is_caught(
    bug: str, world: World, seed: int, tmp_path: Path
) -> None:
    """A harness that a broken verifier passes would prove nothing."""
    source = Path(verifier.__file__).read_text(encoding="utf-8")
    right, wrong = BUGS[bug]
    assert source.count(right) == 1, right
    broken: ModuleType = loaded(source.replace(right, wrong), tmp_path / "broken_verifier.py")
    dice = random.Random(seed)
    judges: tuple[Callable[[], object], ...] = (
        lambda: try_forgeries(world, broken),
        lambda: try_bundles(world, broken, dice, PLANTED_TRIES),
        lambda: try_rows(world, broken, dice, PLANTED_TRIES),
    )
    assert any(judge() for judge in judges)
