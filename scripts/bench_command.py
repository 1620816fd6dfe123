"""`refold bench`: completed runs a second, latencies and memory, with a baseline beside them."""

from __future__ import annotations

import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from .bench_load import CLIENTS, Load, drive, sink
from .bench_service import Target, machine, service


class Row(msgspec.Struct, frozen=True):
    """One workload's figures."""

    name: str
    load: Load
    service_cpu_ms: float
    """CPU time of the service for one completed run."""
    rss_mb: float


def bench(
    *,
    seconds: Annotated[int, Parameter(help="How long each load lasts.")] = 8,
    stored_runs: Annotated[
        int, Parameter(help="Finished runs stored before memory is measured again; 0 skips it.")
    ] = 100_000,
    nodes: Annotated[
        bool, Parameter(help="Measure iterators, large graphs, sleepers and schedules instead.")
    ] = False,
    as_json: Annotated[bool, Parameter("--json", help="Print JSON instead of a table.")] = False,
) -> int:
    """Measure this machine: 64 clients that each wait for completion, on a real service.

    Every acknowledged run is counted again afterwards: the views must show each one as completed.
    """
    if nodes:
        from .bench_nodes import bench_nodes

        return bench_nodes(as_json=as_json)
    rows: list[Row] = []
    memory: dict[str, float] = {}
    with sink() as sink_port:
        pure, calling = _workflows(sink_port)
        with service() as target:
            # What a start leaves to be done in the background is done by then.
            time.sleep(1)
            memory["idle"] = target.rss_mb()
            rows.append(_measure(target, "5 pure nodes", pure, seconds))
            rows.append(_measure(target, "5 webhook nodes", calling, seconds))
        with service(REFOLD_BATCH_MAX="1") as target:
            rows.append(_measure(target, "5 pure nodes, a commit an append", pure, seconds))
        if stored_runs:
            memory |= _memory_with(pure, stored_runs)
    if as_json:
        shown = {"rows": msgspec.to_builtins(rows), "memory_mb": memory, "machine": machine()}
        print(json.dumps(shown, indent=2))
    else:
        _print(rows, memory, seconds)
    return 0


def _workflows(sink_port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two definitions: five pure nodes, and five calls of the sink."""
    pure: list[tuple[str, dict[str, Any]]] = [
        ("greet", {"componentId": "text_transform", "template": "Hello {{ trigger.user.name }}"}),
        ("double", {"componentId": "text_transform", "template": {"n": "{{ trigger.amount }}"}}),
        (
            "large",
            {
                "componentId": "number_condition",
                "left": "{{ double.n }}",
                "operator": "greater_than",
                "right": 10,
            },
        ),
        ("line", {"componentId": "text_transform", "template": "{{ greet.text }}!"}),
        ("last", {"componentId": "text_transform", "template": "{{ line.text }} {{ double.n }}"}),
    ]
    url = f"http://127.0.0.1:{sink_port}/"
    calls: list[tuple[str, dict[str, Any]]] = [
        (
            f"call{i}",
            {"componentId": "webhook", "url": url, "body": {"id": "{{ trigger.user.id }}"}},
        )
        for i in range(5)
    ]
    return _chain("pure", pure), _chain("calls", calls)


def _chain(name: str, steps: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = [
        {"id": "start", "type": "trigger", "data": {"componentId": "manual_trigger"}}
    ]
    nodes += [{"id": node, "type": "action", "data": data} for node, data in steps]
    edges: list[dict[str, str]] = []
    for index, (before, after) in enumerate(pairwise(nodes)):
        edge = {"id": f"e{index}", "source": before["id"], "target": after["id"]}
        if before["data"]["componentId"].endswith("_condition"):
            edge["sourceHandle"] = "true"
        edges.append(edge)
    return {"name": name, "nodes": nodes, "edges": edges}


def _measure(target: Target, name: str, workflow: dict[str, Any], seconds: int) -> Row:
    made = target.call("POST", "/workflows", workflow)["id"]
    path = f"/workflows/{made}/execute"
    drive(target.port, path, target.token, 1)
    before_runs, before_cpu = _completed(target, made), target.cpu_s()
    load = drive(target.port, path, target.token, seconds)
    cpu = target.cpu_s() - before_cpu
    completed = _completed(target, made) - before_runs
    # Clients that were cut off, at the end of the warm-up or of the load, may have a run each
    # that they never heard of.
    if not load.answers - load.refused <= completed <= load.answers + 2 * CLIENTS:
        raise OSError(f"{load.answers} answers, but {completed} completed runs are stored")
    return Row(name, load, 1000 * cpu / completed, target.rss_mb())


def _completed(target: Target, workflow_id: str) -> int:
    target.wait_ready()
    page = target.call("GET", f"/workflows/{workflow_id}/executions?status=completed&per_page=1")
    return int(page["meta"]["total"])


def _memory_with(workflow: dict[str, Any], runs: int) -> dict[str, float]:
    """Store finished runs, start again, and return the idle memory before and after."""
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as directory:
        with service(REFOLD_DATA=directory) as target:
            made = target.call("POST", "/workflows", workflow)["id"]
            while _completed(target, made) < runs:
                drive(target.port, f"/workflows/{made}/execute", target.token, 10)
            stored = _completed(target, made)
            size = sum(file.stat().st_size for file in Path(directory).glob("journal.db*"))
        with service(REFOLD_DATA=directory) as target:
            target.wait_ready()
            target.call("GET", f"/workflows/{made}/executions")
            # As above, so that both figures are of a service at rest.
            time.sleep(1)
            return {
                "stored_runs": stored,
                "idle_with_stored_runs": target.rss_mb(),
                "journal_bytes_a_run": size / stored,
            }


def _print(rows: list[Row], memory: dict[str, float], seconds: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{CLIENTS} clients, each waits for completion, {seconds} s each",
        title_justify="left",
    )
    for column in ("load", "runs/s", "p50 ms", "p99 ms", "CPU ms a run", "client CPU s", "MB"):
        table.add_column(column, justify="left" if column == "load" else "right")
    for row in rows:
        load = row.load
        table.add_row(
            row.name,
            f"{load.per_second:,.0f}",
            f"{load.p50_ms:.1f}",
            f"{load.p99_ms:.1f}",
            f"{row.service_cpu_ms:.2f}",
            f"{load.client_cpu_s:.1f}",
            f"{row.rss_mb:.0f}",
        )
    console = Console()
    console.print(table)
    ratio = rows[0].load.per_second / rows[-1].load.per_second
    console.print(f"Group commit is {ratio:.1f} times a commit an append.")
    console.print(
        "Memory: " + ", ".join(f"{name.replace('_', ' ')} {v:,.0f}" for name, v in memory.items())
    )
    console.print(
        f"Client: {rows[0].load.client}. "
        + ", ".join(f"{name} {value}" for name, value in machine().items())
    )
