"""What tree and checkpoints cost: CPU a run with and without them, and the time of one proof.

    python -m tests.bench.tree_cost [--pairs 20] [--runs 200] [--leaves 1000000]

Two services run side by side and take turns, so that whatever else the machine does hits both;
the minimum of each is what is left of it. The one without them is made here, by hand: users have
no such switch.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from refold.http import assembly
from refold.journal import merkle
from refold.journal.merkle import Frontier
from refold.journal.tree_store import Levels
from refold.scripts import cli
from tests.support.http_kit import create
from tests.support.service import Service, chain, node

CLIENTS = 8
WITHOUT = "serve-without"


def cpu_ns(pid: int) -> int:
    """Return the CPU time that all threads of a process have used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def work(service: Service, workflow: str, runs: int) -> float:
    """Make runs by some clients at once; return the service's CPU time for each, in ms."""
    assert service.process is not None

    def ask() -> None:
        with closing(service.client()) as client:
            for _ in range(runs // CLIENTS):
                reply = client.post(f"/workflows/{workflow}/execute", None, Prefer="wait=30")
                assert reply.status == 200, reply.body

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    before = cpu_ns(service.process.pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The tree and the next checkpoint follow within a second, and are part of the price.
    time.sleep(1.2)
    return (cpu_ns(service.process.pid) - before) / 1e6 / (runs // CLIENTS * CLIENTS)


def compare(pairs: int, runs: int) -> None:
    """Print what a run of five pure nodes costs with and without."""
    text = [node(f"n{i}", "text_transform", template="{{ trigger.x }}") for i in range(5)]
    definition = chain(node("t", "manual_trigger"), *text)
    with tempfile.TemporaryDirectory() as directory:
        plain = (sys.executable, "-m", "tests.bench.tree_cost", WITHOUT)
        services = [
            Service(Path(directory) / "with"),
            Service(Path(directory) / "without", command=plain),
        ]
        try:
            workflows: list[str] = []
            for service in services:
                service.start()
                with closing(service.client()) as client:
                    workflows.append(create(client, definition))
                work(service, workflows[-1], runs)
            found: list[list[float]] = [[], []]
            for pair in range(pairs):
                for which in (0, 1) if pair % 2 else (1, 0):
                    found[which].append(work(services[which], workflows[which], runs))
        finally:
            for service in services:
                service.kill()
    with_, without = map(min, found)
    share = (with_ / without - 1) * 100
    print(f"{with_:.3f} ms CPU a run with tree and checkpoints, {without:.3f} ms without")
    print(f"{share:+.1f} %, minima of {pairs} interleaved pairs of {runs} runs")


def prove(leaves: int) -> None:
    """Print how long proofs take in a tree of so many leaves, each checked as the service does."""
    with tempfile.TemporaryDirectory() as directory, closing(Levels(Path(directory) / "t")) as tree:
        frontier, dice = Frontier(), random.Random(1)
        while frontier.size < leaves:
            part = dice.randbytes(merkle.HASH_BYTES * min(65_536, leaves - frontier.size))
            for level, first, hashes in frontier.append(part):
                tree.put(level, first, hashes)
        root, times = frontier.root(), list[float]()
        for _ in range(2000):
            index = dice.randrange(leaves)
            began = time.perf_counter()
            proof = merkle.inclusion_proof(tree.read, index, leaves)
            leaf = tree.read(0, index, index + 1)
            assert merkle.is_included(leaf, index, leaves, proof, root)
            times.append((time.perf_counter() - began) * 1e3)
        times.sort()
        began = time.perf_counter()
        assert merkle.tree_root(tree.read, leaves) == root
        fresh = (time.perf_counter() - began) * 1e3
    middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
    print(
        f"a proof among {leaves} entries: {middle:.2f} ms, p99 {late:.2f} ms, root {fresh:.2f} ms"
    )


@asynccontextmanager
async def _no_proofs(*_: Any) -> AsyncGenerator[Any]:
    """Stand where tree and checkpoints would be opened."""
    yield None


def main() -> None:
    """Measure, or serve what is compared with."""
    if sys.argv[1:] == [WITHOUT]:
        assembly.__dict__["open_proofs"] = _no_proofs
        raise SystemExit(cli.main(["serve"]))
    parser = argparse.ArgumentParser(description="Measure tree and checkpoints.")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    given = parser.parse_args()
    compare(given.pairs, given.runs)
    prove(given.leaves)


if __name__ == "__main__":
    main()
