"""A flood beside a healthy tenant: what it costs the healthy one, and what it leaves behind.

    python tests/bench/flood.py --requests 20000 --connections 500

It serves a new data directory, measures the healthy tenant alone, then again while another tenant
sends its requests on as many connections as it was told, each as fast as it is answered. It prints
both 99th percentiles and their ratio, the service's memory at its highest, and what became of the
flood: each run that was accepted has to end. Exit code 1 where one did not, or was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiohttp

from tests.support.http_kit import create, quick
from tests.support.service import Client, Service, running, token

PAUSE_S = 0.02
"""How long the healthy tenant waits between its requests."""
SETTLING_S = 1.0
"""How long the flood has its connections opened before anything is counted."""
ALONE = 300
"""How many requests it makes before the flood."""


def cpu_s(pid: int) -> float:
    """Return how many seconds a process has computed so far, on all of its threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def healthy(port: int, pid: int, workflow: str, count: int) -> None:
    """Execute a workflow again and again, waiting for its end; print the seconds of each, and when.

    The first number is what a clock says, the second what the service computed meanwhile, for
    whomever: that one does not change with what else the machine does.

    It runs in a process of its own, so that it waits for the service and for nothing else, until
    it has made `count` requests or its standard input is closed.
    """
    client = Client(port, token("healthy"))
    for _ in range(count):
        began, computed = time.perf_counter(), cpu_s(pid)
        reply = client.post(f"/workflows/{workflow}/execute", Prefer="wait=30")
        print(time.perf_counter() - began, cpu_s(pid) - computed, began, flush=True)
        assert reply.status == 200, reply
        if select.select([sys.stdin], [], [], PAUSE_S)[0]:
            break
    client.close()


def begin_healthy(service: Service, workflow: str, count: int) -> subprocess.Popen[str]:
    """Start the healthy tenant."""
    assert service.process is not None
    told = f"{service.port}:{service.process.pid}:{workflow}:{count}"
    command = [sys.executable, __file__, "--healthy", told]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def seconds_of(
    process: subprocess.Popen[str], since: float = 0.0, until: float = 1e18
) -> tuple[list[float], list[float]]:
    """Let the healthy tenant come to its end and return what it measured: by the clock, in CPU.

    Only what began between two times of the machine's clock counts.
    """
    said, _ = process.communicate()
    assert process.returncode == 0, "the healthy tenant was refused"
    numbers = [float(word) for word in said.split()]
    counted = [
        (clock, cpu)
        for clock, cpu, began in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
        if since <= began <= until
    ]
    return [clock for clock, _ in counted], [cpu for _, cpu in counted]


async def flood(base: str, workflow: str, requests: int, connections: int) -> Counter[int]:
    """Send the flood and return its answers by status; who is refused asks again at once."""
    answers: Counter[int] = Counter()
    left = requests
    headers = {"Authorization": f"Bearer {token('flood')}"}
    pool = aiohttp.TCPConnector(limit=connections)

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            async with session.post(f"{base}/workflows/{workflow}/execute") as reply:
                await reply.read()
                answers[reply.status] += 1

    async with aiohttp.ClientSession(headers=headers, connector=pool) as session:
        await asyncio.gather(*(one(session) for _ in range(connections)))
    return answers


def memory_mb(service: Service) -> float:
    """Return the most memory that the service has had, in megabytes."""
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def p99_ms(seconds: list[float]) -> float:
    """Return the 99th percentile in milliseconds."""
    return sorted(seconds)[max(0, len(seconds) * 99 // 100 - 1)] * 1000


async def ended(base: str, workflow: str, status: str) -> int:
    """Return how many of a workflow's runs have a status."""
    headers = {"Authorization": f"Bearer {token('flood')}"}
    path = f"{base}/workflows/{workflow}/executions?per_page=1&status={status}"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(path) as reply:
        return int((await reply.json())["meta"]["total"])


async def measure(
    service: Service, ours: str, theirs: str, requests: int, connections: int
) -> bool:
    """Measure and print; return whether nothing was lost."""
    base = f"http://127.0.0.1:{service.port}"
    first = begin_healthy(service, ours, ALONE)
    first.wait()
    alone = seconds_of(first)
    beside = begin_healthy(service, ours, 10**9)
    began = time.perf_counter()
    # The flood gets what the others leave of a small machine, and fills that.
    os.nice(10)
    answers = await flood(base, theirs, requests, connections)
    seconds = time.perf_counter() - began
    took = seconds_of(beside, began + SETTLING_S, began + seconds)
    for name, before, then in zip(("clock", "CPU"), alone, took, strict=True):
        print(
            f"{name}: alone p50 {median(before) * 1000:.1f} p99 {p99_ms(before):.1f} ms, beside "
            f"p50 {median(then) * 1000:.1f} p99 {p99_ms(then):.1f} ms ({len(then)} requests); "
            f"ratio of p50 {median(then) / median(before):.1f}, "
            f"p99 {p99_ms(then) / p99_ms(before):.1f}"
        )
    print(f"flood: {requests} requests, {connections} connections, {requests / seconds:.0f}/s")
    print(f"answers: {dict(answers)}")
    completed = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(300):
            while completed < answers[202]:
                completed = await ended(base, theirs, "completed")
                await asyncio.sleep(0.2)
    print(f"accepted {answers[202]}, completed {completed}; memory {memory_mb(service):.0f} MB")
    return completed == answers[202] and set(answers) <= {202, 429, 503}


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--healthy", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.healthy:
        port, pid, workflow, count = wanted.healthy.split(":")
        healthy(int(port), int(pid), workflow, int(count))
        return 0
    with tempfile.TemporaryDirectory() as directory, running(Path(directory) / "data") as service:
        ours, theirs = service.client("healthy"), service.client("flood")
        workflows = create(ours, quick()), create(theirs, quick())
        ours.close()
        theirs.close()
        is_whole = asyncio.run(measure(service, *workflows, wanted.requests, wanted.connections))
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
