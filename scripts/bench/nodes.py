"""`refold bench --nodes`: what iterators, large graphs, sleepers and schedules cost."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

import msgspec

from .service import Target, machine, service
from .workflows import chain, text

ITEMS: Final = 1000
GRAPH_NODES: Final = 500
SLEEPERS: Final = 10_000
SCHEDULES: Final = 1000
REPEATS: Final = 5
CLIENTS: Final = 8
WATCHED_SECONDS: Final = 10


class Figure(msgspec.Struct, frozen=True):
    """One thing that was measured, and what it should be below."""

    name: str
    value: float
    unit: str
    limit: float


def bench_nodes(*, as_json: bool) -> int:
    """Measure each on a service of its own; returns 1 where a figure is over its limit."""
    figures: list[Figure] = []
    for measure in (_iterator, _graph, _sleepers, _schedules):
        with service(REFOLD_MAX_ACTIVE_RUNS="1000") as target:
            figures += measure(target)
    if as_json:
        shown = {"figures": msgspec.to_builtins(figures), "machine": machine()}
        print(json.dumps(shown, indent=2))
    else:
        _print(figures)
    return 0 if all(figure.value < figure.limit for figure in figures) else 1


def _iterator(target: Target) -> list[Figure]:
    body = {"id": "x", "type": "a", "data": text({"n": "{{ item }}", "i": "{{ index }}"})}
    data = {"componentId": "iterator", "items": "{{ trigger.items }}", "nodes": [body]}
    workflow = _define(target, [("it", data)])
    _execute(target, workflow, {"items": [1]})
    idle = target.rss_mb()
    payload = {"items": list(range(ITEMS))}
    seconds = [_execute(target, workflow, payload)["duration_in_seconds"] for _ in range(REPEATS)]
    return [
        Figure(f"iterator, {ITEMS} pure items, median", sorted(seconds)[REPEATS // 2], "s", 1),
        Figure(f"the same, {REPEATS} runs later, above idle", target.rss_mb() - idle, "MB", 30),
    ]


def _graph(target: Target) -> list[Figure]:
    steps = [(f"n{i}", text("{{ trigger.user }}")) for i in range(GRAPH_NODES - 1)]
    workflow = _define(target, steps)
    starts = [_first_start_ms(_execute(target, workflow, {})) for _ in range(REPEATS)]
    # The first run of a version reads and compiles it.
    return [
        Figure(f"graph of {GRAPH_NODES} nodes, its first node begins, cold", starts[0], "ms", 50),
        Figure("the same, warm, median", sorted(starts[1:])[len(starts) // 2 - 1], "ms", 50),
    ]


def _first_start_ms(run: dict[str, Any]) -> float:
    first = datetime.fromisoformat(run["logs"][1]["started_at"])
    return (first - datetime.fromisoformat(run["created_at"])).total_seconds() * 1000


def _sleepers(target: Target) -> list[Figure]:
    delay = _define(target, [("d", {"componentId": "delay", "duration": 900})])
    form = _define(target, [("f", {"componentId": "form", "title": "Go on?"})])
    _execute_many(target, delay, 100)
    _execute_many(target, form, 100)
    target.wait_ready()
    time.sleep(2)
    before = target.rss_mb()
    _execute_many(target, delay, SLEEPERS // 2)
    _execute_many(target, form, SLEEPERS // 2)
    target.wait_ready()
    time.sleep(2)
    memory = target.rss_mb() - before
    name = f"{SLEEPERS // 2:,} delays and {SLEEPERS // 2:,} forms"
    return [
        Figure(f"{name} asleep", memory, "MB", 50),
        Figure("the same, of a core", _share_of_core(target), "%", 1),
    ]


def _schedules(target: Target) -> list[Figure]:
    schedule = {"schedule_type": "interval", "schedule_value": "1 hour"}
    trigger = "schedule_trigger"
    for _ in range(SCHEDULES):
        _define(target, [("x", text("x"))], trigger, **schedule)
    time.sleep(2)
    return [Figure(f"{SCHEDULES:,} schedules waiting, of a core", _share_of_core(target), "%", 1)]


def _share_of_core(target: Target) -> float:
    """Return the CPU time that a service takes while nothing happens, in per cent."""
    before, began = target.cpu_s(), time.monotonic()
    time.sleep(WATCHED_SECONDS)
    return 100 * (target.cpu_s() - before) / (time.monotonic() - began)


def _define(
    target: Target,
    steps: list[tuple[str, dict[str, Any]]],
    trigger: str = "manual_trigger",
    **fields: str,
) -> str:
    made = chain("bench", steps, trigger, **fields)
    return str(target.call("POST", "/workflows", made)["id"])


def _execute(target: Target, workflow: str, context: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = target.call(
        "POST", f"/workflows/{workflow}/execute", {"context": context}, Prefer="wait=30"
    )
    if run["status"] != "completed":
        raise OSError(f"the run {run['id']} is {run['status']}: {run['error_message']}")
    return run


def _execute_many(target: Target, workflow: str, count: int) -> None:
    """Start runs without waiting for any, over a few connections."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [count // CLIENTS] * CLIENTS
        shares[0] += count % CLIENTS
        list(pool.map(_starter(target, workflow), shares))


def _starter(target: Target, workflow: str) -> Callable[[int], None]:
    def start(count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
        headers = {"Authorization": f"Bearer {target.token}"}
        for _ in range(count):
            connection.request("POST", f"/workflows/{workflow}/execute", None, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 202:
                raise OSError(f"execute answered {answer.status}: {content[:300]!r}")
        connection.close()

    return start


def _print(figures: list[Figure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("measured", "value", "unit", "below"):
        table.add_column(column, justify="right" if column in ("value", "below") else "left")
    for figure in figures:
        style = None if figure.value < figure.limit else "red"
        limit = f"{figure.limit:g}"
        table.add_row(figure.name, f"{figure.value:.2f}", figure.unit, limit, style=style)
    console = Console()
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
