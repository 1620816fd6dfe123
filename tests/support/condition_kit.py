"""Compiles and runs single condition nodes, at a fixed time where one is asked for."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from refold.engine.component import Outcome, PureNode
from refold.engine.nodes.catalogue import compile_node
from refold.engine.wall_clock import WallClock

NOON = "2025-10-31T12:00:00.000000Z"
"""A Friday noon in London, an hour later in Rome."""


def compiled(component: str, data: dict[str, Any]) -> PureNode[Any]:
    """Compile a pure node; its faults begin with `nodes[0].data.`."""
    node = compile_node({"id": "n", "data": {"componentId": component, **data}}, "nodes[0]")
    assert isinstance(node, PureNode)
    return node


def decide(component: str, context: dict[str, Any] | None = None, /, **data: Any) -> Outcome:
    """Compile a condition and run it."""
    return compiled(component, data).run(context or {})


def check(outcome: Outcome, result: bool) -> None:
    """See that a condition says the same by its output and by its handle."""
    assert outcome.output["result"] is result
    assert outcome.handle == ("true" if result else "false")


class FixedClock:
    """A clock that stands."""

    def __init__(self, at: str) -> None:
        moment = datetime.fromisoformat(at)
        self._now_us = round(moment.astimezone(UTC).timestamp() * 1e6)

    def now_us(self) -> int:
        """Return the one time."""
        return self._now_us


@contextmanager
def at(moment: str) -> Generator[None]:
    """Let it be this moment for nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WallClock, "source", FixedClock(moment))
        yield
