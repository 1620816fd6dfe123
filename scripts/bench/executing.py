"""W1a, W1c, W2, W3, W9 and W10: what it takes to execute runs."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any, Final

import msgspec

from .clients import CLIENTS, Load, Request, drive
from .figure import Figure
from .floors import http_floor, journal_floor, outgoing_floor
from .service import Target
from .sink import sink
from .workflows import CONTEXT, FAN_OUT, calls, fork_and_join, pure, synchronous

WAIT: Final = {"Prefer": "wait=30"}
ONE_BY_ONE: Final = 100
ACKNOWLEDGED_SECONDS: Final = 2
"""How long clients may pile up runs that they do not wait for."""


class Done(msgspec.Struct, frozen=True):
    """A load that is over, and what the service spent on it."""

    load: Load
    runs: int
    seconds: float
    """From the first request to the last run's end."""
    cpu_ms: float
    """CPU time of the service for one completed run."""
    after: int
    """The journal's position before it."""
    group: float
    """Events in one commit."""


def acknowledged(target: Target, seconds: int) -> list[Figure]:
    """W1a: each client waits for the acknowledgement only, and sends its next run."""
    workflow = define(target, pure())
    request = execution(target, workflow)
    done = loaded(target, workflow, request, min(seconds, ACKNOWLEDGED_SECONDS))
    rate, load = done.runs / done.seconds, done.load
    return [
        Figure("W1a", "acknowledged", load.per_second, "runs/s", "more"),
        Figure("W1a", "completed", rate, "runs/s", "more"),
        Figure("W1a", "acknowledged, p50", load.p50_ms, "ms"),
        Figure("W1a", "acknowledged, p99", load.p99_ms, "ms"),
        Figure("W1a", "CPU a run", done.cpu_ms, "ms"),
    ]


