"""Random workflows from a seed: scripted ones, whose end is known, and wild ones."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from tests.support.graphs import EDGES_MAX, Case, Kind, Spec
from tests.support.service import chain, node

CALLS: list[Kind] = ["call"] * 6
KINDS: list[Kind] = [
    *CALLS,
    *("loop", "text", "condition", "condition", "delay", "broken", "terminate"),
]
URL = "http://endpoint.test/wild"


def seeded_case(dice: Random) -> Case:
    """Make a scripted workflow of up to 6 nodes."""
    total = dice.choice((2, 3, 4, 4, 5, 6))
    specs: dict[str, Spec] = {}
    edges_left = EDGES_MAX
    for index in range(1, total + 1):
        kind = dice.choice(KINDS)
        count = min(dice.choice((1, 1, 1, 1, 2, 2, 2, 3, 0)), index, edges_left)
        sources = dice.sample(range(index), count)
        ways_in = tuple((f"n{s}", _handle(dice, specs.get(f"n{s}"))) for s in sources)
        edges_left -= len(ways_in)
        specs[f"n{index}"] = replace(_spec(dice, f"n{index}", kind, index), ways_in=ways_in)
    calls = [s.name for s in specs.values() if s.kind in ("call", "loop") and not s.gives_up]
    faulty = dice.sample(calls, min(dice.choice((1, 2, 2, 0)), len(calls)))
    return Case(tuple(specs.values()), frozenset(faulty))


def _spec(dice: Random, name: str, kind: Kind, index: int) -> Spec:
    can_fail = kind in ("call", "broken")
    attempts = dice.choice((1, 1, 2, 3)) if can_fail or kind == "loop" else 1
    failures = dice.randint(0, attempts - 1) if kind in ("call", "loop") else 0
    # What fails in every world is mostly tolerated, or few runs would ever complete.
    tolerates = can_fail and dice.choice((True, kind == "broken", False))
    if (kind == "loop" or (kind == "call" and tolerates)) and dice.randrange(6) == 0:
        failures = attempts
    own = 8**index / 1e6
    seconds = round(20 * dice.randint(1, 20) + own, 6)
    interval = round(20 + own, 6)
    return Spec(
        name, kind, (), tolerates, attempts, failures, seconds, interval, dice.random() < 0.5
    )


def _handle(dice: Random, source: Spec | None) -> str:
    if source is None:
        return ""
    if source.kind == "condition":
        return dice.choice(("true", "false"))
    if source.kind == "broken":
        return dice.choice(("error", "error", "true"))
    return dice.choice(("", "", "error")) if source.tolerates else ""


def call(name: str, **data: Any) -> dict[str, Any]:
    """Write a call whose answer is chance; `o…` is made at most once, `s` is often sent back."""
    if name.startswith("o"):
        data["delivery"] = "at_most_once"
    elif "retry" not in data:
        data["retry"] = {"max_attempts": 3, "initial_interval": 0.5}
    body = data.pop("body", {"n": name})
    headers = [{"key": "X-Run", "value": "{{ run.id }}"}]
    return node(name, "webhook", url=f"{URL}/{name}", headers=headers, body=body, timeout=5, **data)


def wild(dice: Random, kind: str, *, child: str = "", secret: str = "") -> dict[str, Any]:
    """Write a workflow of a kind: see `WILD`."""
    start, text = node("t", "manual_trigger"), node("x", "text_transform", template="x")
    tolerant = dice.random() < 0.5
    match kind:
        case "hook":
            return chain(node("t", "webhook_trigger"), call("a", continue_on_error=tolerant), text)
        case "once":
            return chain(start, call("o1", continue_on_error=tolerant), call("o2"), text)
        case "secret":
            body = {"auth": f"{{{{ vault['{secret}'] }}}}", "n": "{{ trigger.n }}"}
            seen = node("y", "text_transform", template="{{ s.body }} {{ s.error.message }}")
            return chain(start, call("s", body=body, continue_on_error=True), seen, call("b"))
        case "form":
            form = node("f", "form", actions=[{"id": "go"}])
            made = chain(start, call("a", continue_on_error=True), form)
            made["nodes"].append(call("b"))
            made["edges"].append({"id": "fb", "source": "f", "target": "b", "sourceHandle": "go"})
            return made
        case "family":
            below = {"workflow_id": child, "input": {"n": 1}}
            loose = node("u", "trigger_workflow", wait=False, **below)
            return chain(start, loose, node("s", "trigger_workflow", **below), call("b"))
        case "loop":
            inside = chain(call("a"), call("o1"))
            items = list(range(dice.randint(1, 4)))
            mode = dice.choice(("parallel", "sequential"))
            loop = node("it", "iterator", items=items, mode=mode, concurrency=2, **inside)
            return chain(start, loop, text)
        case "timed":
            fired = chain(node("t", "schedule_trigger"), call("o1", continue_on_error=True))
            minutes = dice.choice((1, 2, 5))
            return {**fired, "schedule_type": "interval", "schedule_value": f"{minutes} minutes"}
        case _:
            fork = chain(start, call("a", continue_on_error=tolerant), call("b"))
            fork["nodes"] += [call("o1"), node("d", "delay", duration=dice.randint(1, 60))]
            pairs = [("t", "a"), ("t", "o1"), ("t", "d"), ("d", "b"), ("a", "b")]
            fork["edges"] = [{"id": f"{s}{t}", "source": s, "target": t} for s, t in pairs]
            return fork


WILD = ("fork", "hook", "once", "secret", "form", "family", "loop", "timed")
