"""Laws of the tree, for any sizes: what is proved holds, and nothing else can be proved with it."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from refold.journal import merkle, verifier

LEAVES = b"".join(sha256(b"%d" % number).digest() for number in range(70_000))
LEVELS: dict[int, bytearray] = {}
for _level, _first, _hashes in merkle.Frontier().append(LEAVES):
    LEVELS.setdefault(_level, bytearray()).extend(_hashes)


def read(level: int, first: int, last: int) -> bytes:
    """Read the levels of the large tree."""
    return bytes(LEVELS[level][32 * first : 32 * last])


def leaf(index: int) -> bytes:
    """Return a leaf of the large tree."""
    return LEAVES[32 * index : 32 * index + 32]


@given(st.integers(1, 70_000), st.data())
def test_a_leaf_is_included_where_it_stands_and_nowhere_else(
    size: int, data: st.DataObject
) -> None:
    """One proof holds for one leaf at one place."""
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1))
    proof, root = merkle.inclusion_proof(read, index, size), merkle.tree_root(read, size)
    assert merkle.is_included(leaf(index), index, size, proof, root)
    assert merkle.is_included(leaf(index), other, size, proof, root) == (index == other)
    assert merkle.is_included(leaf(other), index, size, proof, root) == (index == other)


@given(st.integers(0, 70_000), st.integers(0, 70_000), st.binary(min_size=32, max_size=32))
def test_a_tree_is_the_front_of_a_later_one_and_no_other_tree_is(
    one: int, two: int, forged: bytes
) -> None:
    """Whoever changes the earlier root or the later one is refused."""
    first, second = sorted((one, two))
    proof = merkle.consistency_proof(read, first, second)
    roots = merkle.tree_root(read, first), merkle.tree_root(read, second)
    assert merkle.is_consistent(first, roots[0], second, roots[1], proof)
    assert not merkle.is_consistent(first, forged, second, roots[1], proof)
    if first:
        assert not merkle.is_consistent(first, roots[0], second, forged, proof)


@given(st.sets(st.integers(0, 5_000), min_size=1, max_size=40), st.data())
def test_a_joint_proof_gives_the_roots_of_two_trees(indexes: set[int], data: st.DataObject) -> None:
    """It has one hash for each gap, and the verifier finds both roots in it."""
    places = sorted(indexes)
    size = data.draw(st.integers(places[-1] + 1, 70_000))
    cut = data.draw(st.integers(0, size))
    proof = merkle.joint_proof(read, places, size, cut)
    roots = verifier.joint_roots({place: leaf(place) for place in places}, size, cut, proof)
    assert roots == (merkle.tree_root(read, size), merkle.tree_root(read, cut))


def test_tiles_have_the_sizes_of_the_specification() -> None:
    """Its own example: 70,000 leaves are 273 full tiles and one of width 112, and so on."""
    assert {level: len(found) // 32 for level, found in LEVELS.items()} == {0: 70_000, 1: 273, 2: 1}
    assert divmod(70_000, 256) == (273, 112)
    assert read(1, 5, 6) == merkle.subtree_hash(LEAVES[5 * 8192 : 6 * 8192])
