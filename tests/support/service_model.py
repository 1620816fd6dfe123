"""A model of the whole service: what each call must answer, kept in plain dictionaries.

Every workflow has one shape, with its tolerance drawn; so what a run comes to follows from the
flag it was given and from how the endpoint was told to answer.

    start ─ a (call) ─ check ─ true ─── b (call, perhaps tolerated) ─ end
                            └─ false ── other (text) ────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.service import node

NODES = ("start", "a", "check", "b", "other", "end")
BELOW = {
    "start": {"a", "check", "b", "other", "end"},
    "a": {"check", "b", "other", "end"},
    "check": {"b", "other", "end"},
    "b": {"end"},
    "other": {"end"},
    "end": set[str](),
}


def definition(url: str, org: str, *, tolerant: bool) -> dict[str, Any]:
    """Write the one shape, calling an endpoint under the tenant's own path."""
    edges = [
        ("start", "a", None),
        ("a", "check", None),
        ("check", "b", "true"),
        ("check", "other", "false"),
        ("b", "end", None),
        ("other", "end", None),
    ]
    return {
        "name": "modelled",
        "nodes": [
            node("start", "manual_trigger"),
            node("a", "webhook", url=f"{url}/{org}/a", body={"flag": "{{ start.flag }}"}),
            node(
                "check", "string_condition", left="{{ start.flag }}", operator="equals", right="yes"
            ),
            node("b", "webhook", url=f"{url}/{org}/b", continue_on_error=tolerant),
            node("other", "text_transform", template="no {{ a.status }}"),
            node("end", "text_transform", template="{{ b.status }}{{ other.text }}"),
        ],
        "edges": [
            {"id": f"e{i}", "source": source, "target": target, "sourceHandle": handle}
            for i, (source, target, handle) in enumerate(edges)
        ],
    }


@dataclass
class Flow:
    """A workflow: the tolerance of each version, and whether it is on and still there."""

    tolerances: list[bool]
    is_active: bool = True
    is_deleted: bool = False

    @property
    def version(self) -> int:
        """The current version."""
        return len(self.tolerances)


@dataclass
class Ran:
    """A run that has ended."""

    workflow: str
    version: int
    flag: str
    outcomes: dict[str, str]
    """Node to its log status, in the order of the log."""
    answer: bytes = b""

    @property
    def status(self) -> str:
        """What the run's status must be."""
        return "failed" if "error" in self.outcomes.values() else "completed"

    @property
    def failed_node(self) -> str | None:
        """Which node must be named as the failed one."""
        return next((n for n, status in self.outcomes.items() if status == "error"), None)


@dataclass
class World:
    """Everything that one tenant has done, and how the endpoint answers."""

    fails: set[str] = field(default_factory=set[str])
    """The paths that answer 503 at present: `a`, `b`."""
    flows: dict[str, Flow] = field(default_factory=dict[str, Flow])
    runs: dict[str, Ran] = field(default_factory=dict[str, Ran])
    keys: dict[str, tuple[str, str, str]] = field(default_factory=dict[str, tuple[str, str, str]])
    """Idempotency key to workflow, flag and run."""
    calls: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})

    def play(self, flow: str, version: int, flag: str, kept: dict[str, str]) -> Ran:
        """Say what a run comes to that carries on from kept nodes, and count its calls."""
        tolerant = self.flows[flow].tolerances[version - 1]
        done = dict(kept)
        for name in self._way(flag):
            if name in done:
                continue
            if name in ("a", "b"):
                self.calls[name] += 1
                if name in self.fails:
                    done[name] = "warning" if name == "b" and tolerant else "error"
                    if done[name] == "error":
                        break
                    continue
            done[name] = "success"
        return Ran(flow, version, flag, done)

    @staticmethod
    def _way(flag: str) -> list[str]:
        return ["start", "a", "check", "b" if flag == "yes" else "other", "end"]

    def kept(self, run: Ran, chosen: str) -> dict[str, str]:
        """Return the nodes that a resume keeps, with their log status."""
        return {
            name: status
            for name, status in run.outcomes.items()
            if status != "error" and name not in BELOW[chosen]
        }

    def executed(self, run: Ran, chosen: str) -> set[str]:
        """Return the nodes that a resume may execute: what the kept ones still lead to."""
        kept = self.kept(run, chosen)
        found: set[str] = set()
        for name in kept:
            for target in BELOW[name]:
                if target in kept:
                    continue
                branch = "b" if run.flag == "yes" else "other"
                if "check" in kept and target in ("b", "other") and target != branch:
                    continue
                found.add(target)
        return found
