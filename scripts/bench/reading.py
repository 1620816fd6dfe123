"""W4, W5 and W8: what it takes to read one run, to list the newest, and to start."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .clients import drive
from .executing import WAIT, define
from .figure import Figure
from .floors import http_floor
from .service import Target, service
from .stock import add, stocked
from .workflows import CONTEXT, pure

SIZES: Final = (10_000, 100_000, 1_000_000)
"""How many runs are stored when the newest are listed."""
PAGES: Final = 60


def read(target: Target, seconds: int) -> list[Figure]:
    """W4: GET a finished run, beside the framework answering the same bytes."""
    workflow = define(target, pure())
    path = f"/workflows/{workflow}/execute"
    run = target.call("POST", path, {"context": CONTEXT}, **WAIT)
    request = target.request("GET", f"/workflows/runs/{run['id']}")
    answer = target.call("GET", request.path)
    drive(target.port, request, 1)
    before = target.cpu_s()
    load = drive(target.port, request, seconds)
    spent = 1000 * (target.cpu_s() - before) / load.answers
    if load.refused:
        raise OSError(f"{load.refused} of {load.answers} reads were refused")
    http = http_floor(request, answer, max(2, seconds // 2), starlette=True)
    floor = "starlette + msgspec, the same bytes"
    return [
        Figure("W4", "read", load.per_second, "runs/s", "more", http.load.per_second, floor, 2),
        Figure("W4", "read, p50", load.p50_ms, "ms"),
        Figure("W4", "CPU a read", spent, "ms", "less", http.cpu_ms, floor),
    ]


def listed(sizes: Sequence[int] = SIZES) -> list[Figure]:
    """W5: list the newest 50 among more and more runs; the floor is the smallest number's time."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="refold-bench-") as directory:
        data = Path(directory)
        workflow, run = stocked(data, pure(), CONTEXT, sizes[0] - 1)
        first: float | None = None
        for before, size in zip((sizes[0], *sizes), sizes, strict=False):
            if size > before:
                add(data, run, size - before)
            with service(REFOLD_DATA=directory) as target:
                p50 = _page_ms(target, f"/workflows/{workflow}/executions?per_page=50", size)
            name = f"newest 50 of {size:,} runs, p50"
            figures.append(
                Figure(
                    "W5", name, p50, "ms", "less", first, f"of {sizes[0]:,}", 1.5 if first else None
                )
            )
            first = first or p50
    return figures


def _page_ms(target: Target, path: str, runs: int) -> float:
    """Return the median time of a page, once the views show all runs."""
    until = time.monotonic() + 600
    while (total := target.call("GET", path)["meta"]["total"]) != runs:
        if time.monotonic() > until:
            raise OSError(f"{runs} runs are stored, and the list tells {total}")
        time.sleep(0.5)
    times: list[float] = []
    for _ in range(PAGES):
        began = time.perf_counter()
        target.call("GET", path)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def started() -> list[Figure]:
    """W8: from the start of the process to the first answer that it is ready, and idle memory."""
    times: list[float] = []
    memory: list[float] = []
    for _ in range(5):
        with service() as target:
            times.append(target.ready_s)
            # What a start leaves to be done in the background is done by then.
            time.sleep(1)
            memory.append(target.rss_mb())
    return [
        Figure("W8", "ready after", statistics.median(times), "s", limit=1),
        Figure("W8", "idle memory", statistics.median(memory), "MB", limit=80),
    ]
