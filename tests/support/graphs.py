"""Random workflows, and a second opinion on what becomes of their nodes.

`expect` is written without a look at the engine: a recursion over the graph that knows nothing of
events, time, or order. The engine must agree with it however fast the branches are.

Times are such that no two things ever happen at one instant: whatever a node waits for is a
multiple of 20 s and some microseconds of its own, so that no two sums of them are equal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from hypothesis import strategies as st

from refold.engine.limits import Limits
from tests.support.simulated import Reply, call, digest, edge, node

Kind = Literal["call", "text", "condition", "delay", "broken", "terminate", "loop"]
NODES_MAX = 8
EDGES_MAX = 12
TRIGGER = "n0"
FAILURES = {
    "http_503": "Webhook request failed: 503 Service Unavailable",
    "type_mismatch": "Operand 'left' is a string that holds no number, one is needed",
}
ITEMS = ("first", "second")
"""What every iterator runs over, one after the other."""
LIMITS = Limits(run_seconds_max=1e6, node_seconds_max=1e4)


@dataclass(frozen=True)
class Spec:
    """One node: what it is, how it does, and what leads to it."""

    name: str
    kind: Kind
    ways_in: tuple[tuple[str, str], ...]
    """Sources and handles."""
    tolerates: bool = False
    attempts: int = 1
    failures: int = 0
    """How many attempts of a call fail before one succeeds; all of them in a world where it
    fails for good."""
    seconds: float = 0.1
    interval: float = 0.1
    """Seconds before the second attempt; twice as many before the third."""
    choice: bool = True
    """Which way a condition goes, or whether a `terminate` completes the run."""

    @property
    def gives_up(self) -> bool:
        """True where a call fails in every world."""
        return self.failures >= self.attempts


@dataclass(frozen=True)
class Expected:
    """What becomes of a node: `dead` if it never runs."""

    outcome: Literal["succeeded", "tolerated", "failed", "dead"]
    handle: str = ""
    output: Any = None
    ends: str = ""


@dataclass(frozen=True)
class Case:
    """A workflow, and the nodes whose calls fail for good until they are mended."""

    specs: tuple[Spec, ...]
    faulty: frozenset[str]

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The definition's nodes."""
        names = [spec.name for spec in self.specs]
        return [node(TRIGGER, "manual_trigger"), *(_write(spec, names) for spec in self.specs)]

    @property
    def edges(self) -> list[dict[str, Any]]:
        """The definition's edges."""
        return [
            edge(source, spec.name, handle or None)
            for spec in self.specs
            for source, handle in spec.ways_in
        ]

    def script(self, failing: Collection[str]) -> dict[str, list[Reply]]:
        """Return what the endpoint does in a world where these calls fail for good."""
        replies = {spec.name: _replies(spec, spec.name in failing) for spec in self.specs}
        loops = [spec.name for spec in self.specs if spec.kind == "loop"]
        return replies | {inner_call(name): replies[name] for name in loops}

    def upstream(self, name: str) -> set[str]:
        """Return the nodes that lead to a node."""
        sources = {s for spec in self.specs if spec.name == name for s, _ in spec.ways_in}
        return sources.union(*(self.upstream(source) for source in sources))

    def downstream(self, name: str) -> set[str]:
        """Return the nodes that a node leads to."""
        return {spec.name for spec in self.specs if name in self.upstream(spec.name)}


def inner_call(name: str) -> str:
    """Return the call that an iterator makes for each item."""
    return f"{name}_c"


def owner_of(node_: str) -> str:
    """Return the node of the definition's own graph that a node stands in."""
    return node_.partition("_")[0]


