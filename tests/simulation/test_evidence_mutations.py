"""No changed evidence is accepted: random mutations of bundles and of the journal's file.

A bundle is one exact sequence of bytes, so any other is refused. A database file has bytes that
mean nothing (free space); there a mutation counts if it changed what the journal says. And the
harness is proved: ten bugs are planted in the verifier, one at a time, and it must catch each.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from refold.journal import verifier
from refold.journal.checkpoint_keys import public_key, sign_note
from tests.support.evidence_kit import Evidence, loaded, make_evidence
from tests.support.forgeries import LONE, SIGNED, forge

MUTATIONS = {"dev": 500, "ci": 5_000, "full": 100_000}
PLANTED_TRIES = 300
VALID = (verifier.VALID, verifier.ERASED)
DUMPS = (
    "SELECT position, stream, version, at, entry, leaf, body_at FROM event ORDER BY position",
    "SELECT position FROM event ORDER BY stream, version",
    "SELECT position, salt, data FROM body ORDER BY position",
    "SELECT position, by_position FROM erasure ORDER BY position",
    "SELECT id FROM journal",
)
FRAME = re.compile(rb"(\d+) (\d+) (?:([0-9a-f]{64}) (\d+)|erased \d+|none)\n.*\n")
EVIDENCE_FILES = ("checkpoint.note", "evidence.txt", "proof.txt")


class World:
    """Two journals of one kind, a place for mutants, and who may judge them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mine = make_evidence(directory / "mine")
        self.other = make_evidence(directory / "other")
        self.early = directory / "early.note"
        self.early.write_bytes(self.mine.early)
        self.bundle_file = directory / "mutant.zip"
        self.journal_file = directory / "mutant" / "journal.db"
        self.journal_file.parent.mkdir()
        for name in (verifier.NOTE, verifier.PUBLIC):
            shutil.copy(self.mine.directory / name, self.journal_file.parent / name)
        self.dump = dump(self.mine.file)

    def bundle_is_accepted(self, judge: Any, bundle: bytes) -> bool:
        """Let a verifier judge a bundle, by the published key and an earlier checkpoint."""
        self.bundle_file.write_bytes(bundle)
        found = judge.verify(self.bundle_file, [self.mine.public_key], [str(self.early)])
        assert found[0] in (0, 10, 20, 30, 40)
        assert len(found[1].splitlines()) == 1
        return found[0] in VALID and bundle != self.mine.bundle

    def journal_is_accepted(self, judge: Any, is_alone: bool = False) -> bool:
        """Let a verifier judge the mutant journal: with its checkpoint, or the file alone."""
        where = self.journal_file if is_alone else self.journal_file.parent
        found = judge.verify(where, [] if is_alone else [self.mine.public_key])
        assert found[0] in (0, 10, 20, 30, 40)
        assert len(found[1].splitlines()) == 1
        return found[0] in VALID and dump(self.journal_file) != self.dump


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make it once; every test only reads the originals."""
    return World(tmp_path_factory.mktemp("evidence"))


def dump(file: Path) -> list[list[Any]] | None:
    """Read what a journal says, by its tables and by its index; None if it can't be read."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
            return [connection.execute(statement).fetchall() for statement in DUMPS]
    except (sqlite3.Error, UnicodeDecodeError, OverflowError):
        return None


def changed(data: bytes, dice: random.Random) -> bytes:
    """Change bytes somewhere: a byte, a bit, an insertion, a deletion, an exchange, a cut."""
    at, length = dice.randrange(len(data)), dice.choice((1, 1, 2, 7, 64))
    kind = dice.randrange(7)
    if kind == 0:
        return data[:at] + dice.randbytes(1) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + dice.randbytes(length) + data[at:]
    if kind == 3:
        return data[:at] + data[at + length :]
    if kind == 4:
        two = dice.randrange(len(data))
        first, second = sorted((at, two))
        a, b = data[first : first + length], data[second : second + length]
        rest = data[first + length : second], data[second + length :]
        return data[:first] + b + rest[0] + a + rest[1]
    if kind == 5:
        return data[:at]
    return data[:at] + data[at : at + length] * 2 + data[at + length :]


def frames(evidence: bytes) -> list[bytes]:
    """Part the evidence of a bundle into its frames."""
    found, at = list[bytes](), 0
    while at < len(evidence):
        frame = FRAME.match(evidence, at)
        assert frame is not None
        end = frame.end() + (int(frame[4]) + 1 if frame[3] else 0)
        found.append(evidence[at:end])
        at = end
    return found


