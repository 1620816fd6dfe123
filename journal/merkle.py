"""The Merkle tree of RFC 9162, section 2.1: roots, proofs, their verification, and tiles.

Pure: where hashes stand is somebody else's affair. A tree of n leaves is cut into *tiles* of
height 8 as C2SP tlog-tiles has it: level L is one long array that holds the hashes of all full
subtrees of 256**L leaves, in order, and tile n of a level is its hashes n * 256 to n * 256 + 255.
So whatever was once written of a level stays, and a partial tile is the front of a full one.

    node = SHA256(0x01 left right)        leaf: see envelope.py        empty tree: SHA256("")
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
EMPTY_ROOT: Final = sha256(b"").digest()
SIZE_MAX: Final = 1 << 62
"""Largest tree that a proof may speak of; it bounds the work for a hostile one."""

ReadHashes = Callable[[int, int, int], bytes]
"""Returns the hashes `first` to `last` (not included) of a tile level, joined together."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def _halves(hashes: bytes) -> bytes:
    """Return the hashes of the level above an even number of hashes."""
    pair = 2 * HASH_BYTES
    return b"".join(
        [sha256(b"\x01" + hashes[at : at + pair]).digest() for at in range(0, len(hashes), pair)]
    )


def subtree_hash(hashes: bytes) -> bytes:
    """Return the root over a number of joined hashes that is a power of two."""
    while len(hashes) > HASH_BYTES:
        hashes = _halves(hashes)
    return hashes


class Frontier:
    """What it takes to let a tree grow: of each tile level, the hashes of its unfinished tile."""

    def __init__(self) -> None:
        self.size = 0
        self._edges: list[bytearray] = [bytearray()]

    def append(self, leaves: bytes) -> list[tuple[int, int, bytes]]:
        """Add joined leaf hashes; return what each level got: level, first index, joined hashes."""
        grown: list[tuple[int, int, bytes]] = []
        size, level, fresh = self.size, 0, leaves
        self.size += len(leaves) // HASH_BYTES
        while fresh:
            grown.append((level, size, fresh))
            edge = self._edges[level]
            edge += fresh
            whole = len(edge) // (TILE_WIDTH * HASH_BYTES) * TILE_WIDTH * HASH_BYTES
            tiles, self._edges[level] = bytes(edge[:whole]), edge[whole:]
            # All tiles that became full are halved together, eight times.
            for _ in range(TILE_HEIGHT if tiles else 0):
                tiles = _halves(tiles)
            fresh, size, level = tiles, size >> TILE_HEIGHT, level + 1
            if level == len(self._edges):
                self._edges.append(bytearray())
        return grown

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        root = b""
        for edge in self._edges:
            for part in _powers(bytes(edge)):
                root = node_hash(part, root) if root else part
        return root or EMPTY_ROOT


def _powers(hashes: bytes) -> Iterator[bytes]:
    """Yield the roots of the full subtrees that an edge consists of, from the right."""
    count, end = len(hashes) // HASH_BYTES, len(hashes)
    while count:
        lowest = count & -count
        start = end - lowest * HASH_BYTES
        yield subtree_hash(hashes[start:end])
        count, end = count - lowest, start


def _split(size: int) -> int:
    """Return the largest power of two that is smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def range_hash(read: ReadHashes, first: int, last: int) -> bytes:
    """Return the tree hash over the leaves `first` to `last` (not included).

    The range must be a node of a tree: `first` is a multiple of a power of two that is no smaller
    than the number of leaves.
    """
    root = b""
    while first < last:
        # The smallest full subtree stands at the right end.
        leaves = (last - first) & -(last - first)
        height = leaves.bit_length() - 1
        level, within = divmod(height, TILE_HEIGHT)
        start = (last - leaves) >> (level * TILE_HEIGHT)
        part = subtree_hash(read(level, start, start + (1 << within)))
        root = node_hash(part, root) if root else part
        last -= leaves
    return root or EMPTY_ROOT


def tree_root(read: ReadHashes, size: int) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return range_hash(read, 0, size)


def inclusion_proof(read: ReadHashes, index: int, size: int) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root of a tree, lowest first.

    Needs 0 <= index < size.
    """
    path: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            path.append(range_hash(read, middle, last))
            last = middle
        else:
            path.append(range_hash(read, first, middle))
            first = middle
    path.reverse()
    return path


def consistency_proof(read: ReadHashes, first_size: int, second_size: int) -> list[bytes]:
    """Return the hashes that show that one tree is the front of another, in the RFC's order.

    Needs 0 <= first_size <= second_size; empty where one of both says everything.
    """
    if first_size in (0, second_size):
        return []
    path: list[bytes] = []
    first, last = 0, second_size
    while last != first_size:
        middle = first + _split(last - first)
        if first_size <= middle:
            path.append(range_hash(read, middle, last))
            last = middle
        else:
            path.append(range_hash(read, first, middle))
            first = middle
    if first:
        path.append(range_hash(read, first, last))
    path.reverse()
    return path


def joint_proof(read: ReadHashes, indexes: Sequence[int], size: int, cut: int = 0) -> list[bytes]:
    """Return one proof for many leaves: the hashes of all subtrees that hold none, from the left.

    Each subtree is as large as can be without reaching across `cut`, so that the proof also gives
    the root of the tree of that size. `indexes` ascend and are smaller than `size`.
    """
    return [range_hash(read, first, last) for first, last in _gaps(indexes, cut, 0, size)]


def _gaps(indexes: Sequence[int], cut: int, first: int, last: int) -> Iterator[tuple[int, int]]:
    at = bisect_left(indexes, first)
    is_empty = at == len(indexes) or indexes[at] >= last
    if is_empty and not first < cut < last:
        yield first, last
    elif last - first > 1:
        middle = first + _split(last - first)
        yield from _gaps(indexes, cut, first, middle)
        yield from _gaps(indexes, cut, middle, last)


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a proof shows that `leaf` is leaf `index` of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size <= SIZE_MAX or not _are_hashes((leaf, root, *proof)):
        return False
    fn, sn, found = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            found = node_hash(sibling, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and found == root


def is_consistent(
    first_size: int, first_root: bytes, second_size: int, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether a proof shows that a tree is the front of another (RFC 9162, 2.1.4.2)."""
    sizes_fit = 0 <= first_size <= second_size <= SIZE_MAX
    if not sizes_fit or not _are_hashes((first_root, second_root, *proof)):
        return False
    if first_size == second_size:
        return not proof and first_root == second_root
    if first_size == 0:
        return not proof and first_root == EMPTY_ROOT
    path = list(proof)
    if first_size & (first_size - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    fn, sn = first_size - 1, second_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(sibling, fr), node_hash(sibling, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root


def _are_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
