"""The whole comparison of two runs: their events, payloads, outputs and definitions.

It reads nothing by itself: `comparing` asks for bodies by their positions, so that the service
and the command, which read a journal each in its own way, compare the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from . import definition_diff
from .definition_diff import DefinitionDiff
from .json_patches import NO_CHANGE, Patcher
from .run_diff import Alignment, NodeDiff, Pair, RunDiff, Told, own_ids, same_bytes

NODES_MAX: Final = 1000
"""How many nodes of a comparison are shown; of more, those that differ come first."""
_PAIRS_FIRST: Final = 40
_PAIRS_MAX: Final = 200
_READ_BYTES: Final = 8 * 1024 * 1024
"""How many bytes of bodies are read at once, as far as those before foretell it."""

Bodies: TypeAlias = Mapping[int, bytes]
Comparing: TypeAlias = "Generator[Sequence[int], Bodies, Comparison]"
Omitted = Literal["", "erased", "too_large"]


_NONE: Final[Bodies] = {}


class _RequestBody(msgspec.Struct, frozen=True):
    payload: msgspec.Raw = msgspec.Raw(b"{}")


_decode_request: Final = msgspec.json.Decoder(_RequestBody).decode


class Subject(msgspec.Struct, frozen=True):
    """One of the runs, and where what it was made of is recorded."""

    told: Told
    payload_at: int
    """The position of the body with the trigger payload, which may be another run's."""
    definition_at: int
    """The position of the body with the definition that it is pinned to."""


class PayloadDiff(msgspec.Struct, frozen=True):
    """How two trigger payloads differ."""

    result: Literal["same", "changed", "unknown"]
    patch: bytes | None
    """None if it is unknown, or there is no room for it."""


class NodeComparison(msgspec.Struct, frozen=True):
    """A node of either run."""

    node: NodeDiff
    patch: bytes | None
    """Of a changed node: from the left log entry's output to the right one's."""
    omitted: Omitted
    """Why a changed node has no patch, "" where it has one or nothing to compare."""


class Comparison(msgspec.Struct, frozen=True):
    """How two runs differ."""

    left: Told
    right: Told
    diff: RunDiff
    payload: PayloadDiff
    definition: DefinitionDiff
    nodes: Sequence[NodeComparison]
    is_truncated: bool


def comparing(left: Subject, right: Subject) -> Comparing:
    """Compare two runs: yields positions of bodies, to be sent them; an erased one is missing."""
    alignment = Alignment(left.told, right.told)
    verdicts = yield from _verdicts(alignment, left.told, right.told)
    patcher = Patcher()
    payload = yield from _payloads(left.payload_at, right.payload_at, patcher)
    definition = yield from _definitions(left.definition_at, right.definition_at, patcher)
    same_payload = None if payload.result == "unknown" else payload.result == "same"
    diff = alignment.compare(verdicts, same_payload=same_payload)
    nodes: Sequence[NodeDiff] = diff.nodes
    if len(nodes) > NODES_MAX:
        nodes = sorted(nodes, key=lambda node: node.result == "same")[:NODES_MAX]
    compared = yield from _outputs(nodes, patcher)
    return Comparison(
        left.told,
        right.told,
        diff,
        payload,
        definition,
        compared,
        len(diff.nodes) > len(nodes),
    )


def output_of(body: bytes) -> bytes:
    """Return an output as log entries show it: an object, anything else wrapped as `value`."""
    return body if body.startswith(b"{") else b'{"value":' + body + b"}"


_VerdictSteps: TypeAlias = Generator[Sequence[int], Bodies, dict[Pair, bool | None]]


def _verdicts(alignment: Alignment, left: Told, right: Told) -> _VerdictSteps:
    """Compare the bodies of events that say the same but for them."""
    pairs, own = alignment.pairs, (own_ids(left.state), own_ids(right.state))
    made: dict[Pair, bool | None] = {}
    start, count = 0, _PAIRS_FIRST
    while start < len(pairs):
        some = pairs[start : start + count]
        bodies = yield [position for pair in some for position in pair]
        for pair in some:
            a, b = bodies.get(pair[0]), bodies.get(pair[1])
            made[pair] = None if a is None or b is None else same_bytes(a, b, *own)
        start += len(some)
        count = _next_count(count, len(some), bodies.values())
    return made


def _next_count(count: int, read: int, bodies: Iterable[bytes]) -> int:
    """Return how many pairs to read next: most are small, and each read has its price."""
    average = max(1, sum(map(len, bodies)) // read)
    return max(1, min(count * 2, _PAIRS_MAX, _READ_BYTES // average))


def _payloads(
    left: int, right: int, patcher: Patcher
) -> Generator[Sequence[int], Bodies, PayloadDiff]:
    if left == right:
        return PayloadDiff("same", NO_CHANGE)
    bodies = yield [left, right]
    a, b = bodies.get(left), bodies.get(right)
    if a is None or b is None:
        return PayloadDiff("unknown", None)
    payloads = bytes(_decode_request(a).payload), bytes(_decode_request(b).payload)
    is_same = payloads[0] == payloads[1]
    return PayloadDiff("same" if is_same else "changed", patcher.between(*payloads))


def _definitions(
    left: int, right: int, patcher: Patcher
) -> Generator[Sequence[int], Bodies, DefinitionDiff]:
    if left == right:
        return definition_diff.SAME
    bodies = yield [left, right]
    a, b = bodies.get(left), bodies.get(right)
    if a is None or b is None:
        return definition_diff.UNKNOWN
    return definition_diff.compare_definitions(a, b, patcher)


def _outputs(
    nodes: Sequence[NodeDiff], patcher: Patcher
) -> Generator[Sequence[int], Bodies, list[NodeComparison]]:
    """Make the patches between the outputs of the nodes that have changed."""
    made: list[NodeComparison] = []
    start, count = 0, _PAIRS_FIRST
    while start < len(nodes):
        some = nodes[start : start + count]
        wanted = [at for node in some for at in _outcomes(node)]
        bodies: Bodies = (yield wanted) if wanted else _NONE
        made.extend(_patched(node, bodies, patcher) for node in some)
        start += len(some)
        count = _next_count(count, len(some), bodies.values())
    return made


def _outcomes(node: NodeDiff) -> tuple[int, ...]:
    """Return the positions of both outputs of a changed node, none where a side has none."""
    if node.result != "changed":
        return ()
    sides = node.left, node.right
    found = tuple(side.outcome.body_at for side in sides if side and side.outcome)
    return found if len(found) == len(sides) and all(found) else ()


def _patched(node: NodeDiff, bodies: Bodies, patcher: Patcher) -> NodeComparison:
    positions = _outcomes(node)
    if not positions:
        return NodeComparison(node, None, "")
    found = [bodies.get(position) for position in positions]
    left, right = found
    if left is None or right is None:
        return NodeComparison(node, None, "erased")
    patch = patcher.between(output_of(left), output_of(right))
    return NodeComparison(node, patch, "too_large" if patch is None else "")