def completed(target: Target, seconds: int) -> list[Figure]:
    """W1c: each client waits for completion; beside it the floors of HTTP and journal."""
    workflow = define(target, pure())
    answer = target.call("POST", f"/workflows/{workflow}/execute", {"context": CONTEXT}, **WAIT)
    request = execution(target, workflow, **WAIT)
    done = loaded(target, workflow, request, seconds)
    size = sum(file.stat().st_size for file in target.data.glob("journal.db*"))
    http = http_floor(request, answer, max(2, seconds // 2))
    rows = journal_floor(target.data, done.after, done.group)
    cpu = http.cpu_ms + 1000 * rows.cpu_s / done.runs
    # Both share the machine in a service, so their times for one run add up.
    rate = 1 / (1 / http.load.per_second + rows.seconds / done.runs)
    both = "bare HTTP + bare inserts"
    stored = target.completed(workflow)
    return [
        Figure("W1c", "completed", done.load.per_second, "runs/s", "more", rate, both, 2.5),
        Figure("W1c", "completed, p50", done.load.p50_ms, "ms", limit=65),
        Figure("W1c", "completed, p99", done.load.p99_ms, "ms"),
        Figure("W1c", "CPU a run", done.cpu_ms, "ms", "less", cpu, both, 2.5),
        Figure("W1c", "journal on disk", size / stored, "bytes/run"),
        Figure("W1c", "memory", target.rss_mb(), "MB"),
    ]


def one_by_one(target: Target, seconds: int) -> list[Figure]:
    """W2: one run at a time, and how often the disk is asked for each."""
    workflow = define(target, pure())
    path = f"/workflows/{workflow}/execute"
    target.call("POST", path, {"context": CONTEXT}, **WAIT)
    syncs, asleep = (
        target.metric(f"refold_journal_sync_duration_seconds_{part}") for part in ("count", "sum")
    )
    times: list[float] = []
    until = time.monotonic() + seconds
    while len(times) < ONE_BY_ONE and time.monotonic() < until:
        began = time.perf_counter()
        target.call("POST", path, {"context": CONTEXT}, **WAIT)
        times.append(1000 * (time.perf_counter() - began))
    syncs = target.metric("refold_journal_sync_duration_seconds_count") - syncs
    asleep = target.metric("refold_journal_sync_duration_seconds_sum") - asleep
    p50 = statistics.median(times)
    synced = 1000 * asleep / len(times)
    return [
        Figure("W2", "completed, p50", p50, "ms", "less", synced, "the syncs of a run"),
        Figure("W2", "syncs", syncs / len(times), "a run", limit=3),
    ]


def calling(target: Target, seconds: int) -> list[Figure]:
    """W3: five webhook nodes, beside the same client making the same calls alone."""
    with sink() as port:
        workflow = define(target, calls(port))
        request = execution(target, workflow, **WAIT)
        done = loaded(target, workflow, request, seconds)
        alone = asyncio.run(outgoing_floor(port, max(2, seconds // 2), CLIENTS))
    rate, cpu = alone.calls / alone.seconds / 5, 5000 * alone.cpu_s / alone.calls
    floor = "the HTTP client alone"
    return [
        Figure("W3", "completed", done.load.per_second, "runs/s", "more", rate, floor, 2),
        Figure("W3", "completed, p50", done.load.p50_ms, "ms"),
        Figure("W3", "CPU a run", done.cpu_ms, "ms", "less", cpu, floor),
    ]


def forked(target: Target, seconds: int) -> list[Figure]:
    """W9: a fork into many branches and their join, one run at a time."""
    workflow = define(target, fork_and_join())
    path = f"/workflows/{workflow}/execute"
    target.call("POST", path, {"context": CONTEXT}, **WAIT)
    times: list[float] = []
    until, before = time.monotonic() + min(seconds, 3), target.cpu_s()
    while time.monotonic() < until:
        began = time.perf_counter()
        target.call("POST", path, {"context": CONTEXT}, **WAIT)
        times.append(1000 * (time.perf_counter() - began))
    spent = 1000 * (target.cpu_s() - before) / len(times)
    return [
        Figure("W9", f"{FAN_OUT} branches, completed, p50", statistics.median(times), "ms"),
        Figure("W9", "CPU a branch", spent / FAN_OUT, "ms"),
    ]


def round_trips(target: Target, seconds: int) -> list[Figure]:
    """W10: synchronous workflows, whose answer is the last node's."""
    workflow = define(target, synchronous())
    request = target.request("POST", f"/workflows/sync/{workflow}", CONTEXT)
    answer = target.call("POST", f"/workflows/sync/{workflow}", CONTEXT)
    done = loaded(target, workflow, request, seconds)
    http = http_floor(request, answer, max(2, seconds // 2))
    return [
        Figure(
            "W10",
            "answered",
            done.load.per_second,
            "runs/s",
            "more",
            http.load.per_second,
            "bare HTTP",
        ),
        Figure("W10", "answered, p50", done.load.p50_ms, "ms"),
        Figure("W10", "CPU a run", done.cpu_ms, "ms", "less", http.cpu_ms, "bare HTTP"),
    ]


def loaded(
    target: Target, workflow: str, request: Request, seconds: int, clients: int = CLIENTS
) -> Done:
    """Warm up, load a workflow, and demand that every acknowledged run is stored and complete.

    Raises:
        OSError: a run is missing.
    """
    # Nobody waits for the runs of the warm-up; they must not be counted to the load.
    warm = drive(target.port, request, 1, clients)
    target.drained(workflow, warm.answers - warm.refused)
    # Those of clients that were cut off end by themselves, and nothing tells when.
    time.sleep(0.2)
    before, spent = target.completed(workflow), target.cpu_s()
    after, commits = (
        _position(target),
        target.metric("refold_journal_commit_duration_seconds_count"),
    )
    began = time.perf_counter()
    load = drive(target.port, request, seconds, clients)
    target.drained(workflow, before + load.answers - load.refused)
    took = time.perf_counter() - began
    runs, cpu = target.completed(workflow) - before, target.cpu_s() - spent
    # Clients that were cut off at the end may have a run each that they never heard of.
    if runs > load.answers + 2 * clients:
        raise OSError(f"{load.answers} answers, but {runs} completed runs are stored")
    commits = target.metric("refold_journal_commit_duration_seconds_count") - commits
    group = (_position(target) - after) / commits
    return Done(load, runs, took, 1000 * cpu / runs, after, group)


def execution(target: Target, workflow: str, **headers: str) -> Request:
    """Return the request that executes a workflow."""
    path = f"/workflows/{workflow}/execute"
    return target.request("POST", path, {"context": CONTEXT}, **headers)


def define(target: Target, workflow: dict[str, Any]) -> str:
    """Store a workflow and return its id."""
    return str(target.call("POST", "/workflows", workflow)["id"])


def _position(target: Target) -> int:
    return int(target.metric("refold_journal_position"))