def mutant_bundle(world: World, dice: random.Random) -> bytes:
    """Change a bundle as a whole, or inside and packed again as if it had been made so."""
    mine, other = verifier.unpack(world.mine.bundle), verifier.unpack(world.other.bundle)
    kind = dice.randrange(7)
    if kind == 0:
        return changed(world.mine.bundle, dice)
    name = dice.choice(EVIDENCE_FILES)
    if kind <= 3:
        mine[name] = changed(mine[name], dice)
    elif kind == 4:
        mine[name] = other[name]
    elif kind == 5:
        own, alien = frames(mine["evidence.txt"]), frames(other["evidence.txt"])
        at = dice.randrange(len(own))
        own[at : at + 1] = dice.choice(([], [alien[at]], [own[at]] * 2, [own[at - 1]]))
        mine["evidence.txt"] = b"".join(own)
    else:
        mine |= resigned(world.mine, dice)
    return verifier.pack(mine)


def resigned(evidence: Evidence, dice: random.Random) -> dict[str, bytes]:
    """Sign another root with another key, under the log's name, id and public key or not."""
    key = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
    origin, size, _ = evidence.note.decode().split("\n")[:3]
    root = dice.randbytes(32) if dice.random() < 0.5 else _root(evidence)
    note = sign_note(origin, int(size), root, [key])
    if dice.random() < 0.5:
        # A signature that claims to be by the right key.
        lines = evidence.note.split(b"\n")
        note = note[: note.index(b"\n\n") + 2] + lines[4] + b"\n"
    if note == evidence.note:
        return {}
    return {verifier.NOTE: note, verifier.PUBLIC: (public_key(origin, key) + "\n").encode()}


def _root(evidence: Evidence) -> bytes:
    known = verifier.parse_keys([evidence.public_key])
    return verifier.open_note(evidence.note, known)[2]


def try_bundles(world: World, judge: Any, dice: random.Random, count: int) -> int:
    """Count the mutants of a bundle that a verifier accepts."""
    return sum(world.bundle_is_accepted(judge, mutant_bundle(world, dice)) for _ in range(count))


def try_files(world: World, judge: Any, dice: random.Random, count: int) -> int:
    """Count the mutants of the journal's file that a verifier accepts."""
    original, accepted = world.mine.file.read_bytes(), 0
    for _ in range(count):
        world.journal_file.write_bytes(changed(original, dice))
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
    """How many mutations this profile wants, half of each kind."""
    return MUTATIONS[os.environ["REFOLD_TEST_PROFILE"]] // 2


def test_the_originals_are_valid(world: World) -> None:
    """Else a harness that refuses everything would pass."""
    assert not world.bundle_is_accepted(verifier, world.mine.bundle)
    found = verifier.verify(world.bundle_file, [world.mine.public_key], [str(world.early)])
    assert (found[0], found[2], found[3]) == (verifier.ERASED, 2, [5])
    found = verifier.verify(world.mine.directory, [world.mine.public_key])
    assert (found[0], found[2], found[3]) == (verifier.ERASED, 1, [5])


@pytest.mark.timeout(3600)
def test_no_mutant_of_a_bundle_is_accepted(world: World, seed: int) -> None:
    """Bytes, frames, files of another journal's bundle, and other signatures."""
    assert try_bundles(world, verifier, random.Random(seed), count()) == 0


@pytest.mark.timeout(3600)
def test_no_mutant_of_the_file_that_says_something_else_is_accepted(
    world: World, seed: int
) -> None:
    """Bytes of the database file, pages of every kind among them."""
    assert try_files(world, verifier, random.Random(seed), count()) == 0


def test_no_forgery_by_hand_is_accepted(world: World) -> None:
    """What SQL can do to a journal, leaves mended where it helps the forger."""
    assert try_forgeries(world, verifier) == []


BUGS: dict[str, tuple[str, str]] = {
    "bodies are not hashed": ("demand(hashed == payload,", "demand(hashed,"),
    "signatures are not verified": (
        "key.verify(data[12 if head else 4 :], head + text)",
        "str(key)",
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
    "the container is not compared": ("demand(pack(files) == raw,", "demand(files,"),
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
    )
    assert any(judge() for judge in judges)
