"""`refold bench`: completed runs a second, latencies and memory, with a baseline beside them."""

from __future__ import annotations

import http.client
import json
import os
import platform
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from .bench_load import CLIENTS, Load, drive, sink

READY_SECONDS_MAX = 60


class Row(msgspec.Struct, frozen=True):
    """One workload's figures."""

    name: str
    load: Load
    service_cpu_ms: float
    """CPU time of the service for one completed run."""
    rss_mb: float


class Target(msgspec.Struct):
    """A service under load."""

    process: subprocess.Popen[str]
    port: int
    token: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the answer's JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise OSError(f"{method} {path} answered {answer.status}: {content[:300]!r}")
        return json.loads(content)

    def cpu_s(self) -> float:
        """Return the CPU time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def wait_ready(self) -> None:
        """Return once the views have caught up."""
        until = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < until:
            try:
                if self.call("GET", "/readyz")["status"] == "ready":
                    return
            except OSError:
                time.sleep(0.05)
        raise OSError("the service did not become ready")


def bench(
    *,
    seconds: Annotated[int, Parameter(help="How long each load lasts.")] = 8,
    stored_runs: Annotated[
        int, Parameter(help="Finished runs stored before memory is measured again; 0 skips it.")
    ] = 100_000,
    as_json: Annotated[bool, Parameter("--json", help="Print JSON instead of a table.")] = False,
) -> int:
    """Measure this machine: 64 clients that each wait for completion, on a real service.

    Every acknowledged run is counted again afterwards: the views must show each one as completed.
    """
    rows: list[Row] = []
    memory: dict[str, float] = {}
    with sink() as sink_port:
        pure, calling = _workflows(sink_port)
        with _service() as target:
            time.sleep(1)
            memory["idle"] = target.rss_mb()
            rows.append(_measure(target, "5 pure nodes", pure, seconds))
            rows.append(_measure(target, "5 webhook nodes", calling, seconds))
        with _service(REFOLD_BATCH_MAX="1") as target:
            rows.append(_measure(target, "5 pure nodes, a commit an append", pure, seconds))
        if stored_runs:
            memory |= _memory_with(pure, stored_runs)
    if as_json:
        shown = {"rows": msgspec.to_builtins(rows), "memory_mb": memory, "machine": _machine()}
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


@contextmanager
def _service(**environ: str) -> Generator[Target, None, None]:
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as directory:
        secret = secrets.token_hex(32)
        process = subprocess.Popen(
            [sys.executable, "-m", "refold.scripts.cli", "serve"],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")},
                "REFOLD_DATA": directory,
                "REFOLD_PORT": "0",
                "REFOLD_JWT_SECRET": secret,
                "REFOLD_EGRESS_ALLOW": "127.0.0.0/8",
                **environ,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Target(process, _port(process), _token(secret))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if "Refold serves " in line:
            return int(line.split("Refold serves ")[1].split()[0].rsplit(":", 1)[1])
    raise OSError("the service did not start")


def _token(secret: str) -> str:
    from ..http.auth import SCOPES, mint

    return mint(
        secret, subject="bench", tenant="bench", scopes=SCOPES, ttl_s=86400, now=int(time.time())
    )


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
        with _service(REFOLD_DATA=directory) as target:
            made = target.call("POST", "/workflows", workflow)["id"]
            while _completed(target, made) < runs:
                drive(target.port, f"/workflows/{made}/execute", target.token, 10)
            stored = _completed(target, made)
            size = sum(file.stat().st_size for file in Path(directory).glob("journal.db*"))
        with _service(REFOLD_DATA=directory) as target:
            target.wait_ready()
            target.call("GET", f"/workflows/{made}/executions")
            time.sleep(1)
            return {
                "stored_runs": stored,
                "idle_with_stored_runs": target.rss_mb(),
                "journal_bytes_a_run": size / stored,
            }


def _machine() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "durability": "WAL, synchronous=FULL",
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
        + ", ".join(f"{name} {value}" for name, value in _machine().items())
    )
