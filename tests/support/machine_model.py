"""A model of the service, written apart from it: what each run must come to, and which calls.

It knows graphs, kept nodes and doubts from the contract alone and shares no code with the engine.
Where a run's outcome depends on speed (which of two branches failed first), it says what is
possible, and what the run then says of itself is taken over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import strategies as st

Kind = Literal["trigger", "hook", "call", "retry", "tolerant", "once", "text", "condition", "delay"]
Behaviour = Literal["ok", "fail", "hold"]
State = Literal["ok", "tolerated", "failed", "held", "waiting", "dead", "blocked"]
CALLS = ("call", "retry", "tolerant", "once")
COMPONENTS: dict[str, str] = {
    "trigger": "manual_trigger",
    "hook": "webhook_trigger",
    "text": "text_transform",
    "condition": "boolean_condition",
    "delay": "delay",
    **dict.fromkeys(CALLS, "webhook"),
}
Settled = dict[str, tuple[State, str]]
"""Nodes that succeeded or were tolerated, with the handle they left by."""
Edge = tuple[str, str, str]
"""Source, target, handle."""


@dataclass(frozen=True)
class Graph:
    """A definition: kinds in topological order, and edges that only lead onwards."""

    kinds: tuple[tuple[str, Kind], ...]
    edges: tuple[Edge, ...]

    @property
    def nodes(self) -> list[str]:
        """The ids of the nodes, the trigger's first."""
        return [node for node, _ in self.kinds]

    @property
    def onwards(self) -> list[Edge]:
        """The edges by the order of their sources."""
        return sorted(self.edges, key=lambda edge: self.nodes.index(edge[0]))

    def kind(self, node: str) -> Kind:
        """What a node is."""
        return dict(self.kinds)[node]

    def after(self, node: str) -> set[str]:
        """Every node downstream of one."""
        found: set[str] = set()
        for source, target, _ in self.onwards:
            if source == node or source in found:
                found.add(target)
        return found

    def with_leaf(self, parent: str) -> Graph:
        """The same with one more text at the end, which no run has passed yet."""
        leaf = f"n{len(self.kinds)}"
        handle = "true" if self.kind(parent) == "condition" else ""
        return Graph((*self.kinds, (leaf, "text")), (*self.edges, (parent, leaf, handle)))

    def document(self, url: str, name: str = "machine") -> dict[str, Any]:
        """Write it as a client sends it."""
        edges = [
            {"id": f"e{i}", "source": source, "target": target, "sourceHandle": handle}
            for i, (source, target, handle) in enumerate(self.edges)
        ]
        nodes = [
            {"id": node, "data": {"componentId": COMPONENTS[kind], **_config(node, kind, url)}}
            for node, kind in self.kinds
        ]
        return {"name": name, "nodes": nodes, "edges": edges}


