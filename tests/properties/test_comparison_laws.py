"""The laws of patches, and of whole comparisons of runs."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

import jsonpath
from hypothesis import given
from hypothesis import strategies as st

from refold.journal.envelope import Recorded
from refold.projections.json_patches import Patcher
from refold.projections.run_comparison import Comparison, Subject, comparing, output_of
from refold.projections.run_diff import Told
from refold.projections.run_state import fold
from tests.support.run_lives import lives

NAMES = st.text("ab/~é0-", max_size=3)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, 1.0, -1.5, 2**53, -(2**63), 2**64 - 1])
    | st.text("ab\x00\u2028é", max_size=3)
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=25,
)
SWAPPED = {"only_left": "only_right", "only_right": "only_left"}


def applied(patch: bytes, document: Any) -> Any:
    """Apply a patch by an implementation that had no part in making it.

    The document is put into another one, since this implementation reads a text as JSON.
    """
    operations = json.loads(patch)
    for one in operations:
        for name in {"path", "from"} & one.keys():
            one[name] = "/in" + one[name]
    # By default it undoes escapes in paths, which breaks every name that is not ASCII.
    made: Any = jsonpath.JSONPatch(operations, unicode_escape=False).apply(
        {"in": deepcopy(document)}
    )
    return made["in"]


def exact(value: Any) -> str:
    """Return a text that tells 1, 1.0 and true apart."""
    return json.dumps(value, sort_keys=True)


@given(DOCUMENTS, DOCUMENTS, st.integers(0, 12), st.integers(0, 200))
def test_a_patch_makes_the_right_one_of_the_left_one(
    left: Any, right: Any, members: int, size: int
) -> None:
    """Whichever way it was made, and whatever the bounds."""
    documents = json.dumps(left).encode(), json.dumps(right).encode()
    for patcher in (Patcher(), Patcher(members_max=members), Patcher(compared_bytes_max=size)):
        patch = patcher.between(*documents)
        assert patch is not None
        assert exact(applied(patch, left)) == exact(right)
    assert Patcher().between(documents[0], documents[0]) == b"[]"


def runs_of(events: list[Recorded]) -> list[Subject]:
    """Part a journal into its runs; each has a definition of its own."""
    streams: dict[str, list[Recorded]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    found: list[Subject] = []
    for stream, own in streams.items():
        told = Told(fold(stream, own), own)
        found.append(Subject(told, told.state.requested_body_at, 0))
    return found


def compared(left: Subject, right: Subject, bodies: dict[int, bytes]) -> Comparison:
    """Compare two runs whose bodies are these; what is missing was erased."""
    steps = comparing(left, right)
    try:
        wanted = next(steps)
        while True:
            assert 0 not in wanted
            wanted = steps.send({at: bodies[at] for at in wanted if at in bodies})
    except StopIteration as ended:
        found: Comparison = ended.value
        return found


def some_bodies(events: list[Recorded], random: Random) -> dict[int, bytes]:
    """Give each event a body out of few, and some none."""
    made: dict[int, bytes] = {}
    for event in events:
        if random.random() < 0.9:
            text: dict[str, Any] = {"n": random.randint(0, 2)}
            if event.version == 1:
                text = {"by": "me", "payload": text}
            made[event.body_at] = random.choice([json.dumps(text).encode(), b"7"])
            if event.version == 1:
                made[event.body_at] = json.dumps(text).encode()
    return made


@given(lives(), st.randoms(use_true_random=False))
def test_a_run_compared_with_itself_has_no_difference_anywhere(
    events: list[Recorded], random: Random
) -> None:
    """Nor does it take reading, erased or not."""
    bodies = some_bodies(events, random)
    for subject in runs_of(events):
        found = compared(subject, subject, bodies)
        assert (found.diff.left, found.diff.right) == (None, None)
        assert {one.node.result for one in found.nodes} <= {"same"}
        assert {one.patch for one in found.nodes} <= {None}
        assert (found.payload.result, found.definition.result) == ("same", "same")


@given(lives(), st.randoms(use_true_random=False))
def test_whole_comparisons_are_symmetrical_and_their_patches_apply(
    events: list[Recorded], random: Random
) -> None:
    """Either way round the same nodes differ, and each patch leads to the other side."""
    bodies = some_bodies(events, random)
    subjects = runs_of(events)
    left, right = subjects[0], subjects[-1]
    one, other = compared(left, right, bodies), compared(right, left, bodies)
    assert (one.diff.left, one.diff.right) == (other.diff.right, other.diff.left)
    assert one.payload.result == other.payload.result
    mirrored = {found.node.place: found for found in other.nodes}
    assert mirrored.keys() == {found.node.place for found in one.nodes}
    for found in one.nodes:
        back = mirrored[found.node.place]
        assert SWAPPED.get(found.node.result, found.node.result) == back.node.result
        assert found.omitted == back.omitted
        if found.patch is not None and back.patch is not None:
            assert found.node.left is not None
            assert found.node.right is not None
            sides = [side.outcome for side in (found.node.left, found.node.right) if side.outcome]
            a, b = (json.loads(output_of(bodies[side.body_at])) for side in sides)
            assert exact(applied(found.patch, a)) == exact(b)
            assert exact(applied(back.patch, b)) == exact(a)
