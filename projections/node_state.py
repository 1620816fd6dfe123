"""`NodeState`: where one node of a run stands, folded from its facts as a part of `RunState`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Phase = Literal[
    "started",
    "waiting",
    "retrying",
    "asked",
    "child",
    "iterating",
    "succeeded",
    "tolerated",
    "failed",
    "interrupted",
]
SETTLED: Final = frozenset({"succeeded", "tolerated"})
"""Phases after which a node's outgoing edges are taken or dead."""
ITERATOR: Final = "iterator"
"""The component that is not itself at work: what runs inside it is."""
Place = tuple[str, str]
"""Where an attempt is made: the path of indexes inside iterators, and the node."""


class NodeState(msgspec.Struct, gc=False):
    """Where a node stands."""

    node: str
    component: str
    phase: Phase
    attempt: int
    started_at: int
    due_at: int = 0
    """When a waiting or retrying node goes on, in microseconds."""
    handle: str = ""
    effect_key: str = ""
    in_doubt: bool = False
    """A call of this node was on the wire and nobody knows its outcome."""
    body_at: int = 0
    """The position of the body with the newest outcome: the node's value in the context."""
    outcome_version: int = 0
    """The version of the newest outcome: what came first is told by it."""
    terminates: bool = False
    """The node is a `terminate`, which no resume keeps."""
    iteration: str = ""
    input_at: int = 0
    """The position of the body with what the newest attempt began with, 0 for none."""
    child: str = ""
    """The run of another workflow that the newest attempt started.

    A node that waits for it is in phase `child`; one that doesn't has succeeded by it.
    """
    items: dict[int, int] | None = None
    """Of an iterator: the items that began, and the position of each one's end, 0 while open."""

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.iteration, self.node


def index_of(iteration: str) -> int:
    """Return the index of an item in its own iterator: the last one of its path."""
    return int(iteration.rpartition(".")[2])


def outer_of(iteration: str) -> str:
    """Return the path that an item's iterator itself ran at."""
    return iteration.rpartition(".")[0]


def path_of(outer: str, index: int) -> str:
    """Return the path of an item of an iterator that itself ran at `outer`."""
    return f"{outer}.{index}" if outer else str(index)
