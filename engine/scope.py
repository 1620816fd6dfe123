"""A scope: one graph while it runs, the definition's own or an iterator's body for one item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ..projections.node_state import NodeState, Place, path_of
from ..projections.run_state import RunState
from .calls import timed_out
from .component import Json, NodeError
from .definition import Step
from .frontier import Frontier
from .graph import Graph
from .secrets import ROOT, MaskedVault


class Failure(msgspec.Struct, frozen=True):
    """The first untolerated failure of an item."""

    node: str
    code: str
    message: str


class Scope:
    """What one graph has come to, and what its nodes see of the world around it."""

    def __init__(
        self,
        path: str,
        owner: str,
        graph: Graph,
        surroundings: dict[str, Json],
        loop: Loop | None = None,
        known: Sequence[NodeState] = (),
    ) -> None:
        """`path` is that of the item of `loop`, `owner` its iterator; the root has none of them.

        `known` are its nodes that ran before a crash or in the original of a resume.
        """
        self.path: Final = path
        self.owner: Final = owner
        self.graph: Final = graph
        self.surroundings: Final = surroundings
        self._loop: Final = loop
        self.frontier: Final = Frontier(graph, known)
        self.outputs: Final[dict[str, Json]] = {}
        self.active = 0
        """How many of its nodes are ready, or began and have no outcome yet."""
        self.failure: Failure | None = None

    @property
    def is_failing(self) -> bool:
        """True once nothing new may begin here: this item, or what it belongs to, has failed."""
        loop = self._loop
        return self.failure is not None or (loop is not None and loop.is_failing)

    def context(self, node: str) -> dict[str, Json]:
        """Return what a node's templates see: the outputs upstream of it, and what is around."""
        outputs, seen = self.outputs, dict(self.surroundings)
        for name in self.graph.upstream(node):
            if name in outputs:
                seen[name] = outputs[name]
        return seen


class Loop:
    """An iterator while it runs."""

    def __init__(
        self,
        place: Place,
        step: Step,
        scope: Scope,
        surroundings: Mapping[str, Json],
        items: Sequence[Json],
        concurrency: int,
    ) -> None:
        """`scope` is the one that the iterator itself stands in."""
        assert step.body is not None, "an iterator has a body"
        self.place: Final = place
        self.step: Final = step
        self.scope: Final = scope
        self.body: Final[Graph] = step.body
        self._surroundings = surroundings
        self.items: Final = items
        self.concurrency: Final = concurrency
        self.next_index = 0
        self.open = 0
        """How many items are under way."""
        self.ended: Final[dict[int, dict[str, Json]]] = {}
        """What each item that ended came to: `{"result": …}` or `{"error": …}`."""
        self.time_out: NodeError | None = None
        """Set once the iterator's time is over: its failure, and that of the items under way."""

    @property
    def is_failing(self) -> bool:
        """True once no item may begin, or go on beyond the calls that are on the wire."""
        return self.time_out is not None or self.scope.is_failing

    def scope_of(self, index: int, known: Sequence[NodeState] = ()) -> Scope:
        """Make the scope of an item, which sees the item, its index, and those around it."""
        item = {"item": self.items[index], "index": index}
        surroundings = {**self._surroundings, **item, self.step.node: item}
        path = path_of(self.place[0], index)
        return Scope(path, self.step.node, self.body, surroundings, self, known)

    def give_up(self) -> None:
        """Note that the iterator's time is over."""
        of_items = f", when {len(self.ended)} of {len(self.items)} items had ended"
        self.time_out = timed_out(self.step.node, self.step.policy.timeout, of_items)

    @property
    def output(self) -> dict[str, Json]:
        """Return what the iterator passes on once each item has ended, in the items' order."""
        ended = [self.ended[index] for index in range(len(self.items))]
        return {
            "results": [end.get("result") for end in ended],
            "errors": [end["error"] for end in ended if "error" in end],
        }


def roots(state: RunState, payload: Mapping[str, Json]) -> dict[str, Json]:
    """Return the roots that every template of a run sees; `trigger` comes with its output."""
    request = state.origin
    return {
        ROOT: MaskedVault(),
        "payload": payload,
        "webhook_payload": payload.get("webhook_payload", payload),
        "run": {
            "id": state.run_id,
            "workflow_id": request.workflow,
            "workflow_version": request.workflow_version,
            "origin": request.origin,
            "original_run_id": request.original_run or None,
        },
    }