def _config(node: str, kind: Kind, url: str) -> dict[str, Any]:
    extra: dict[str, dict[str, Any]] = {
        "retry": {"retry": {"max_attempts": 2, "initial_interval": 0}},
        "tolerant": {"continue_on_error": True},
        "once": {"delivery": "at_most_once"},
    }
    if kind in CALLS:
        return {"url": f"{url}/{node}", **extra.get(kind, {})}
    if kind == "text":
        return {"template": f"{node} says {{{{ webhook_payload.flag }}}}"}
    if kind == "condition":
        return {"left": "{{ webhook_payload.flag }}", "operator": "is_true"}
    return {"duration": 600} if kind == "delay" else {}


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw a definition of up to six nodes with forks, joins, conditions and waits."""
    trigger: Kind = draw(st.sampled_from(["trigger", "trigger", "hook"]))
    kinds: list[tuple[str, Kind]] = [("t", trigger)]
    edges: list[Edge] = []
    choices: list[Kind] = ["call", "call", "once", "retry", "tolerant", "text", "condition"]
    for number in range(1, draw(st.integers(2, 6))):
        node = f"n{number}"
        kind: Kind = draw(st.sampled_from([*choices, *choices, "delay"]))
        parents = draw(
            st.lists(st.sampled_from(kinds), min_size=1, max_size=2, unique_by=lambda p: p[0])
        )
        for parent, parent_kind in parents:
            handle = draw(st.sampled_from(["true", "false"])) if parent_kind == "condition" else ""
            edges.append((parent, node, handle))
        kinds.append((node, kind))
    return Graph(tuple(kinds), tuple(edges))


@dataclass
class Forecast:
    """How each node of a run stands once nothing moves any more."""

    states: dict[str, State]
    handles: dict[str, str]

    def having(self, *states: State) -> set[str]:
        """The nodes in any of these states."""
        return {node for node, state in self.states.items() if state in states}

    @property
    def is_open(self) -> bool:
        """Whether the run waits for time or for a call; a failure ends it all the same."""
        return not self.having("failed") and bool(self.having("held", "waiting"))


def forecast(
    graph: Graph,
    flag: bool,
    behaviours: dict[str, Behaviour],
    settled: Settled,
    cut_off: frozenset[str] = frozenset(),
) -> Forecast:
    """Walk the graph in order; `settled` nodes are not run, `cut_off` calls died in a crash."""
    made = Forecast({}, {})
    for node, kind in graph.kinds:
        if node in settled:
            made.states[node], made.handles[node] = settled[node]
            continue
        edges = [_edge(made, edge) for edge in graph.edges if edge[1] == node]
        if "open" in edges:
            made.states[node] = "blocked"
        elif edges and "taken" not in edges:
            made.states[node] = "dead"
        elif kind == "once" and node in cut_off:
            made.states[node] = "failed"
        else:
            behaviour = behaviours.get(node, "ok")
            made.states[node], made.handles[node] = _outcome(kind, flag, behaviour)
    return made


def _edge(made: Forecast, edge: Edge) -> Literal["taken", "dead", "open"]:
    source, _, handle = edge
    state = made.states[source]
    if state == "dead":
        return "dead"
    if state not in ("ok", "tolerated"):
        return "open"
    return "taken" if made.handles[source] == handle else "dead"


def _outcome(kind: Kind, flag: bool, behaviour: Behaviour) -> tuple[State, str]:
    if kind == "delay":
        return "waiting", ""
    if kind == "condition":
        return "ok", "true" if flag else "false"
    if kind not in CALLS or behaviour == "ok":
        return "ok", ""
    if behaviour == "hold":
        return "held", ""
    return ("tolerated" if kind == "tolerant" else "failed"), ""


@dataclass
class Run:
    """A run as the model knows it."""

    run_id: str
    workflow: str
    version: int
    graph: Graph
    flag: bool
    origin: str
    original: str | None = None
    chosen: str | None = None
    kept: Settled = field(default_factory=dict)
    settled: Settled = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    """Nodes whose call is on the wire and not answered."""
    inherited: dict[str, str] = field(default_factory=dict)
    """Effect keys of earlier calls whose outcome nobody knows, by node."""
    doubts: dict[str, str] = field(default_factory=dict)
    """Those of this run's own calls."""
    status: str = "running"
    calls: Counter[str] = field(default_factory=Counter)
    """How often the endpoint must have been called, by node."""
    lost: Counter[str] = field(default_factory=Counter)
    """Calls of it that a crash cut off and that left no entry."""

    def key(self, node: str) -> str:
        """The idempotency key of a node's calls."""
        return self.inherited.get(node, f"{self.run_id}:{node}:-:1")

    def succeeded(self, node: str) -> bool:
        """Whether a node has a success to carry on from."""
        return node in self.settled and self.settled[node][0] == "ok"

    def doubts_beyond(self, kept: Settled) -> dict[str, str]:
        """The effect keys that a resume must use again."""
        found = {node: key for node, key in self.inherited.items() if node not in self.calls}
        return {node: key for node, key in (found | self.doubts).items() if node not in kept}


@dataclass
class Workflow:
    """A workflow as the model knows it."""

    workflow_id: str
    versions: list[Graph]
    active: bool = True
    deleted: bool = False
    runs: list[Run] = field(default_factory=list)

    @property
    def graph(self) -> Graph:
        """The current definition."""
        return self.versions[-1]

    @property
    def is_in_use(self) -> bool:
        """Whether a run of it is unfinished."""
        return any(run.status == "running" for run in self.runs)


def cut(run: Run, chosen: str) -> Settled:
    """What a resume from a node keeps: what is settled and not downstream of it."""
    left = run.settled.keys() - run.graph.after(chosen)
    return {node: run.settled[node] for node in run.graph.nodes if node in left}


def reachable(graph: Graph, kept: Settled) -> list[str]:
    """What a resume may execute: all that the taken edges of kept nodes can lead to."""
    found: set[str] = set()
    for source, target, handle in graph.onwards:
        taken = source in kept and kept[source][1] == handle
        if target not in kept and (taken or source in found):
            found.add(target)
    return [node for node in graph.nodes if node in found]


def changed(old: Graph, new: Graph, kept: Settled) -> set[str]:
    """The kept nodes that an edited definition no longer has as they were."""

    def ways(graph: Graph, node: str) -> set[tuple[str, str]]:
        return {(s, h) for s, t, h in graph.edges if t == node and s in kept}

    return {
        node
        for node in kept
        if node not in new.nodes
        or COMPONENTS[new.kind(node)] != COMPONENTS[old.kind(node)]
        or ways(old, node) != ways(new, node)
    }
