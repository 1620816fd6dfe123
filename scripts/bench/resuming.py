"""W6: resume-from in a run of 100 nodes, and in one of 10,000 events beside other writers."""

from __future__ import annotations

import statistics
import threading
import time
from datetime import datetime
from typing import Any, Final

from .clients import drive
from .executing import WAIT, define, execution
from .figure import Figure
from .service import Target
from .sink import sink
from .workflows import CONTEXT, chain, failing, pure, text

NODES: Final = 100
RESUMES: Final = 15
ITEMS: Final = 1000
STEPS_AN_ITEM: Final = 8
LONG_RESUMES: Final = 5
OTHERS: Final = 8
"""Clients that go on executing runs while the long one is copied."""


def resumed(target: Target, seconds: int) -> list[Figure]:
    """Resume from node 50 of 100, and from the middle of a long history."""
    with sink() as port:
        return [*_short(target, port), *_long(target, port, seconds)]


def _short(target: Target, port: int) -> list[Figure]:
    workflow = define(target, failing(NODES, port))
    run = _failed(target, workflow, CONTEXT)
    times: list[float] = []
    for _ in range(RESUMES):
        began = time.perf_counter()
        made = target.call(
            "POST", f"/workflows/runs/{run}/resume-from/n{NODES // 2 - 1}", {}, **WAIT
        )
        times.append(1000 * (time.perf_counter() - began))
        if made["new_run"]["status"] != "failed":
            raise OSError(f"the resumed run is {made['new_run']['status']}")
    name = f"resume from node {NODES // 2} of {NODES}, done, p50"
    return [Figure("W6", name, statistics.median(times), "ms", limit=25)]


def _long(target: Target, port: int, seconds: int) -> list[Figure]:
    steps = [(f"s{place}", text("{{ item }}")) for place in range(STEPS_AN_ITEM)]
    body = chain("body", steps)
    nodes, edges = body["nodes"][1:], body["edges"][1:]
    iterator = {
        "componentId": "iterator",
        "items": "{{ trigger.items }}",
        "nodes": nodes,
        "edges": edges,
    }
    refused = {"componentId": "webhook", "url": f"http://127.0.0.1:{port}/refuse"}
    workflow = define(target, chain("long", [("each", iterator), ("last", refused)]))
    run = _failed(target, workflow, {"items": list(range(ITEMS))})
    light = execution(target, define(target, pure()), **WAIT)
    drive(target.port, light, 1, OTHERS)
    alone = drive(target.port, light, seconds, OTHERS)
    first, acknowledged, rates = _long_resumes(target, run)
    beside = _beside(target, run, lambda: drive(target.port, light, seconds, OTHERS).p99_ms)
    return [
        Figure("W6", "resume in a long run, acknowledged, the first", first, "ms", limit=30),
        Figure("W6", "resume in a long run, acknowledged, p50", acknowledged, "ms", limit=30),
        Figure("W6", "its events copied", rates, "events/s", "more", limit=25_000),
        Figure("W6", "other runs meanwhile, p99", beside, "ms", "less", alone.p99_ms, "alone", 2),
    ]


def _long_resumes(target: Target, run: str) -> tuple[float, float, float]:
    """Return the first and the median time to the acknowledgement, and events copied a second."""
    times: list[float] = []
    rates: list[float] = []
    for _ in range(LONG_RESUMES):
        began = time.perf_counter()
        answer = target.call("POST", f"/workflows/runs/{run}/resume-from/each", {})
        times.append(1000 * (time.perf_counter() - began))
        made = _ended(target, answer["new_run"])
        events = _events_total(target, made["id"])
        copied = datetime.fromisoformat(made["started_at"]) - datetime.fromisoformat(
            made["created_at"]
        )
        rates.append(events / copied.total_seconds())
    return times[0], statistics.median(times), statistics.median(rates)


def _beside(target: Target, run: str, measure: Any) -> float:
    """Measure while the long run is resumed over and over."""
    is_over = threading.Event()

    def resume() -> None:
        while not is_over.is_set():
            answer = target.call("POST", f"/workflows/runs/{run}/resume-from/each", {})
            _ended(target, answer["new_run"])

    thread = threading.Thread(target=resume)
    thread.start()
    try:
        return float(measure())
    finally:
        is_over.set()
        thread.join()


def _failed(target: Target, workflow: str, context: dict[str, Any]) -> str:
    run = target.call("POST", f"/workflows/{workflow}/execute", {"context": context}, **WAIT)
    run = _ended(target, run)
    if run["status"] != "failed":
        raise OSError(f"the run is {run['status']} and should have failed at its last node")
    return str(run["id"])


def _ended(target: Target, run: Any) -> Any:
    """Wait for the end of its workflow's newest run, and return it as lists show it.

    A list tells it from a row: to be asked for the run itself, with thousands of logs, over and
    over would be the heavier load, and measured with what it waits for.
    """
    path = f"/workflows/{run['workflow_id']}/executions?per_page=1"
    while True:
        shown = target.call("GET", path)["data"]
        if shown and shown[0]["id"] == run["id"] and shown[0]["status"] in ("completed", "failed"):
            return shown[0]
        time.sleep(0.05)


def _events_total(target: Target, run: str) -> int:
    total, after = 0, 0
    while True:
        page = target.call("GET", f"/workflows/runs/{run}/events?after={after}&limit=1000")
        total += len(page["data"])
        if page["next"] is None:
            return total
        after = page["next"]