def expect(
    case: Case, failing: Collection[str], kept: Mapping[str, Expected] | None = None
) -> dict[str, Expected]:
    """Say what becomes of each node if nothing stops the run; `kept` ones are as they are."""
    made: dict[str, Expected] = {TRIGGER: Expected("succeeded")}
    specs = {spec.name: spec for spec in case.specs}
    has_error_edge = {s for spec in case.specs for s, handle in spec.ways_in if handle == "error"}

    def is_taken(source: str, handle: str) -> bool:
        result = made[source]
        if result.outcome == "tolerated":
            return handle == ("error" if source in has_error_edge else "")
        return result.outcome == "succeeded" and not result.ends and handle == result.handle

    # The sources of a node stand before it.
    for name, spec in specs.items():
        if kept and name in kept:
            made[name] = kept[name]
        elif any(is_taken(source, handle) for source, handle in spec.ways_in):
            visible = {
                other: made[other].output
                for other in case.upstream(name)
                if made[other].outcome != "dead" and other != TRIGGER
            }
            seen = {other: visible.get(other) for other in specs if other != name}
            made[name] = _perform(spec, seen, name in failing)
        else:
            made[name] = Expected("dead")
    return made


def _perform(spec: Spec, seen: dict[str, Any], fails: bool) -> Expected:
    if spec.kind == "text":
        return Expected("succeeded", output={"seen": seen})
    if spec.kind == "delay":
        return Expected("succeeded", output={"waited_seconds": spec.seconds})
    if spec.kind == "terminate":
        status = "completed" if spec.choice else "failed"
        ended = {"status": status, "message": "enough"}
        return Expected("succeeded", output=ended, ends=status)
    if spec.kind == "condition":
        left = "yes" if spec.choice else "no"
        output = {"result": spec.choice, "left": left, "operator": "equals", "right": "yes"}
        return Expected("succeeded", "true" if spec.choice else "false", output)
    if spec.kind == "loop":
        return Expected("succeeded", output=_loop_output(spec, seen, fails or spec.gives_up))
    received: dict[str, Any] = {}
    if spec.kind == "broken":
        code = "type_mismatch"
    else:
        answer = {"node": spec.name, "digest": digest({"seen": seen})}
        headers = {"content-type": "application/json"}
        if not fails and not spec.gives_up:
            return Expected("succeeded", output={"status": 200, "headers": headers, "body": answer})
        code, received = "http_503", {"status": 503, "headers": headers, "body": answer}
    outcome: Literal["tolerated", "failed"] = "tolerated" if spec.tolerates else "failed"
    error = {"code": code, "message": FAILURES[code], "attempt": spec.attempts}
    return Expected(outcome, output={"error": error, **received})


def _loop_output(spec: Spec, seen: dict[str, Any], fails: bool) -> dict[str, Any]:
    if fails:
        error = {"node_id": inner_call(spec.name), "code": "http_503"}
        errors = [
            {"index": i, **error, "message": FAILURES["http_503"]} for i, _ in enumerate(ITEMS)
        ]
        return {"results": [None for _ in ITEMS], "errors": errors}
    answers = [
        {"node": inner_call(spec.name), "digest": digest({"item": item, "seen": seen})}
        for item in ITEMS
    ]
    results = [{"at": index, "body": answer} for index, answer in enumerate(answers)]
    return {"results": results, "errors": []}


def _replies(spec: Spec, fails: bool) -> list[Reply]:
    failures = spec.attempts if fails else spec.failures
    good, bad = Reply(200, spec.seconds), Reply(503, spec.seconds)
    return [*[bad] * failures, *([] if fails else [good])] or [good]


