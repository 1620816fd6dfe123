"""`refold bench --growth`: what a run costs as journal, clients, graphs and payloads grow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from .executing import WAIT, define, loaded
from .figure import Figure
from .service import Target, service
from .stock import add, stocked
from .workflows import CONTEXT, pure

EVENTS_A_RUN: Final = 9
JOURNALS: Final = (0, 1_000_000, 10_000_000)
CLIENTS: Final = (1, 16, 64, 256, 1024)
NODES: Final = (1, 10, 100, 1000)
PAYLOADS: Final = (1, 16, 64, 256)
"""In KiB."""


def grown(seconds: int, journals: Sequence[int] = JOURNALS) -> list[Figure]:
    """Measure one curve after the other; the first point of each is the floor of the others."""
    figures = _curve("clients", CLIENTS, lambda count: _served(seconds, clients=count))
    figures += _curve("nodes", NODES, lambda count: _served(seconds, nodes=count), per_unit=True)
    figures += _curve("KiB of payload", PAYLOADS, lambda size: _served(seconds, kib=size))
    return figures + _journals(seconds, journals)


def _curve(
    name: str,
    sizes: Sequence[int],
    measure: Callable[[int], tuple[float, float]],
    *,
    per_unit: bool = False,
) -> list[Figure]:
    figures: list[Figure] = []
    for size in sizes:
        cpu, p50 = measure(size)
        first = figures[0].value if figures else None
        shown = f"{size:,} {name}, CPU a run"
        if per_unit:
            figures.append(Figure("growth", f"{shown} and node", cpu / size, "ms", "less", first))
        else:
            figures.append(Figure("growth", shown, cpu, "ms", "less", first))
        figures.append(Figure("growth", f"{size:,} {name}, p50", p50, "ms"))
    return figures


def _served(seconds: int, clients: int = 64, nodes: int = 5, kib: int = 0) -> tuple[float, float]:
    with service(REFOLD_WORKFLOW_NODES_MAX="2000", REFOLD_MAX_ACTIVE_RUNS="2000") as target:
        return _cpu_and_p50(target, seconds, clients, nodes, kib)


def _cpu_and_p50(
    target: Target, seconds: int, clients: int = 64, nodes: int = 5, kib: int = 0
) -> tuple[float, float]:
    workflow = define(target, pure(nodes))
    context: dict[str, Any] = {**CONTEXT, **({"text": "x" * 1024 * kib} if kib else {})}
    path = f"/workflows/{workflow}/execute"
    request = target.request("POST", path, {"context": context}, **WAIT)
    done = loaded(target, workflow, request, seconds, clients)
    return done.cpu_ms, done.load.p50_ms


def _journals(seconds: int, sizes: Sequence[int]) -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as directory:
        data = Path(directory)
        _, run = stocked(data, pure(), CONTEXT, 0)
        before = 0
        for size in sizes:
            add(data, run, (size - before) // EVENTS_A_RUN)
            before = size
            with service(REFOLD_DATA=directory) as target:
                cpu, p50 = _cpu_and_p50(target, seconds)
            first = figures[0].value if figures else None
            name = f"{size:,} events in the journal"
            figures.append(
                Figure("growth", f"{name}, CPU a run", cpu, "ms", "less", first, limit=1.2)
            )
            figures.append(Figure("growth", f"{name}, p50", p50, "ms"))
    return figures
