"""The tree: its roots and proofs against the RFC's own words and a stranger's program."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256

import pytest
from scitt_cose import merkle as stranger  # type: ignore[import-untyped]

from refold.journal import merkle
from refold.journal.envelope import leaf_hash

ENTRIES = [f"entry {number}".encode() for number in range(300)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
HEX = [entry.hex() for entry in ENTRIES]
SIZES = (1, 2, 3, 7, 8, 255, 256, 257, 300)


def recursive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1, word for word."""
    n = len(leaves)
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return leaves[0]
    k = 1
    while k * 2 < n:
        k *= 2
    left, right = recursive_root(leaves[:k]), recursive_root(leaves[k:])
    return sha256(b"\x01" + left + right).digest()


def recursive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*recursive_path(m, leaves[:k]), recursive_root(leaves[k:])]
    return [*recursive_path(m - k, leaves[k:]), recursive_root(leaves[:k])]


def recursive_subproof(m: int, leaves: list[bytes], is_whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if is_whole else [recursive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*recursive_subproof(m, leaves[:k], is_whole), recursive_root(leaves[k:])]
    return [*recursive_subproof(m - k, leaves[k:], False), recursive_root(leaves[:k])]


def grown(leaves: bytes, step: int = 97) -> tuple[merkle.Frontier, merkle.ReadHashes]:
    """Grow a tree some leaves at a time, keeping its levels."""
    frontier, levels = merkle.Frontier(), dict[int, bytearray]()
    for at in range(0, len(leaves), 32 * step):
        for level, first, hashes in frontier.append(leaves[at : at + 32 * step]):
            kept = levels.setdefault(level, bytearray())
            assert len(kept) == 32 * first
            kept += hashes

    def read(level: int, first: int, last: int) -> bytes:
        found = bytes(levels[level][32 * first : 32 * last])
        assert len(found) == 32 * (last - first)
        return found

    return frontier, read


READ = grown(b"".join(LEAVES))[1]
ROOTS = [recursive_root(LEAVES[:size]) for size in range(301)]


def test_roots_are_those_of_the_recursive_definition_at_every_size() -> None:
    """From the frontier as it grows by one, and from the tiles afterwards."""
    frontier = merkle.Frontier()
    assert frontier.root() == ROOTS[0]
    for size, leaf in enumerate(LEAVES, 1):
        frontier.append(leaf)
        assert frontier.root() == ROOTS[size] == merkle.tree_root(READ, size)


@pytest.mark.parametrize("step", [1, 255, 256, 300])
def test_a_tree_is_the_same_however_many_leaves_come_at_once(step: int) -> None:
    """The writer's groups must not show."""
    frontier, read = grown(b"".join(LEAVES), step)
    assert frontier.root() == ROOTS[300]
    assert read(1, 0, 1) == ROOTS[256]


def test_inclusion_proofs_are_the_rfc_s_and_a_stranger_accepts_them() -> None:
    """Every leaf of every size to 64, and of some larger ones."""
    for size in (*range(1, 65), *SIZES):
        for index in range(0, size, 1 if size <= 64 else 29):
            proof = merkle.inclusion_proof(READ, index, size)
            assert proof == recursive_path(index, LEAVES[:size])
            assert merkle.is_included(LEAVES[index], index, size, proof, ROOTS[size])
            coded = [found.hex() for found in proof]
            assert stranger.verify_inclusion(HEX[index], index, size, coded, ROOTS[size].hex())


def test_all_sizes_to_three_hundred_are_proved_to_be_fronts_of_one_another() -> None:
    """From each size to the next, to the whole, and between a sample of all pairs."""
    dice = random.Random(9162)
    pairs = [(size, size + 1) for size in range(300)] + [(size, 300) for size in range(301)]
    pairs += [tuple(sorted(dice.choices(range(301), k=2))) for _ in range(500)]  # type: ignore[misc]
    for first, second in pairs:
        proof = merkle.consistency_proof(READ, first, second)
        if first:
            assert proof == recursive_subproof(first, LEAVES[:second], True)
        assert merkle.is_consistent(first, ROOTS[first], second, ROOTS[second], proof)
        coded = [found.hex() for found in proof]
        roots = ROOTS[first].hex(), ROOTS[second].hex()
        assert stranger.verify_consistency(*roots, first, second, coded)


Mutant = Callable[[list[bytes], random.Random], list[bytes]]
MUTANTS: dict[str, Mutant] = {
    "a flipped bit": lambda p, d: [bytes([p[0][0] ^ 1]) + p[0][1:], *p[1:]],
    "one hash less": lambda p, d: p[:-1],
    "one hash more": lambda p, d: [*p, p[-1]],
    "two exchanged": lambda p, d: [p[-1], *p[1:-1], p[0]],
    "another hash": lambda p, d: [*p[:-1], d.randbytes(32)],
}


@pytest.mark.parametrize("name", MUTANTS)
def test_neither_we_nor_the_stranger_accept_a_changed_proof(name: str) -> None:
    """Both must refuse the same mutants, of both kinds of proof."""
    dice = random.Random(name)
    for size in (7, 100, 256, 300):
        index, first = dice.randrange(size), dice.randrange(3, size, 2)
        path = MUTANTS[name](merkle.inclusion_proof(READ, index, size), dice)
        coded = [found.hex() for found in path]
        assert not merkle.is_included(LEAVES[index], index, size, path, ROOTS[size])
        assert not stranger.verify_inclusion(HEX[index], index, size, coded, ROOTS[size].hex())
        proof = MUTANTS[name](merkle.consistency_proof(READ, first, size), dice)
        coded = [found.hex() for found in proof]
        roots = ROOTS[first].hex(), ROOTS[size].hex()
        assert not merkle.is_consistent(first, ROOTS[first], size, ROOTS[size], proof)
        assert not stranger.verify_consistency(*roots, first, size, coded)


@pytest.mark.parametrize(
    ("index", "size"), [(5, 5), (6, 5), (-1, 5), (0, 0), (2, 6), (2, 4), (3, 5), (0, 1 << 63)]
)
def test_a_proof_for_another_place_or_size_is_refused(index: int, size: int) -> None:
    """The proof is of leaf 2 among 5. A size comes with its root, from one signed checkpoint."""
    proof = merkle.inclusion_proof(READ, 2, 5)
    assert merkle.is_included(LEAVES[2], 2, 5, proof, ROOTS[5])
    assert not merkle.is_included(LEAVES[2], index, size, proof, ROOTS[min(size, 300)])


@pytest.mark.parametrize(
    ("first", "second"), [(3, 6), (2, 5), (5, 3), (-3, 5), (3, 3), (5, 5), (0, 5), (3, 1 << 63)]
)
def test_a_consistency_proof_for_other_sizes_is_refused(first: int, second: int) -> None:
    """The proof is from 3 to 5."""
    proof = merkle.consistency_proof(READ, 3, 5)
    assert merkle.is_consistent(3, ROOTS[3], 5, ROOTS[5], proof)
    roots = ROOTS[first], ROOTS[min(second, 300)]
    assert not merkle.is_consistent(first, roots[0], second, roots[1], proof)


def test_hashes_of_another_length_and_endless_proofs_are_refused() -> None:
    """Nothing may be hashed together that is not a hash."""
    proof = merkle.inclusion_proof(READ, 2, 5)
    for bad in ([proof[0][:31], *proof[1:]], [proof[0] + b"\0", *proof[1:]], proof * 10_000):
        assert not merkle.is_included(LEAVES[2], 2, 5, bad, ROOTS[5])
        assert not merkle.is_consistent(3, ROOTS[3], 5, ROOTS[5], bad)
    assert not merkle.is_included(LEAVES[2][:31], 2, 5, proof, ROOTS[5])
    assert not merkle.is_included(LEAVES[2], 2, 5, proof, ROOTS[5][:31])


def test_two_hashes_cut_elsewhere_are_not_taken_for_the_same_two() -> None:
    """Joined they hash alike, so the length of each has to be looked at."""
    long, short = LEAVES[0] + LEAVES[1][:1], LEAVES[1][1:]
    assert not merkle.is_included(long, 0, 2, [short], ROOTS[2])
    assert not merkle.is_consistent(1, long, 2, ROOTS[2], [short])


def test_a_proof_that_ends_too_early_or_has_no_place_is_refused() -> None:
    """A path through a smaller tree is none through the larger one that it is said to be of."""
    path, proof = merkle.inclusion_proof(READ, 0, 8), merkle.consistency_proof(READ, 2, 8)
    assert not merkle.is_included(LEAVES[0], 0, 300, path, ROOTS[8])
    assert not merkle.is_consistent(2, ROOTS[2], 300, ROOTS[8], proof)
    assert not merkle.is_included(LEAVES[0], 1, 1, [], LEAVES[0])
    assert merkle.is_included(LEAVES[0], 0, 1, [], LEAVES[0])


def test_an_empty_tree_proves_nothing_but_itself() -> None:
    """A forged empty root must not count as the front of everything."""
    assert merkle.is_consistent(0, merkle.EMPTY_ROOT, 5, ROOTS[5], [])
    assert not merkle.is_consistent(0, ROOTS[1], 5, ROOTS[5], [])
    assert not merkle.is_consistent(0, merkle.EMPTY_ROOT, 5, ROOTS[5], [ROOTS[5]])