def _write(spec: Spec, names: list[str]) -> dict[str, Any]:
    seen = {"seen": {name: f"{{{{ {name} }}}}" for name in names if name != spec.name}}
    policy: dict[str, Any] = {"continue_on_error": spec.tolerates}
    if spec.attempts > 1:
        policy["retry"] = {"max_attempts": spec.attempts, "initial_interval": spec.interval}
    match spec.kind:
        case "call":
            return call(spec.name, seen, **policy)
        case "loop":
            name = inner_call(spec.name)
            shown = {"at": "{{ index }}", "body": f"{{{{ {name}.body }}}}"}
            show = node(f"{spec.name}_x", "text_transform", template=shown)
            ask = call(name, {"item": "{{ item }}", **seen}, **policy)
            body: dict[str, Any] = {"nodes": [ask, show], "edges": [edge(name, show["id"])]}
            return node(spec.name, "iterator", items=list(ITEMS), **body)
        case "text":
            return node(spec.name, "text_transform", template=seen, **policy)
        case "delay":
            return node(spec.name, "delay", duration=spec.seconds, **policy)
        case "terminate":
            status = "completed" if spec.choice else "failed"
            return node(spec.name, "terminate", status=status, message="enough")
        case "broken":
            left = "{{ trigger.word }}"
            return node(
                spec.name, "number_condition", left=left, operator="equals", right=1, **policy
            )
        case "condition":
            left = f"{{{{ trigger.{spec.name} }}}}"
            return node(
                spec.name, "string_condition", left=left, operator="equals", right="yes", **policy
            )


def payload(case: Case) -> dict[str, Any]:
    """Return the trigger payload that makes the conditions choose as they should."""
    choices = {spec.name: "yes" if spec.choice else "no" for spec in case.specs}
    return {"word": "no number", **choices}


CALLS: list[Kind] = ["call"] * 6
KINDS: list[Kind] = [*CALLS, "loop", "text", "condition", "condition", "delay", "broken"]


@st.composite
def cases(draw: st.DrawFn, *, terminates: bool = False) -> Case:
    """Draw a workflow of up to 8 nodes and 12 edges."""
    total = draw(st.sampled_from([2, 3, 4, 5, 6, 7, 7]))
    kinds: list[Kind] = [*KINDS, "terminate"] if terminates else KINDS
    specs: dict[str, Spec] = {}
    edges_left = EDGES_MAX
    for index in range(1, total + 1):
        name = f"n{index}"
        kind = draw(st.sampled_from(kinds))
        count = min(draw(st.sampled_from([1, 1, 1, 1, 2, 2, 2, 3, 0])), index, edges_left)
        # One in a while stands alone, and what only it leads to is dead as well.
        sources = draw(
            st.lists(st.integers(0, index - 1), min_size=count, max_size=count, unique=True)
        )
        ways_in = tuple((f"n{s}", _handle(draw, specs.get(f"n{s}"))) for s in sources)
        edges_left -= len(ways_in)
        specs[name] = replace(_spec(draw, name, kind, index), ways_in=ways_in)
    calls = [
        spec.name for spec in specs.values() if spec.kind in ("call", "loop") and not spec.gives_up
    ]
    count = min(draw(st.sampled_from([1, 2, 2, 0])), len(calls))
    faulty = draw(st.permutations(calls))[:count]
    return Case(tuple(specs.values()), frozenset(faulty))


def _spec(draw: st.DrawFn, name: str, kind: Kind, index: int) -> Spec:
    can_fail = kind in ("call", "broken")
    attempts = draw(st.sampled_from([1, 1, 2, 3])) if can_fail or kind == "loop" else 1
    failures = draw(st.integers(0, attempts - 1)) if kind in ("call", "loop") else 0
    # What fails in every world is mostly tolerated, or few runs would ever complete.
    tolerates = can_fail and draw(st.sampled_from([True, kind == "broken", False]))
    if (kind == "loop" or (kind == "call" and tolerates)) and draw(st.integers(0, 5)) == 0:
        failures = attempts
    own = 8**index / 1e6
    seconds = round(20 * draw(st.integers(1, 20)) + own, 6)
    interval = round(20 + own, 6)
    choice = draw(st.booleans())
    return Spec(name, kind, (), tolerates, attempts, failures, seconds, interval, choice)


def _handle(draw: st.DrawFn, source: Spec | None) -> str:
    if source is None:
        return ""
    if source.kind == "condition":
        return draw(st.sampled_from(["true", "false"]))
    if source.kind == "broken":
        return draw(st.sampled_from(["error", "error", "true"]))
    if source.tolerates:
        return draw(st.sampled_from(["", "", "error"]))
    return ""
